"""How much a database does for some work, as it counts itself, whatever else runs on the machine."""

import time
from collections.abc import Callable
from typing import Final

import psycopg
from sqlalchemy import Engine, event

_STEPS: Final = 10
_ROWS_READ: Final = """
    SELECT (SELECT COALESCE(SUM(seq_tup_read), 0) FROM pg_stat_user_tables)
        + (SELECT COALESCE(SUM(idx_tup_read), 0) FROM pg_stat_user_indexes)
"""
_OTHERS: Final = """
    SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def done_for(engine: Engine, work: Callable[[], object]) -> int:
    """The steps of SQLite's virtual machine, or the rows and entries of indexes that PostgreSQL reads."""
    return _steps(engine, work) if engine.dialect.name == "sqlite" else _rows_read(engine, work)


def _steps(engine: Engine, work: Callable[[], object]) -> int:
    counted = [0]

    def count() -> None:
        counted[0] += _STEPS

    def listen(connection: object, _record: object) -> None:
        connection.set_progress_handler(count, _STEPS)  # type: ignore[attr-defined] # sqlite3's

    engine.dispose()
    event.listen(engine, "connect", listen)
    try:
        work()
    finally:
        event.remove(engine, "connect", listen)
        engine.dispose()
    return counted[0]


def _rows_read(engine: Engine, work: Callable[[], object]) -> int:
    """A session hands over its counts at the latest when it ends."""
    engine.dispose()
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as session:
        before = _when_alone(session)
        work()
        engine.dispose()
        return _when_alone(session) - before


def _when_alone(session: "psycopg.Connection[tuple[int]]") -> int:
    deadline = time.monotonic() + 10
    while session.execute(_OTHERS).fetchone() != (0,) and time.monotonic() < deadline:
        time.sleep(0.005)
    row = session.execute(_ROWS_READ).fetchone()
    assert row is not None
    return int(row[0])
