"""The places of the monitor's archives."""

from sqlalchemy import Engine

from db import monitors
from db.connection.session import reading
from monitor.archive import owner
from monitor.archive.files import folder_of
from monitor.archive.moved import follow
from monitor.clock import utc_now
from redistill.artifacts import artifacts
from redistill.configuration.settings import Settings


def archive_folders(settings: Settings, engine: Engine) -> list[str]:
    """Return the folders of the archives by the names that the monitor has had, the present one first."""
    name = settings.monitor.name
    with reading(engine) as connection:
        names = (name, *monitors.earlier_names(connection, name))
    return [folder_of(settings.monitor.archive, each) for each in names]


def confirm_archives(settings: Settings, engine: Engine) -> None:
    """Take the configured folder for the monitor's archives, or refuse that of another database."""
    name = settings.monitor.name
    owner.confirm(engine, name, folder_of(settings.monitor.archive, name), artifacts(settings), utc_now())


def refuse_other_archives(settings: Settings, engine: Engine) -> bool:
    """Refuse archives of another database in the configured folder; return whether it has an owner."""
    name = settings.monitor.name
    return owner.refuse_other(engine, name, folder_of(settings.monitor.archive, name), artifacts(settings))


def follow_archives(settings: Settings, engine: Engine) -> None:
    """Record the place of archives that were moved to the configured one."""
    follow(engine, settings.monitor.name, archive_folders(settings, engine))
