"""The owner of a folder of archives: one monitor of one database, by the id in a file beside them.

The folder has the name of its monitor, and two databases may have a monitor of the same name: staging and
production, on one bucket. Without the id, each would replace and expire the archives of the other.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import orjson
from sqlalchemy import Engine

from db import monitors
from db.connection.session import reading, writing
from db.errors import RedistillError
from monitor.archive.places import ArchiveReadError, ArchiveUnavailableError, ArchiveWriteError
from monitor.storage.artifacts import Artifacts, located
from monitor.storage.disk import private_folder
from monitor.storage.store import ArtifactReadError, ArtifactUnavailableError, ArtifactWriteError

OWNER_FILE: Final = "owner.json"
OWNER_SCHEMA: Final = "redistill.archive/1"


class OtherArchiveError(RedistillError):
    """The archives in {folder} are those of another database, by the id in {file}: set another 'archive' or
    'name' in [monitor]; if that database is gone, or this one was restored from a backup of before its first
    cycle, delete {file} there.
    """


def confirm(engine: Engine, monitor: str, folder: str, artifacts: Artifacts, now: datetime) -> None:
    """Take a folder for the monitor's archives, or check that it is one of them.

    A folder without an owner, such as a new place or one of an earlier version, becomes the monitor's.

    Raises:
        OtherArchiveError: the archives in the folder are those of another database.
        ArchiveReadError, ArchiveWriteError: the file cannot be read or written.
    """
    own = _recorded(engine, monitor)
    if own is None:
        with writing(engine) as connection:
            monitors.record_archive_owner(connection, monitor, str(uuid.uuid4()), now)
        own = _recorded(engine, monitor)
    _refuse(folder, _owner_of(folder, artifacts, fresh=own), own)


def refuse_other(engine: Engine, monitor: str, folder: str, artifacts: Artifacts) -> bool:
    """Raise the errors of `confirm`, which takes nothing then; return whether the folder has an owner."""
    found = _owner_of(folder, artifacts)
    _refuse(folder, found, _recorded(engine, monitor))
    return found is not None


def _recorded(engine: Engine, monitor: str) -> str | None:
    with reading(engine) as connection:
        return monitors.archive_owner(connection, monitor)


def _refuse(folder: str, found: str | None, own: str | None) -> None:
    if found is not None and found != own:
        raise OtherArchiveError(folder=folder, file=OWNER_FILE)


def _owner_of(folder: str, artifacts: Artifacts, *, fresh: str | None = None) -> str | None:
    """Return the id in a folder, which gets the id `fresh` if it has none."""
    location = located(folder)
    store = artifacts.store(location)
    with _translated_errors(folder):
        content = store.read(OWNER_FILE)
        if content is None and fresh is not None:
            if isinstance(location, Path):
                private_folder(location)
            content = store.create(OWNER_FILE, orjson.dumps({"schema": OWNER_SCHEMA, "id": fresh}) + b"\n")
    try:
        return None if content is None else str(orjson.loads(content)["id"])
    except (ValueError, KeyError, TypeError) as error:
        problem = "it has no 'id'; restore it, or delete it if no other database has these archives"
        raise ArchiveReadError(path=store.location(OWNER_FILE), problem=problem) from error


@contextmanager
def _translated_errors(folder: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveWriteError(path=folder, problem=error.strerror or error) from error
    except ArtifactReadError as error:
        kind = ArchiveUnavailableError if isinstance(error, ArtifactUnavailableError) else ArchiveReadError
        raise kind(path=error.fields["location"], problem=error.fields["problem"]) from error
    except ArtifactWriteError as error:
        raise ArchiveWriteError(path=error.fields["location"], problem=error.fields["problem"]) from error
