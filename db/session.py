"""Connections. Every write is one `writing` block: it commits whole or not at all."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError

from db.errors import RedistillError

POSTGRES_OPTIONS = "-c lock_timeout=10s -c statement_timeout=60s -c timezone=UTC"


class DatabaseUrlError(RedistillError):
    """[database] url: {url!r} is no database that redistill knows; expected
    'sqlite:///redistill.db' or 'postgresql://user@host/name'.
    """

    exit_code = 2


class DatabaseUnreachableError(RedistillError):
    """The database {url} cannot be reached ({cause}): check [database] url and that it is up."""


def connect(url: str) -> Engine:
    """An engine for `url`; nothing is opened yet.

    Raises:
        DatabaseUrlError: the URL names neither SQLite nor PostgreSQL.
    """
    try:
        parsed = make_url(url)
        dialect = parsed.get_backend_name()
    except (ArgumentError, NoSuchModuleError) as error:
        raise DatabaseUrlError(url=url) from error
    if dialect == "sqlite":
        engine = create_engine(parsed, connect_args={"timeout": 30})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if dialect == "postgresql":
        return create_engine(parsed, pool_pre_ping=True, connect_args={"options": POSTGRES_OPTIONS})
    raise DatabaseUrlError(url=parsed.render_as_string(hide_password=True))


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own
    connection.isolation_level = None  # SQLAlchemy begins transactions; the driver must not
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer that begins as a reader cannot be upgraded once another has written.
    read_only = connection.get_execution_options().get("redistill_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes; commits at the end of the block, or leaves no trace."""
    try:
        connection = engine.connect()
    except OperationalError as error:
        raise _unreachable(engine, error) from error
    with connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view of the database; blocks no writer."""
    try:
        connection = engine.connect().execution_options(
            redistill_read_only=True,
            **({"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}),
        )
    except OperationalError as error:
        raise _unreachable(engine, error) from error
    with connection:
        yield connection


def _unreachable(engine: Engine, error: OperationalError) -> DatabaseUnreachableError:
    return DatabaseUnreachableError(
        url=engine.url.render_as_string(hide_password=True), cause=str(error.orig).splitlines()[0]
    )
