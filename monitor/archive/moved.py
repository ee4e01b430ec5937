"""Archives that were moved to another place, which the configuration names now."""

from collections.abc import Sequence
from contextlib import suppress

import structlog
from sqlalchemy import Engine

from db.archives import cycle_archives, erasures
from db.connection.session import reading, writing
from monitor.archive.places import ArchiveReadError, Places


def follow(engine: Engine, monitor: str, folders: Sequence[str]) -> int:
    """Record the new place of archives that are no longer where they were written; return their number.

    They are looked for by name in `folders`, the configured ones of the monitor. Every reader compares their
    SHA-256. A folder that cannot be read is passed over: the next reader of an archive reports that.
    """
    with reading(engine) as connection:
        recorded = erasures.archived(connection, monitor)
    elsewhere = {each.cycle_id: each.uri for each in recorded if _folder(each.uri) not in folders}
    if not elsewhere:
        return 0
    known = {folder: _names(folder) for folder in {*folders, *map(_folder, elsewhere.values())}}
    moved = {}
    for cycle_id, uri in elsewhere.items():
        name = uri.rpartition("/")[2]
        new = next((folder for folder in folders if name in known[folder]), None)
        if new is not None and name not in known[_folder(uri)]:
            moved[cycle_id] = f"{new}/{name}"
    with writing(engine) as connection:
        for cycle_id, uri in moved.items():
            cycle_archives.move(connection, cycle_id, elsewhere[cycle_id], uri)
    if moved:
        structlog.get_logger().info("archives moved", monitor=monitor, n=len(moved), places=list(folders))
    return len(moved)


def _folder(uri: str) -> str:
    return uri.rpartition("/")[0]


def _names(folder: str) -> frozenset[str]:
    with suppress(ArchiveReadError):
        return frozenset(Places().of(folder).names(folder))
    return frozenset()
