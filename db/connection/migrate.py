"""Migrations of the database's schema, and the check that this code works on it.

A revision is four digits, of which the first names a series. Within a series each revision only adds to the
schema, so the code of an earlier revision works on it too. A revision that removes something begins a new
series. See docs/upgrading.md.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Engine, MetaData, Table, Text, inspect, select

from db.connection.session import connect, reading
from db.connection.unavailable import DatabaseUnusableError, is_lock_conflict
from db.errors import RedistillError
from db.tables import metadata

#: A migration waits this long for a table; every later query on that table waits behind the migration.
LOCK_SECONDS: Final = 5.0
#: A migration is retried for this long, with pauses for the queries that have waited behind it.
PATIENCE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 2.0
#: Alembic's own object for it is a new one each time, which SQLAlchemy would compile and remember each time.
_VERSIONS: Final = Table("alembic_version", MetaData(), Column("version_num", Text))


class Level(StrEnum):
    """The state of a database's schema, as seen by this code."""

    CURRENT = "migrated"  #: at the revision that this code was written for
    AHEAD = "migrated by a later version"  #: by revisions that only add to it, so this code works on it


class NotMigratedError(RedistillError):
    """The database is at revision {found}, but this version of redistill needs {wanted}: run
    `redistill db upgrade`.
    """


class NewerDatabaseError(RedistillError):
    """The database is at revision {found}, which this version of redistill (revision {wanted}) cannot use:
    install the version that migrated the database, or a later one.
    """


def upgrade(database: Engine | str, revision: str = "head") -> Level:
    """Migrate the database of an engine or a URL up to `revision`, completely or not at all.

    Processes that upgrade at the same time take turns; the later ones find nothing to do, as does an earlier
    version of this code. Other processes may work meanwhile.

    Raises:
        NewerDatabaseError: a later version of redistill has migrated the database; this one cannot use it.
        DatabaseUnusableError: another process held a table for too long; nothing was changed.
    """
    with _opened(database) as engine:
        if _level(_found(engine)) is Level.AHEAD:
            return Level.AHEAD
        _with_retries(lambda: command.upgrade(_config(engine), revision))
        return Level.CURRENT


def downgrade(database: Engine | str, revision: str = "base") -> None:
    """Migrate the database down to `revision`; what later revisions added is lost, including rows.

    Raises:
        NewerDatabaseError: a later version of redistill has migrated the database; only that one can undo it.
        DatabaseUnusableError: another process held a table for too long; nothing was changed.
    """
    with _opened(database) as engine:
        found = _found(engine)
        if _level(found) is Level.AHEAD:
            raise NewerDatabaseError(found=found, wanted=head())
        _with_retries(lambda: command.downgrade(_config(engine), revision))


def check(engine: Engine) -> Level:
    """Return the level of a database on which this code works.

    Raises:
        NotMigratedError: the schema is behind this code, or the database is empty.
        NewerDatabaseError: the schema is of a later series, which may lack something that this code needs.
    """
    found = _found(engine)
    level = _level(found)
    if level is None:
        raise NotMigratedError(found=found or "none", wanted=head())
    return level


def diff(engine: Engine) -> tuple[str, ...]:
    """Return each difference between the database's tables and `db.tables`, without views; () if none."""
    with reading(engine) as connection:
        return tuple(map(str, compare_metadata(MigrationContext.configure(connection), metadata)))


def head() -> str:
    """Return the revision that this code was written for."""
    return str(_script().get_current_head())


def _level(found: str | None) -> Level | None:
    """Return the level of the revision `found`, or None if it is behind this code."""
    if found == head():
        return Level.CURRENT
    if found is None or found in {known.revision for known in _script().walk_revisions()}:
        return None
    if not is_later_in_series(found, head()):
        raise NewerDatabaseError(found=found, wanted=head())
    return Level.AHEAD


def is_later_in_series(revision: str, than: str) -> bool:
    """Return whether `revision` only adds to the schema of the revision `than`."""
    return revision.isdigit() and len(revision) == len(than) and revision[0] == than[0] and revision > than


def _with_retries(migrate: Callable[[], None]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            migrate()
        except DatabaseUnusableError as error:
            if not is_lock_conflict(error) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _found(engine: Engine) -> str | None:
    with reading(engine) as connection:
        is_there = inspect(connection).has_table(_VERSIONS.name)
        return connection.scalar(select(_VERSIONS.c.version_num)) if is_there else None


@cache
def _script() -> ScriptDirectory:
    return ScriptDirectory(str(files("migrations")))


def _config(engine: Engine) -> Config:
    config = Config(attributes={"engine": engine})
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    return config


@contextmanager
def _opened(database: Engine | str) -> Iterator[Engine]:
    if isinstance(database, Engine):
        yield database
        return
    engine = connect(database)
    try:
        yield engine
    finally:
        engine.dispose()
