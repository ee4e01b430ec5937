"""Access of the commands to the configured database."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError

from db import monitors
from db.connection import clock
from db.connection.outage import Outage
from db.connection.passwords import Passwords, in_file, in_url
from db.connection.session import connect, reading, without_password, writing
from db.connection.tls import encrypts
from db.connection.unavailable import UNAVAILABLE
from db.errors import RedistillError, one_line
from monitor.clock import utc_now
from redistill.configuration.database import DatabaseSection
from redistill.configuration.settings import Settings


class NoDatabaseError(RedistillError):
    """The database {path} does not exist: run `redistill db upgrade` to create it."""


class PasswordTwiceError(RedistillError):
    """[database] url has a password, and another key says where the password is: remove it from the URL."""

    exit_code = 2


class PlaintextTokenError(RedistillError):
    """[database] auth = 'iam' sends a token that stands for a password, but the URL does not ask for TLS: add
    ?sslmode=verify-full&sslrootcert=FILE to [database] url.
    """

    exit_code = 2


class DatabaseRefusesError(RedistillError):
    """The database {url} refused the operation: {cause}."""


@contextmanager
def opened(settings: Settings) -> Iterator[Engine]:
    """Yield an engine for the database, which need not exist; disposed of at the end of the block."""
    section = settings.database
    engine = connect(section.url, root=settings.folder, passwords=partial(_passwords, section))
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def existing(settings: Settings) -> Iterator[Engine]:
    """Yield an engine as `opened` does, for a database that exists, migrated or not.

    Raises:
        NoDatabaseError: the SQLite file does not exist; it is not created.
    """
    with opened(settings) as engine:
        file = engine.url.database if engine.dialect.name == "sqlite" else None
        if file is not None and not Path(file).exists():
            raise NoDatabaseError(path=file)
        yield engine


@contextmanager
def migrated(settings: Settings) -> Iterator[Engine]:
    """Yield an engine for a database that this version works with. Errors as for `reading_from`."""
    with existing(settings) as engine:
        with translated_errors(engine):
            check_migrated(engine)
            _refuse_renamed(engine, settings.monitor.name)
        yield engine


def wait_until_migrated(engine: Engine, monitor: str, stopped: Callable[[], bool]) -> bool:
    """Wait until the database responds; return False if the process was asked to stop before.

    Raises:
        NotMigratedError, NewerDatabaseError, DatabaseRefusesError: the database responds but is not usable.
        MonitorRenamedError: the monitor has another name now.
    """

    def check() -> None:
        check_migrated(engine)
        _refuse_renamed(engine, monitor)

    try:
        with translated_errors(engine):
            Outage().retry("start", check, stopped)
    except UNAVAILABLE:
        return False
    return True


@contextmanager
def reading_from(settings: Settings) -> Iterator[Connection]:
    """Yield a connection with one consistent view of the database.

    The migration level is checked only after a query has failed, which saves every reading command the time
    to load Alembic.

    Raises:
        NoDatabaseError, NotMigratedError, NewerDatabaseError, DatabaseRefusesError: the database is not
            usable, or not by this version.
        MonitorRenamedError: the monitor has another name now.
    """
    with existing(settings) as engine:
        try:
            with reading(engine) as connection:
                monitors.refuse_renamed(connection, settings.monitor.name)
                yield connection
        except (DBAPIError, sqlite3.Error) as error:
            with suppress(DBAPIError, sqlite3.Error):
                check_migrated(engine)
            raise _refusal(engine, error) from error


@contextmanager
def writing_to(settings: Settings) -> Iterator[Connection]:
    """Yield a connection in a transaction, committed if the block succeeds. Errors as for `reading_from`."""
    with migrated(settings) as engine, translated_errors(engine), writing(engine) as connection:
        yield connection


def time_in(connection: Connection) -> datetime:
    """Return the time to store: that of this process's clock or of the database's, whichever is earlier."""
    return clock.capped_by_database(connection, utc_now())


@contextmanager
def translated_errors(engine: Engine) -> Iterator[None]:
    """Raise a DatabaseRefusesError for an error of the database driver in the block."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        raise _refusal(engine, error) from error


def _passwords(section: DatabaseSection, url: URL, shown: str) -> Passwords:
    """Return the configured source of PostgreSQL's passwords.

    Raises:
        PasswordTwiceError, PlaintextTokenError, IamAddressError: the URL does not fit the source.
    """
    has_password = url.password is not None or "password" in url.query
    has_source = section.auth == "iam" or section.password_file or section.password_secret
    if not has_source:
        return in_url(shown, is_there=has_password)
    if has_password:
        raise PasswordTwiceError
    if section.password_file is not None:
        return in_file(shown, section.password_file)
    from db.connection import aws_passwords  # noqa: PLC0415 - boto3 takes long to load

    if section.password_secret is not None:
        return aws_passwords.in_secret(shown, section.password_secret)
    if not encrypts(url):
        raise PlaintextTokenError
    return aws_passwords.rds_tokens(shown, url)


def _refusal(engine: Engine, error: Exception) -> DatabaseRefusesError:
    """Return an error with the driver's own message in one line."""
    cause = one_line(error.orig if isinstance(error, DBAPIError) else error)
    return DatabaseRefusesError(url=without_password(engine.url), cause=cause)


def _refuse_renamed(engine: Engine, monitor: str) -> None:
    with reading(engine) as connection:
        monitors.refuse_renamed(connection, monitor)


def check_migrated(engine: Engine) -> None:
    """Check that this version works with the database.

    Raises:
        NotMigratedError, NewerDatabaseError: the database is not usable, or not by this version.
    """
    from db.connection.migrate import check  # noqa: PLC0415 - Alembic takes long to load

    check(engine)
