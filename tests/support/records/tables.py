"""The tables as a whole: their contents, a broken one, and an archive noted by hand."""

from typing import Any

from sqlalchemy import Engine, text, update

from db.connection.session import writing
from db.records import Archive
from db.tables import cycles, metadata
from tests.support.records.cycles import stored


def everything(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    """Return all rows of all tables."""
    return {table.name: stored(engine, table) for table in metadata.sorted_tables}


def rename_table(engine: Engine, old: str, new: str) -> None:
    """Rename a table; statements that use it fail until it is renamed back."""
    with writing(engine) as connection:
        connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))


def note_archive(engine: Engine, cycle_id: int, written: Archive) -> None:
    """Store where a cycle's archive is."""
    with writing(engine) as connection:
        values = {"archive": written.uri, "archive_sha256": written.sha256}
        connection.execute(update(cycles).where(cycles.c.id == cycle_id).values(values))
