"""The job queue. A job's row is the truth: what a worker did is in the row, or did not happen."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Text,
    bindparam,
    func,
    insert,
    select,
    type_coerce,
    update,
)
from sqlalchemy.exc import IntegrityError

from db import leases
from db.errors import RedistillError
from db.records import Job, Lease, NewJob
from db.states import JobDecision, JobRecovery, JobStatus
from db.tables import cycles, jobs
from db.telemetry import counts
from db.telemetry.counts import count

OPEN = (JobStatus.QUEUED, JobStatus.RUNNING)
#: A job is started at most this often before it is given up; an attempt whose worker died counts.
MAX_ATTEMPTS = 5

#: Every move, and the function that makes it; None: before there is a row. Any other move is refused.
TRANSITIONS: Final[Mapping[tuple[JobStatus | None, JobStatus], str]] = {
    (None, JobStatus.QUEUED): "enqueue",
    (JobStatus.QUEUED, JobStatus.RUNNING): "claim",
    (JobStatus.RUNNING, JobStatus.RUNNING): "claim",
    (JobStatus.RUNNING, JobStatus.QUEUED): "requeue",
    (JobStatus.RUNNING, JobStatus.SUCCEEDED): "finish",
    (JobStatus.RUNNING, JobStatus.REJECTED): "finish",
    (JobStatus.RUNNING, JobStatus.FAILED): "finish",
    (JobStatus.QUEUED, JobStatus.FAILED): "give_up",
    (JobStatus.QUEUED, JobStatus.CANCELLED): "cancel",
    (JobStatus.RUNNING, JobStatus.CANCELLED): "cancel",
    (JobStatus.FAILED, JobStatus.QUEUED): "retry",
    (JobStatus.CANCELLED, JobStatus.QUEUED): "retry",
}
_DONE: Final = {
    "claim": "claimed",
    "requeue": "requeued",
    "finish": "finished",
    "give_up": "given up",
    "cancel": "cancelled",
    "retry": "retried",
}


class NoSuchJobError(RedistillError):
    """There is no job {job_id}: choose one from `redistill jobs list`."""


class JobStateError(RedistillError):
    """Job {job_id} is {status}: only a {wanted} job can be {verb}."""


class OpenJobError(RedistillError):
    """Job {job_id} is {status}, and a monitor has one open job at a time: wait for its end, or cancel it."""


class JobNotWantedError(RedistillError):
    """Job {job_id} is {status}: nothing of this attempt is written."""


def enqueue(connection: Connection, job: NewJob, now: datetime) -> int:
    """Queue the job and return its number.

    Raises:
        IntegrityError: the monitor has an open job already, which a unique index ensures.
    """
    statement = (
        insert(jobs)
        .values(**asdict(job), soft_labels="online", status=JobStatus.QUEUED, attempt=0, enqueued_at=now)
        .returning(jobs.c.id)
    )
    return int(connection.execute(statement).scalar_one())


def get(connection: Connection, job_id: int) -> Job:
    """Return the job.

    Raises:
        NoSuchJobError: there is no such job.
    """
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise NoSuchJobError(job_id=job_id)
    return _job(row)


def open_job(connection: Connection, monitor: str) -> Job | None:
    """Return the monitor's queued or running job, or None."""
    row = connection.execute(select(jobs).where(jobs.c.monitor == monitor, _is_open())).one_or_none()
    return _job(row) if row else None


def of_monitor(connection: Connection, monitor: str) -> tuple[Job, ...]:
    """Return all jobs that the monitor ever had, oldest first."""
    rows = connection.execute(select(jobs).where(jobs.c.monitor == monitor).order_by(jobs.c.id))
    return tuple(_job(row) for row in rows)


def n_started_since(connection: Connection, monitor: str, since: datetime) -> int:
    """Return how many jobs of the monitor were last started at `since` or later."""
    own = (jobs.c.monitor == monitor, jobs.c.started_at >= since)
    return connection.scalar(select(func.count()).select_from(jobs).where(*own)) or 0


def last_by_window(connection: Connection, monitor: str, window_end: datetime) -> int:
    """Return the number of the last job that is about this window or an earlier one; 0 for none."""
    about = select(func.max(jobs.c.id)).join(cycles, cycles.c.id == jobs.c.cycle_id)
    own = (jobs.c.monitor == monitor, cycles.c.window_end <= window_end)
    return connection.scalar(about.where(*own)) or 0


def archive_of(connection: Connection, job: Job) -> str | None:
    """Return the location of the archived sample of the job's cycle as it is stored, or None.

    A path relative to the configuration's folder stays so: it is the same for daemon and worker.
    """
    stored = type_coerce(cycles.c.archive, Text)
    return connection.scalar(select(stored).where(cycles.c.id == job.cycle_id))


def lease_name(job_id: int) -> str:
    """Return the name of the lease that the job's worker holds."""
    return f"job:{job_id}"


def is_abandoned(connection: Connection, job: Job) -> bool:
    """Return whether the job is running but has no worker: it died, or was suspended for too long."""
    return job.status is JobStatus.RUNNING and not leases.is_held(connection, lease_name(job.job_id))


def claim(
    connection: Connection, monitor: str, *, owner: str, lease_seconds: float, now: datetime
) -> tuple[Job, Lease] | None:
    """Claim the monitor's open job, either new or left behind by a dead worker.

    Return None if there is none, or if another worker holds the job or is about to write to it.
    """
    # The row is locked before the lease, here and in `lock_for_write` and `cancel`: in the other order two
    # processes could wait for each other. A process that finds the row locked gives up instead of waiting.
    row = connection.execute(
        select(jobs).where(jobs.c.monitor == monitor, _is_open()).with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    lease = leases.acquire(connection, lease_name(row.id), owner=owner, seconds=lease_seconds)
    if lease is None:
        return None
    attempt = jobs.c.attempt + 1
    _move(connection, row.id, JobStatus.RUNNING, "claim", attempt=attempt, started_at=now, announced_at=None)
    return get(connection, row.id), lease


def lock_for_write(connection: Connection, job: Job, lease: Lease) -> None:
    """Lock the running job: until this transaction ends, only this one can write the job's outcome.

    Raises:
        JobNotWantedError: the job was cancelled, or has ended in another way.
        LeaseLostError: another worker has the job.
    """
    status = connection.scalar(select(jobs.c.status).where(jobs.c.id == job.job_id).with_for_update())
    if status in OPEN:
        leases.guard(connection, lease)
    if status != JobStatus.RUNNING:
        raise JobNotWantedError(job_id=job.job_id, status=status)


def requeue(connection: Connection, job: Job, *, error: str | None) -> None:
    """Put a running job back into the queue.

    Without an error, when it was stopped on request, the attempt does not count.

    Raises:
        JobStateError: the job is not running.
    """
    attempt = job.attempt if error else job.attempt - 1
    _move(
        connection, job.job_id, JobStatus.QUEUED, "requeue", attempt=attempt, error=error, announced_at=None
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
    n_labelled_traffic: int | None = None,
    soft_labels: str | None = None,
) -> None:
    """End a running job as succeeded, rejected or failed.

    Raises:
        JobStateError: the job is not running.
    """
    _move(
        connection,
        job.job_id,
        status,
        "finish",
        finished_at=now,
        candidate_version=candidate_version,
        decision=decision,
        decision_reason=reason,
        error=error,
        n_labelled_traffic=n_labelled_traffic,
        **({} if soft_labels is None else {"soft_labels": soft_labels}),
    )


def give_up(connection: Connection, job: Job, *, owner: str, error: str, now: datetime) -> bool:
    """Fail a job for which no worker can be started.

    Return False if a worker has the job or is about to write to it.

    Raises:
        JobStateError: the job has ended.
    """
    status = connection.scalar(
        select(jobs.c.status).where(jobs.c.id == job.job_id).with_for_update(skip_locked=True)
    )
    if status is None:
        return False
    if status in OPEN and not leases.acquire(connection, lease_name(job.job_id), owner=owner, seconds=0):
        return False
    if status == JobStatus.RUNNING:
        finish(connection, job, JobStatus.FAILED, now=now, error=error)
    else:
        _move(connection, job.job_id, JobStatus.FAILED, "give_up", finished_at=now, error=error)
    return True


def note_error(connection: Connection, job_id: int, error: str) -> None:
    """Record what keeps an open job from being done; leave a job that has ended as it is."""
    connection.execute(update(jobs).where(jobs.c.id == job_id, _is_open()).values(error=error))


def cancel(connection: Connection, job_id: int, now: datetime) -> None:
    """Cancel a job. A worker that runs the job loses its lease, and stops when it next renews the lease.

    Raises:
        NoSuchJobError: there is no such job.
        JobStateError: the job has ended.
    """
    _move(connection, job_id, JobStatus.CANCELLED, "cancel", finished_at=now)
    leases.revoke(connection, lease_name(job_id))


def retry(connection: Connection, job_id: int) -> None:
    """Queue a failed or cancelled job again, with all its attempts.

    Raises:
        NoSuchJobError: there is no such job.
        JobStateError: the job neither failed nor was cancelled.
        OpenJobError: the monitor has an open job.
    """
    with one_open_job(connection, get(connection, job_id).monitor):
        _move(connection, job_id, JobStatus.QUEUED, "retry", attempt=0, finished_at=None, announced_at=None)
    # The fencing token grows, so that earlier failures to start a worker for the job no longer count.
    leases.acquire(connection, lease_name(job_id), owner="retry", seconds=0)


@contextmanager
def one_open_job(connection: Connection, monitor: str) -> Iterator[None]:
    """Raise OpenJobError if the block violates the unique index; the transaction can still continue."""
    try:
        with connection.begin_nested():
            yield
    except IntegrityError as error:
        job = open_job(connection, monitor)
        if job is None:  # the job has ended since, or the error has another cause
            raise
        raise OpenJobError(job_id=job.job_id, status=job.status) from error


def unannounced(connection: Connection, monitor: str) -> Job | None:
    """Return the monitor's job that needs a worker, queued or abandoned, if it has not been announced yet."""
    row = connection.execute(
        select(jobs).where(jobs.c.monitor == monitor, _is_open(), jobs.c.announced_at.is_(None))
    ).one_or_none()
    job = _job(row) if row else None
    if job is None or (job.status is JobStatus.RUNNING and not is_abandoned(connection, job)):
        return None
    return job


def mark_announced(connection: Connection, job: Job, now: datetime) -> None:
    """Record that the job was announced to workers, after this has happened.

    If a worker has claimed the job since, the announcement has had its effect and nothing is recorded.
    """
    connection.execute(
        update(jobs).where(jobs.c.id == job.job_id, jobs.c.attempt == job.attempt).values(announced_at=now)
    )


def set_recovery(connection: Connection, job_id: int, recovery: JobRecovery | None) -> None:
    """Record whether the job's candidate ended the drift once it served."""
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(recovery=recovery))


def _is_open() -> ColumnElement[bool]:
    # Literal values, as in the unique index: with parameters SQLite does not see that it can use the index.
    return jobs.c.status.in_(bindparam("open", OPEN, expanding=True, literal_execute=True))


def _move(connection: Connection, job_id: int, to: JobStatus, by: str, **values: object) -> None:
    """Make a move of TRANSITIONS if the job is where the move starts."""
    moves = [(start, end) for (start, end), name in TRANSITIONS.items() if name == by and start]
    starts = [start for start, end in moves if end is to]
    changed = connection.execute(
        update(jobs).where(jobs.c.id == job_id, jobs.c.status.in_(starts)).values(status=to, **values)
    )
    if changed.rowcount != 1:
        wanted = " or ".join(dict.fromkeys(start for start, _ in moves))
        raise JobStateError(
            job_id=job_id, status=get(connection, job_id).status, wanted=wanted, verb=_DONE[by]
        )
    if to not in OPEN:
        monitor = connection.execute(select(jobs.c.monitor).where(jobs.c.id == job_id)).scalar_one()
        counts.add(connection, monitor, [count("jobs_total", status=to)])


def _job(row: Row[tuple[object, ...]]) -> Job:
    fields = row._asdict()
    return Job(
        job_id=fields.pop("id"),
        status=JobStatus(fields.pop("status")),
        decision=JobDecision(decision) if (decision := fields.pop("decision")) else None,
        recovery=JobRecovery(recovery) if (recovery := fields.pop("recovery")) else None,
        **{name: fields[name] for name in Job.__dataclass_fields__ if name in fields},
    )
