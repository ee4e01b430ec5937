"""The files of students that jobs have made: which are needed, and which were deleted from the registry."""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, or_, select, update

from db import queue, versions
from db.records import ModelVersion
from db.states import IncidentState, JobDecision, Role
from db.tables import incidents, jobs, models, promotions


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
    """Return the versions whose files are needed: those in service and to which one may roll back, those that
    wait for a person, those of an open job or an open incident, and those that another monitor knows.
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
    of_incidents = select(incidents.c.job_id).where(incidents.c.state != IncidentState.RESOLVED)
    waits = (jobs.c.decision == JobDecision.HELD) & jobs.c.candidate_version.not_in(
        select(promotions.c.version).where(promotions.c.monitor == jobs.c.monitor)
    )
    is_needed = or_(jobs.c.status.in_(queue.OPEN), jobs.c.id.in_(of_incidents), waits)
    for row in connection.execute(select(jobs.c.student_version, jobs.c.candidate_version).where(is_needed)):
        yield row.student_version
        if row.candidate_version is not None:
            yield row.candidate_version
    yield from connection.scalars(select(models.c.version).where(models.c.monitor != monitor))


def _made(monitor: str) -> tuple[ColumnElement[bool], ...]:
    return models.c.monitor == monitor, models.c.role == Role.STUDENT, models.c.job_id.is_not(None)


def _this(monitor: str, version: str) -> tuple[ColumnElement[bool], ...]:
    return models.c.monitor == monitor, models.c.role == Role.STUDENT, models.c.version == version
