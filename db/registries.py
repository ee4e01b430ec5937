"""The registry of each monitor, by which a worker recognises that it has the right one."""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, insert, select, update

from db.errors import RedistillError
from db.tables import models, registries


class OtherRegistryError(RedistillError):
    """The registry {location} has {found}, and the models of the monitor {monitor!r} are in the one with the
    id {recorded}: correct 'registry' in [redistill], or copy that registry to {location}, with its
    registry.json.
    """


class LinkTakenError(RedistillError):
    """The link {link!r} of the registry {location} points to the student of the monitor {other!r}: set
    another 'link' in [redistill] for the monitor {monitor!r}, or its earlier name {other!r} in [monitor] if
    it is the same one.
    """


def confirm(
    connection: Connection, monitor: str, *, registry_id: str, link: str, location: object, now: datetime
) -> None:
    """Record the monitor's registry, or check that it is the recorded one.

    Another registry replaces the recorded one only while no job of the monitor has made a model.

    Raises:
        OtherRegistryError: the monitor's models are in another registry.
        LinkTakenError: another monitor of this database uses the link.
    """
    refuse_other(connection, monitor, registry_id=registry_id, link=link, location=location)
    values = {"registry_id": registry_id, "link": link}
    recorded = _recorded(connection, monitor)
    if recorded is None:
        connection.execute(insert(registries).values(monitor=monitor, **values, recorded_at=now))
    elif (recorded.registry_id, recorded.link) != (registry_id, link):
        changed = update(registries).where(registries.c.monitor == monitor)
        connection.execute(changed.values(**values, recorded_at=now))


def refuse_other(
    connection: Connection, monitor: str, *, registry_id: str | None, link: str, location: object
) -> None:
    """Raise the errors of `confirm`, which records nothing then; without an id, a new one is meant."""
    other = connection.scalar(
        select(registries.c.monitor).where(
            registries.c.registry_id == registry_id,
            registries.c.link == link,
            registries.c.monitor != monitor,
        )
    )
    if other is not None:
        raise LinkTakenError(link=link, location=location, other=other, monitor=monitor)
    recorded = _recorded(connection, monitor)
    if recorded is None or recorded.registry_id == registry_id or not _has_made_models(connection, monitor):
        return
    found = "no registry.json" if registry_id is None else f"the id {registry_id}"
    raise OtherRegistryError(location=location, found=found, monitor=monitor, recorded=recorded.registry_id)


def _recorded(connection: Connection, monitor: str) -> Row[Any] | None:
    return connection.execute(select(registries).where(registries.c.monitor == monitor)).one_or_none()


def _has_made_models(connection: Connection, monitor: str) -> bool:
    made = exists().where(models.c.monitor == monitor, models.c.job_id.is_not(None))
    return bool(connection.scalar(select(made)))
