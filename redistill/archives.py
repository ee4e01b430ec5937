"""The places of the monitor's archives."""

from sqlalchemy import Engine

from db import monitors
from db.connection.session import reading
from monitor.archive.files import folder_of
from monitor.archive.moved import follow
from redistill.configuration.settings import Settings


def archive_folders(settings: Settings, engine: Engine) -> list[str]:
    """Return the folders of the archives by the names that the monitor has had, the present one first."""
    name = settings.monitor.name
    with reading(engine) as connection:
        names = (name, *monitors.earlier_names(connection, name))
    return [folder_of(settings.monitor.archive, each) for each in names]


def follow_archives(settings: Settings, engine: Engine) -> None:
    """Record the place of archives that were moved to the configured one."""
    follow(engine, settings.monitor.name, archive_folders(settings, engine))
