"""The configured database, for commands that need nothing else."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from db import versions
from db.connection.outage import Outage
from db.connection.session import connect, reading, without_password, writing
from db.connection.unavailable import UNAVAILABLE
from db.errors import RedistillError, one_line
from db.states import Role
from redistill.configuration.settings import Settings


class NoDatabaseError(RedistillError):
    """There is no database {path} yet: run `redistill db upgrade`, which makes it."""


class DatabaseRefusesError(RedistillError):
    """The database {url} cannot do what is asked: {cause}."""


@contextmanager
def opened(settings: Settings) -> Iterator[Engine]:
    """An engine for the database, be it there or not; closed at the end of the block."""
    engine = connect(settings.database.url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def existing(settings: Settings) -> Iterator[Engine]:
    """As `opened`, for a database that is there, migrated or not.

    Raises:
        NoDatabaseError: the SQLite file does not exist (and is not made).
    """
    with opened(settings) as engine:
        file = engine.url.database if engine.dialect.name == "sqlite" else None
        if file is not None and not Path(file).exists():
            raise NoDatabaseError(path=file)
        yield engine


@contextmanager
def migrated(settings: Settings) -> Iterator[Engine]:
    """An engine for a database on which this version works. Errors as for `reading_from`."""
    with existing(settings) as engine:
        with telling(engine):
            _check(engine)
        yield engine


def wait_until_migrated(engine: Engine, stopped: Callable[[], bool]) -> bool:
    """Wait until the database answers, as a process that is to run for long; False if it was stopped
    before.

    Raises:
        NotMigratedError, NewerDatabaseError, DatabaseRefusesError: it answers, and is not usable.
    """
    try:
        with telling(engine):
            Outage().retry("start", lambda: _check(engine), stopped)
    except UNAVAILABLE:
        return False
    return True


@contextmanager
def reading_from(settings: Settings) -> Iterator[Connection]:
    """One consistent view of the database.

    Whether it is migrated is asked only when a query fails: that saves every reading command the
    time that Alembic takes to load.

    Raises:
        NoDatabaseError, NotMigratedError, NewerDatabaseError, DatabaseRefusesError: it is not one that this
            version works on, or not usable.
    """
    with existing(settings) as engine:
        try:
            with reading(engine) as connection:
                yield connection
        except (DBAPIError, sqlite3.Error) as error:
            with suppress(DBAPIError, sqlite3.Error):
                _check(engine)
            raise _refusal(engine, error) from error


def serving_student(settings: Settings) -> Path:
    """Return where the student that serves is: as the database says, else as the configuration does."""
    with suppress(RedistillError), reading_from(settings) as connection:
        current = versions.current(connection, settings.monitor.name, Role.STUDENT)
        if current is not None:
            return Path(current.uri)
    return settings.student.uri


@contextmanager
def writing_to(settings: Settings) -> Iterator[Connection]:
    """A transaction; commits at the end of the block, or leaves no trace. Errors as for `reading_from`."""
    with migrated(settings) as engine, telling(engine), writing(engine) as connection:
        yield connection


@contextmanager
def telling(engine: Engine) -> Iterator[None]:
    """Turns what the database refuses in the block into a DatabaseRefusesError."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        raise _refusal(engine, error) from error


def _refusal(engine: Engine, error: Exception) -> DatabaseRefusesError:
    """The driver's own words, in one line, and whose they are."""
    cause = one_line(error.orig if isinstance(error, DBAPIError) else error)
    return DatabaseRefusesError(url=without_password(engine.url), cause=cause)


def _check(engine: Engine) -> None:
    from db.connection.migrate import check  # noqa: PLC0415 - Alembic takes long to load

    check(engine)
