"""Database connections. Every write is one `writing` block, which commits completely or not at all."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from db.connection import postgres
from db.connection.passwords import Passwords, in_url
from db.connection.unavailable import DatabaseUnreachableError, unavailable_error
from db.errors import RedistillError, one_line
from db.tables.columns import ROOT

BUSY_SECONDS = 10
_SQLITE = {"sqlite", "sqlite+pysqlite"}


class DatabaseUrlError(RedistillError):
    """[database] url: {url!r} is not a database URL that redistill knows: write
    'sqlite:///redistill.db' or 'postgresql://user@host/name'.
    """

    exit_code = 2


class AmbiguousUrlError(RedistillError):
    """The database URL has more than one @, so that its password may end at either: write each @ in the
    password as %40, and each % as %25.
    """

    exit_code = 2


#: Returns the source of passwords for a database's URL, and the URL to be shown.
FindPasswords = Callable[[URL, str], Passwords]


def connect(url: str, *, root: Path | None = None, passwords: FindPasswords | None = None) -> Engine:
    """Return an engine for `url`; nothing is opened yet.

    Paths of models and archives in the folder `root` are stored relative to it. Without `passwords`,
    PostgreSQL's password is in the URL, or libpq finds it.

    Raises:
        DatabaseUrlError: the URL names neither a SQLite file nor PostgreSQL with the psycopg driver.
    """
    engine = _engine(url, passwords or _in_url)
    setattr(engine.dialect, ROOT, root)
    return engine


def _engine(url: str, passwords: FindPasswords) -> Engine:
    parsed = parse_url(url)
    if parsed.drivername in _SQLITE and parsed.database not in {None, "", ":memory:"}:
        engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
        event.listen(engine, "do_connect", _create_private)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.drivername in postgres.DRIVERS:
        engine = create_engine(parsed, pool_pre_ping=True, connect_args=postgres.network(parsed))
        postgres.govern(engine, passwords(parsed, without_password(parsed)))
        return engine
    raise DatabaseUrlError(url=without_password(parsed))


def without_password(url: URL) -> str:
    """Return the URL without its password, to be shown or logged."""
    secrets = [key for key in url.query if "password" in key]
    return url.difference_update_query(secrets).render_as_string(hide_password=True)


def _in_url(url: URL, shown: str) -> Passwords:
    return in_url(shown, is_there=url.password is not None or "password" in url.query)


def parse_url(url: str) -> URL:
    """Return the parts of a URL, none of which contains a piece of the password by mistake.

    Raises:
        DatabaseUrlError: it is not a URL, or an @ in its password is not percent-encoded.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # ValueError: a port that is not a number
        raise DatabaseUrlError(url=_shown(url)) from error
    if _is_ambiguous(parsed, url.partition("?")[2]):
        raise AmbiguousUrlError
    return parsed


def _is_ambiguous(parsed: URL, query: str) -> bool:
    """Return whether a piece of the password, or of the query, may have been read as another part."""
    is_file = parsed.drivername in _SQLITE
    tail = f"{parsed.host or ''}{'' if is_file else parsed.database or ''}"
    has_query = "=" in str(parsed.password or "").partition("?")[2]
    return "@" in tail or has_query or any("@" in each and "=" not in each for each in query.split("&"))


def found_from(url: str, folder: Path) -> str:
    """Return the URL, with a file of SQLite found from `folder` or, after a ~, from the home."""
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        return url
    path = folder / Path(str(parsed.database)).expanduser()
    return parsed.set(database=str(path)).render_as_string(hide_password=False)


def _shown(url: str) -> str:
    """Return the part of a URL that cannot be read which is certainly not of a password."""
    before_query, _, query = url.partition("?")
    return "…" if "@" in query else before_query.rpartition("@")[2]


def _create_private(_dialect: object, _record: object, arguments: Sequence[Any], _keywords: object) -> None:
    """Create the file for its owner only. The files that SQLite puts beside it get the same mode."""
    with suppress(OSError):  # which SQLite reports
        os.close(os.open(arguments[0], os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:  # noqa: ANN401 - SQLAlchemy's own
    connection.isolation_level = None  # SQLAlchemy begins transactions; the driver must not
    cursor = connection.cursor()
    _use_write_ahead_log(cursor)
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _use_write_ahead_log(cursor: sqlite3.Cursor) -> None:
    # Only a new file has to be switched, but for that SQLite does not wait for other processes by itself.
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
    # A transaction that began by reading cannot write any more once another one has written.
    read_only = connection.get_execution_options().get("redistill_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that writes; it commits at the end of the block, or leaves no trace.

    Raises:
        DatabaseUnreachableError, DatabaseUnusableError: the database is unavailable. If the commit raised
            this, the transaction may have been committed all the same.
    """
    with _opened(engine) as connection, _translating_errors(connection), connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open one consistent view of the database, as of the first query; it blocks no writer.

    Raises:
        DatabaseUnreachableError, DatabaseUnusableError: the database is unavailable.
    """
    with _opened(engine) as connection, _translating_errors(connection):
        connection.execution_options(redistill_read_only=True)
        if engine.dialect.name == "postgresql":
            connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def _opened(engine: Engine) -> Connection:
    try:
        return engine.connect()
    except OperationalError as error:
        url, cause = without_password(engine.url), one_line(error.orig)
        translated = unavailable_error(error, url) if engine.dialect.name == "sqlite" else None
        raise translated or DatabaseUnreachableError(url=url, cause=cause) from error


@contextmanager
def _translating_errors(connection: Connection) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        translated = unavailable_error(error, without_password(connection.engine.url))
        if translated is None:
            raise
        connection.invalidate()  # it is not used again: its server may no longer be the primary
        raise translated from error
