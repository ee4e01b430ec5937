"""The database's schema: taking it up or down, and saying when it is not the one that this code needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from db.errors import RedistillError
from db.session import connect, reading
from db.tables import metadata


class NotMigratedError(RedistillError):
    """The database is at revision {found}, this version of redistill needs {wanted}: run
    `redistill db upgrade`.
    """


class NewerDatabaseError(RedistillError):
    """The database is at revision {found}, which this version of redistill does not know (it ends at
    {wanted}): install the version that migrated it, or a later one.
    """


def upgrade(database: Engine | str, revision: str = "head") -> None:
    """Bring an engine's or a URL's database up to `revision`, whole or not at all.

    Processes that upgrade at once take turns; whoever comes late finds nothing to do.

    Raises:
        NewerDatabaseError: a later version of redistill has migrated it.
    """
    with _opened(database) as engine:
        _refuse_newer(_found(engine))
        command.upgrade(_config(engine), revision)


def downgrade(database: Engine | str, revision: str = "base") -> None:
    """Take the database down to `revision`; what later revisions added is lost, rows included.

    Raises:
        NewerDatabaseError: a later version of redistill has migrated it.
    """
    with _opened(database) as engine:
        _refuse_newer(_found(engine))
        command.downgrade(_config(engine), revision)


def check(engine: Engine) -> None:
    """Pass if the database is at the revision that this code was written for.

    Raises:
        NotMigratedError: it is behind, or empty.
        NewerDatabaseError: it is ahead.
    """
    found, wanted = _found(engine), _script().get_current_head()
    _refuse_newer(found)
    if found != wanted:
        raise NotMigratedError(found=found or "none", wanted=wanted)


def diff(engine: Engine) -> tuple[str, ...]:
    """Each difference between the database's tables and db/tables.py, views left out; () if none."""
    with reading(engine) as connection:
        return tuple(map(str, compare_metadata(MigrationContext.configure(connection), metadata)))


def _refuse_newer(found: str | None) -> None:
    script = _script()
    if found is not None and found not in {known.revision for known in script.walk_revisions()}:
        raise NewerDatabaseError(found=found, wanted=script.get_current_head())


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
