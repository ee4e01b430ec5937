"""The job queue. The row is the truth: what a worker does shows in it, or did not happen."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select, update

from db import leases
from db.errors import RedistillError
from db.records import Job, Lease, NewJob
from db.states import JobDecision, JobRecovery, JobStatus
from db.tables import jobs

OPEN = (JobStatus.QUEUED, JobStatus.RUNNING)
#: How often a job is begun before it is given up: a worker that dies counts as an attempt.
MAX_ATTEMPTS = 5


class NoSuchJobError(RedistillError):
    """There is no job {job_id}: `redistill jobs list` shows those there are."""


class JobStateError(RedistillError):
    """Job {job_id} is {status}: only a {wanted} job can be {verb}."""


class OpenJobError(RedistillError):
    """Job {job_id} is {status}, and a monitor has one open job at a time: let it end, or cancel it."""


def enqueue(connection: Connection, job: NewJob, now: datetime) -> int:
    """Queue the job and return its number.

    Raises:
        IntegrityError: the monitor has an open job (a unique index sees to it).
    """
    statement = (
        insert(jobs)
        .values(**asdict(job), soft_labels="online", status=JobStatus.QUEUED, attempt=0, enqueued_at=now)
        .returning(jobs.c.id)
    )
    return int(connection.execute(statement).scalar_one())


def get(connection: Connection, job_id: int) -> Job:
    """The job as it stands."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise NoSuchJobError(job_id=job_id)
    return _job(row)


def open_job(connection: Connection, monitor: str) -> Job | None:
    """The monitor's queued or running job."""
    row = connection.execute(
        select(jobs).where(jobs.c.monitor == monitor, jobs.c.status.in_(OPEN))
    ).one_or_none()
    return _job(row) if row else None


def of_monitor(connection: Connection, monitor: str) -> tuple[Job, ...]:
    """All jobs that the monitor ever had, oldest first."""
    rows = connection.execute(select(jobs).where(jobs.c.monitor == monitor).order_by(jobs.c.id))
    return tuple(_job(row) for row in rows)


def claim(
    connection: Connection, monitor: str, *, owner: str, lease_seconds: float, now: datetime
) -> tuple[Job, Lease] | None:
    """Take the open job of the monitor, be it new or left behind by a dead worker; None if there
    is none, or another worker holds it.
    """
    job = open_job(connection, monitor)
    if job is None:
        return None
    lease = leases.acquire(connection, f"job:{job.job_id}", owner=owner, seconds=lease_seconds)
    if lease is None:
        return None
    begun = connection.execute(
        update(jobs)
        .where(jobs.c.id == job.job_id, jobs.c.status.in_(OPEN))
        .values(status=JobStatus.RUNNING, attempt=jobs.c.attempt + 1, started_at=now)
    )
    if begun.rowcount != 1:  # it was finished or cancelled after we had read it
        leases.release(connection, lease)
        return None
    return get(connection, job.job_id), lease


def requeue(connection: Connection, job: Job, *, error: str | None) -> None:
    """Give a job back; without an error (stopped on request) the attempt does not count."""
    attempt = job.attempt if error else job.attempt - 1
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job.job_id)
        .values(status=JobStatus.QUEUED, attempt=attempt, error=error)
    )


def finish(
    connection: Connection,
    job: Job,
    status: JobStatus,
    *,
    now: datetime,
    candidate_version: str | None = None,
    decision: JobDecision | None = None,
    reason: str | None = None,
    error: str | None = None,
) -> None:
    """Bring the job to a final status."""
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job.job_id)
        .values(
            status=status,
            finished_at=now,
            candidate_version=candidate_version,
            decision=decision,
            decision_reason=reason,
            error=error,
        )
    )


def cancel(connection: Connection, job_id: int, now: datetime) -> None:
    """Call off a job; a worker that runs it finds out at its next write."""
    changed = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id, jobs.c.status.in_(OPEN))
        .values(status=JobStatus.CANCELLED, finished_at=now)
    )
    if changed.rowcount != 1:
        status = get(connection, job_id).status
        raise JobStateError(job_id=job_id, status=status, wanted="queued or running", verb="cancelled")


def retry(connection: Connection, job_id: int) -> None:
    """Queue a failed or cancelled job again, with all its attempts.

    Raises:
        NoSuchJobError: there is no such job.
        JobStateError: it has not failed, nor was it cancelled.
        OpenJobError: the monitor has an open job.
    """
    job = get(connection, job_id)
    in_the_way = open_job(connection, job.monitor)
    if job.status not in {JobStatus.FAILED, JobStatus.CANCELLED}:
        raise JobStateError(job_id=job_id, status=job.status, wanted="failed or cancelled", verb="retried")
    if in_the_way is not None:
        raise OpenJobError(job_id=in_the_way.job_id, status=in_the_way.status)
    connection.execute(
        update(jobs).where(jobs.c.id == job_id).values(status=JobStatus.QUEUED, attempt=0, finished_at=None)
    )


def set_recovery(connection: Connection, job_id: int, recovery: JobRecovery | None) -> None:
    """Write down whether its candidate, once it served, has ended the drift."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(recovery=recovery))


def is_running(connection: Connection, job: Job) -> bool:
    """Whether this attempt is still the wanted one."""
    status = connection.scalar(select(jobs.c.status).where(jobs.c.id == job.job_id).with_for_update())
    return status == JobStatus.RUNNING


def _job(row: Row[tuple[object, ...]]) -> Job:
    fields = row._asdict()
    return Job(
        job_id=fields.pop("id"),
        status=JobStatus(fields.pop("status")),
        decision=JobDecision(decision) if (decision := fields.pop("decision")) else None,
        recovery=JobRecovery(recovery) if (recovery := fields.pop("recovery")) else None,
        **{name: fields[name] for name in Job.__dataclass_fields__ if name in fields},
    )
