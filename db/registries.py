"""The registry of each monitor, by which a worker recognises it, and the files of versions in it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, exists, func, or_, select, update

from db import queue, versions
from db.connection.upsert import insert_for
from db.errors import RedistillError
from db.records import ModelVersion
from db.shadows import runs as shadow_runs
from db.states import IncidentState, JobDecision, Role
from db.tables import incidents, jobs, models, promotions, registries


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
    values = {"registry_id": registry_id, "link": link, "recorded_at": now}
    first = insert_for(connection)(registries).values(monitor=monitor, **values)
    connection.execute(first.on_conflict_do_nothing())  # two workers may start at the same moment
    refuse_other(connection, monitor, registry_id=registry_id, link=link, location=location)
    is_other = (registries.c.registry_id != registry_id) | (registries.c.link != link)
    connection.execute(update(registries).where(registries.c.monitor == monitor, is_other).values(**values))


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


def made(connection: Connection, monitor: str) -> tuple[str, ...]:
    """Return the versions that the monitor's jobs have made and whose files nobody deletes, newest first."""
    query = select(models.c.version).where(*_made(monitor), models.c.files_deleting_since.is_(None))
    return tuple(connection.scalars(query.order_by(models.c.created_at.desc(), models.c.id.desc())))


def half_deleted(connection: Connection, monitor: str) -> tuple[str, ...]:
    """Return the versions whose files a worker began to delete; it may have died."""
    is_begun = models.c.files_deleting_since.is_not(None) & models.c.files_deleted_at.is_(None)
    return tuple(connection.scalars(select(models.c.version).where(*_made(monitor), is_begun)))


def deleted_at(connection: Connection, model: ModelVersion) -> datetime | None:
    """Return when the files of a version were deleted, or None."""
    return connection.scalar(select(models.c.files_deleted_at).where(*_this(model.monitor, model.version)))


def needed(connection: Connection, monitor: str) -> frozenset[str]:
    """Return the versions whose files are needed.

    They are in service or the ones to roll back to, of an open job or an unresolved incident, of the last job
    whose candidate was held for a person, in shadow, or known to another monitor.
    """
    return frozenset(_needed(connection, monitor))


def begin_deletion(connection: Connection, monitor: str, version: str, now: datetime) -> bool:
    """Record that the files are about to be deleted; from then on the version cannot be promoted.

    Return False if the version is needed by now, or if the monitor has an open job.
    """
    versions.lock_promotions(connection, monitor, Role.STUDENT)
    if queue.open_job(connection, monitor) or version in needed(connection, monitor):
        return False
    begun = update(models).where(*_this(monitor, version)).values(files_deleting_since=now)
    return connection.execute(begun).rowcount == 1


def end_deletion(connection: Connection, monitor: str, version: str, now: datetime) -> None:
    """Record that the files are deleted."""
    connection.execute(update(models).where(*_this(monitor, version)).values(files_deleted_at=now))


def _needed(connection: Connection, monitor: str) -> Iterator[str]:
    yield from connection.scalars(select(promotions.c.version).where(promotions.c.retired_at.is_(None)))
    if (previous := versions.previous_student(connection, monitor)) is not None:
        yield previous.version
    if (version := versions.rollback_version(connection, monitor)) is not None:
        yield version
    if (shadow := shadow_runs.running(connection, monitor)) is not None:
        yield from (shadow.candidate_version, shadow.incumbent_version)
    of_incidents = select(incidents.c.job_id).where(incidents.c.state != IncidentState.RESOLVED)
    held = select(func.max(jobs.c.id)).where(jobs.c.decision == JobDecision.HELD).group_by(jobs.c.monitor)
    is_needed = or_(jobs.c.status.in_(queue.OPEN), jobs.c.id.in_(of_incidents), jobs.c.id.in_(held))
    for row in connection.execute(select(jobs.c.student_version, jobs.c.candidate_version).where(is_needed)):
        yield row.student_version
        if row.candidate_version is not None:
            yield row.candidate_version
    yield from connection.scalars(select(models.c.version).where(models.c.monitor != monitor))


def _made(monitor: str) -> tuple[ColumnElement[bool], ...]:
    return models.c.monitor == monitor, models.c.role == Role.STUDENT, models.c.job_id.is_not(None)


def _this(monitor: str, version: str) -> tuple[ColumnElement[bool], ...]:
    return models.c.monitor == monitor, models.c.role == Role.STUDENT, models.c.version == version
