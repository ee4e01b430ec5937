"""Connections. Every write is one `writing` block: it commits whole or not at all."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from db.connection import postgres
from db.connection.unavailable import DatabaseUnreachableError, away
from db.errors import RedistillError, one_line

BUSY_SECONDS = 10
_SQLITE = {"sqlite", "sqlite+pysqlite"}


class DatabaseUrlError(RedistillError):
    """[database] url: {url!r} is no database that redistill knows; expected
    'sqlite:///redistill.db' or 'postgresql://user@host/name'.
    """

    exit_code = 2


def connect(url: str) -> Engine:
    """An engine for `url`; nothing is opened yet.

    Raises:
        DatabaseUrlError: the URL names neither a SQLite file nor PostgreSQL by psycopg.
    """
    parsed = _parsed(url)
    if parsed.drivername in _SQLITE and parsed.database not in {None, "", ":memory:"}:
        engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.drivername in postgres.DRIVERS:
        options = f"{postgres.OPTIONS} {parsed.query.get('options', '')}"  # what the URL asks for wins
        arguments = {**postgres.network(parsed), "options": options}
        engine = create_engine(parsed, pool_pre_ping=True, connect_args=arguments)
        postgres.bound(engine)
        return engine
    raise DatabaseUrlError(url=without_password(parsed))


def without_password(url: URL) -> str:
    """The URL as it may be shown and logged."""
    secrets = [key for key in url.query if "password" in key]
    return url.difference_update_query(secrets).render_as_string(hide_password=True)


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise DatabaseUrlError(url=url.rpartition("@")[2]) from error  # before the @ stands the password


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own
    connection.isolation_level = None  # SQLAlchemy begins transactions; the driver must not
    cursor = connection.cursor()
    _use_write_ahead_log(cursor)
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _use_write_ahead_log(cursor: sqlite3.Cursor) -> None:
    # Only a new file has to be switched, but then SQLite does not wait for others by itself.
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A writer that begins as a reader cannot be upgraded once another has written.
    read_only = connection.get_execution_options().get("redistill_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes; commits at the end of the block, or leaves no trace.

    Raises:
        DatabaseUnreachableError, DatabaseUnusableError: it is away. If that comes of the commit, it may
            have been done all the same.
    """
    with _opened(engine) as connection, _telling(connection), connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One consistent view of the database, from the first query on; blocks no writer.

    Raises:
        DatabaseUnreachableError, DatabaseUnusableError: it is away.
    """
    with _opened(engine) as connection, _telling(connection):
        connection.execution_options(redistill_read_only=True)
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def _opened(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except OperationalError as error:
        url, cause = without_password(engine.url), one_line(error.orig)
        told = away(error, url) if engine.dialect.name == "sqlite" else None
        raise told or DatabaseUnreachableError(url=url, cause=cause) from error


@contextmanager
def _telling(connection: Connection) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        told = away(error, without_password(connection.engine.url))
        if told is None:
            raise
        connection.invalidate()  # not to be used again: it may lead to a server that is the primary no more
        raise told from error
