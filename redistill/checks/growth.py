"""The size of the history and of the registry, what is kept of them, and what is deleted next."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, text

from db.connection.session import reading
from db.cycles import retention
from db.tables import cycles, metadata
from distill.old_versions import old_versions
from distill.registry import VERSIONS
from redistill.artifacts import artifacts
from redistill.checks.result import CheckResult, ok
from redistill.configuration.settings import Settings
from redistill.database import existing, translated_errors
from redistill.display import show


def history(settings: Settings, now: datetime) -> Iterator[CheckResult]:
    """Show the size of the database, the age of the monitor's history and what the daemon deletes next."""
    name, keep = settings.monitor.name, settings.database.keep
    with existing(settings) as engine, translated_errors(engine), reading(engine) as connection:
        n_rows, n_bytes = _rows(connection), _bytes(connection)
        oldest = connection.scalar(select(func.min(cycles.c.window_end)).where(cycles.c.monitor == name))
        n_cycles = connection.scalar(select(func.count()).where(cycles.c.monitor == name)) or 0
        past = keep and retention.past(
            connection, name, keep, now, reference_cycles=settings.teacher.reference_cycles
        )
        due = retention.deletable(connection, past) if past else {}
    found = f"{show.counted(n_rows, 'row')} in {_size(n_bytes)}"
    if oldest is not None:
        found += f"; {show.counted(n_cycles, 'cycle')} since {show.time(oldest)}"
    yield ok("history", f"{found}; {_kept(keep)}{_next(due, past.before if past else None)}")


def versions(settings: Settings) -> Iterator[CheckResult]:
    """Show the versions in the registry, their size and those whose files a worker deletes next."""
    section = settings.redistill
    store = artifacts(settings).store(section.registry)
    found = store.names(VERSIONS)
    if not found:
        return
    with existing(settings) as engine, translated_errors(engine):
        own = old_versions(engine, settings.monitor.name, section, store, student=settings.student.uri)
        due = own.deletable()
    kept = "all are kept" if section.keep_versions is None else f"keep_versions = {section.keep_versions}"
    following = ""
    if section.keep_versions is not None:
        names = ", ".join(show.version(version) for version in due)
        following = f"; to be deleted next: {names}" if due else "; none is to be deleted"
    size = _size(store.size(VERSIONS))
    yield ok("versions", f"{show.counted(len(found), 'version')} in {size}; {kept}{following}")


def _kept(keep: timedelta | None) -> str:
    return "all of it is kept" if keep is None else f"keep = {keep.days}d"


def _next(due: Mapping[str, int], before: datetime | None) -> str:
    if before is None:
        return ""
    if not due:
        return f"; nothing from before {show.time(before)} is to be deleted"
    parts = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in due.items())
    return f"; to be deleted next, from before {show.time(before)}: {parts}"


def _rows(connection: Connection) -> int:
    return sum(
        connection.scalar(select(func.count()).select_from(table)) or 0 for table in metadata.sorted_tables
    )


def _bytes(connection: Connection) -> int:
    query = "SELECT pg_database_size(current_database())"
    if connection.dialect.name == "sqlite":
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    return connection.scalar(text(query)) or 0


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.1f} MiB" if n_bytes < 2**30 else f"{n_bytes / 2**30:,.1f} GiB"
