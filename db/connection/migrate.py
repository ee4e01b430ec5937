"""The database's schema: taking it up or down, and saying when it is not one that this code works on.

Revisions are four digits. The first one names a series, within which each revision only adds to what was
there: code of an earlier one works on it too. What takes away begins a new series. See docs/deploying.md.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib.resources import files
from typing import Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from db.connection.session import connect, reading
from db.connection.unavailable import DatabaseUnusableError, is_held
from db.errors import RedistillError
from db.tables import metadata

#: How long a migration waits for a table: everyone who comes later waits behind it.
LOCK_SECONDS: Final = 5.0
#: How long it tries again, with time in between for those who have waited behind it.
PATIENCE_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 2.0


class Level(StrEnum):
    """How far the schema of a database has come, for this code."""

    CURRENT = "migrated"  #: at the revision that it was written for
    AHEAD = "migrated by a later version"  #: which has only added to it, so this code works on


class NotMigratedError(RedistillError):
    """The database is at revision {found}, this version of redistill needs {wanted}: run
    `redistill db upgrade`.
    """


class NewerDatabaseError(RedistillError):
    """The database is at revision {found}, on which this version of redistill (of revision {wanted}) cannot
    work: install the version that migrated it, or a later one.
    """


def upgrade(database: Engine | str, revision: str = "head") -> Level:
    """Bring an engine's or a URL's database up to `revision`, whole or not at all.

    Processes that upgrade at once take turns; whoever comes late finds nothing to do, as does an earlier
    version of this code. Others may work meanwhile.

    Raises:
        NewerDatabaseError: a later version of redistill has migrated it, and this one cannot work on it.
        DatabaseUnusableError: others hold a table for too long; nothing was changed.
    """
    with _opened(database) as engine:
        if _level(_found(engine)) is Level.AHEAD:
            return Level.AHEAD
        _patiently(lambda: command.upgrade(_config(engine), revision))
        return Level.CURRENT


def downgrade(database: Engine | str, revision: str = "base") -> None:
    """Take the database down to `revision`; what later revisions added is lost, rows included.

    Raises:
        NewerDatabaseError: a later version of redistill has migrated it, which knows the way.
        DatabaseUnusableError: others hold a table for too long; nothing was changed.
    """
    with _opened(database) as engine:
        found = _found(engine)
        if _level(found) is Level.AHEAD:
            raise NewerDatabaseError(found=found, wanted=head())
        _patiently(lambda: command.downgrade(_config(engine), revision))


def check(engine: Engine) -> Level:
    """Pass if this code works on the database.

    Raises:
        NotMigratedError: it is behind, or empty.
        NewerDatabaseError: it is so far ahead that it lacks what this code needs.
    """
    found = _found(engine)
    level = _level(found)
    if level is None:
        raise NotMigratedError(found=found or "none", wanted=head())
    return level


def diff(engine: Engine) -> tuple[str, ...]:
    """Each difference between the database's tables and db/tables.py, views left out; () if none."""
    with reading(engine) as connection:
        return tuple(map(str, compare_metadata(MigrationContext.configure(connection), metadata)))


def head() -> str:
    """The revision that this code was written for."""
    return str(_script().get_current_head())


def _level(found: str | None) -> Level | None:
    """None: it is behind."""
    if found == head():
        return Level.CURRENT
    if found is None or found in {known.revision for known in _script().walk_revisions()}:
        return None
    if not is_later_in_series(found, head()):
        raise NewerDatabaseError(found=found, wanted=head())
    return Level.AHEAD


def is_later_in_series(revision: str, than: str) -> bool:
    """Whether it only adds to what the other one has."""
    return revision.isdigit() and len(revision) == len(than) and revision[0] == than[0] and revision > than


def _patiently(migrate: Callable[[], None]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            migrate()
        except DatabaseUnusableError as error:
            if not is_held(error) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return


def _found(engine: Engine) -> str | None:
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


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
