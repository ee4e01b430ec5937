"""The job queue: one open job a monitor, one worker a job, and no job that an end cannot hold."""

import threading
from collections.abc import Callable
from decimal import Decimal

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import IntegrityError

from db import leases, queue
from db.errors import LeaseLostError
from db.records import Job, Lease, NewJob
from db.session import reading, writing
from db.states import JobDecision, JobStatus
from db.tables import jobs
from tests.cycles import MONITOR, Cycles, seized, stored, taken
from tests.factories import HOUR, START, STUDENT, TEACHER
from tests.races import in_processes, in_threads

CANDIDATE = "student-2"


def make_job(monitor: str = MONITOR, *, cycle_id: int | None = None) -> NewJob:
    return NewJob(
        monitor=monitor,
        cycle_id=cycle_id,
        rule="low-agreement",
        reason="agreement 0.94 below 0.95 for 3 cycles",
        teacher_version=TEACHER,
        student_version=STUDENT,
        alpha_from=Decimal("0.7"),
        alpha_to=Decimal("0.6"),
        temperature=3.0,
    )


def enqueue(engine: Engine, job: NewJob | None = None) -> int:
    with writing(engine) as connection:
        return queue.enqueue(connection, job or make_job(), START)


def claim(
    engine: Engine, *, owner: str = "worker", lease_seconds: float = 600, monitor: str = MONITOR
) -> tuple[Job, Lease] | None:
    with writing(engine) as connection:
        return queue.claim(connection, monitor, owner=owner, lease_seconds=lease_seconds, now=START + HOUR)


def claimed(engine: Engine, *, lease_seconds: float = 600) -> tuple[Job, Lease]:
    found = claim(engine, lease_seconds=lease_seconds)
    assert found is not None
    return found


def finish(engine: Engine, job: Job, status: JobStatus = JobStatus.SUCCEEDED) -> None:
    with writing(engine) as connection:
        queue.finish(
            connection,
            job,
            status,
            now=START + 2 * HOUR,
            candidate_version=CANDIDATE,
            decision=JobDecision.PROMOTED,
            reason="passed: all",
        )


def cancel(engine: Engine, job_id: int) -> None:
    with writing(engine) as connection:
        queue.cancel(connection, job_id, START + 2 * HOUR)


def get(engine: Engine, job_id: int) -> Job:
    with reading(engine) as connection:
        return queue.get(connection, job_id)


def release(engine: Engine, lease: Lease) -> None:
    with writing(engine) as connection:
        leases.release(connection, lease)


def test_a_queued_job_is_as_it_was_ordered(engine: Engine) -> None:
    run = Cycles(engine=engine, lease=taken(engine))
    cycle_id = run.claim(0).cycle_id
    order = make_job(cycle_id=cycle_id)
    job_id = enqueue(engine, order)
    asked = {name: value for name, value in vars(order).items() if name != "evidence"}  # job_history has it
    assert get(engine, job_id) == Job(
        **asked,
        job_id=job_id,
        status=JobStatus.QUEUED,
        attempt=0,
        enqueued_at=START,
        started_at=None,
        finished_at=None,
        candidate_version=None,
        decision=None,
        decision_reason=None,
    )


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.RUNNING])
def test_a_monitor_has_one_open_job(engine: Engine, status: JobStatus) -> None:
    """A second one is refused by a unique index; another monitor's is not."""
    enqueue(engine)
    if status is JobStatus.RUNNING:
        claimed(engine)
    with pytest.raises(IntegrityError):
        enqueue(engine)
    enqueue(engine, make_job("other"))
    with reading(engine) as connection:
        job = queue.open_job(connection, MONITOR)
    assert job is not None
    assert job.status is status


@pytest.mark.parametrize(
    "status", [JobStatus.SUCCEEDED, JobStatus.REJECTED, JobStatus.FAILED, JobStatus.CANCELLED]
)
def test_a_job_that_has_ended_makes_room_for_the_next(engine: Engine, status: JobStatus) -> None:
    enqueue(engine)
    job, _ = claimed(engine)
    finish(engine, job, status)
    with reading(engine) as connection:
        assert queue.open_job(connection, MONITOR) is None
    second = enqueue(engine)
    with reading(engine) as connection:
        assert [job.job_id for job in queue.of_monitor(connection, MONITOR)] == [job.job_id, second]


def test_of_those_who_enqueue_at_once_one_succeeds(engine: Engine) -> None:
    def attempt(_number: int) -> bool:
        try:
            enqueue(engine)
        except IntegrityError:
            return False
        return True

    assert sum(in_threads(6, attempt)) == 1
    assert len(stored(engine, jobs)) == 1


def test_a_worker_takes_the_open_job_and_its_lease(engine: Engine) -> None:
    job_id = enqueue(engine)
    job, lease = claimed(engine)
    assert (job.job_id, job.status, job.attempt) == (job_id, JobStatus.RUNNING, 1)
    assert job.started_at == START + HOUR
    assert (lease.name, lease.owner, lease.token) == (f"job:{job_id}", "worker", 1)
    assert job == get(engine, job_id)


def test_there_is_nothing_to_take_without_an_open_job(engine: Engine) -> None:
    assert claim(engine) is None
    enqueue(engine, make_job("other"))
    assert claim(engine) is None


def test_a_job_that_a_worker_holds_is_not_taken(engine: Engine) -> None:
    job_id = enqueue(engine)
    claimed(engine)
    assert claim(engine, owner="other") is None
    assert get(engine, job_id).attempt == 1


def test_the_job_of_a_dead_worker_is_taken_when_its_lease_has_expired(engine: Engine) -> None:
    """The late worker finds a higher token and writes nothing."""
    enqueue(engine)
    _, lost = claimed(engine, lease_seconds=-1)
    job, lease = claimed(engine)
    assert (job.attempt, lease.token) == (2, 2)
    with writing(engine) as connection, pytest.raises(LeaseLostError):
        leases.guard(connection, lost)


@pytest.mark.parametrize(("error", "attempt"), [("out of memory", 1), (None, 0)])
def test_a_job_that_is_given_back_is_queued_again(engine: Engine, error: str | None, attempt: int) -> None:
    """An attempt that was stopped on request does not count."""
    enqueue(engine)
    job, lease = claimed(engine)
    with writing(engine) as connection:
        queue.requeue(connection, job, error=error)
        leases.release(connection, lease)
    (row,) = stored(engine, jobs)
    assert (row["status"], row["attempt"], row["error"]) == ("queued", attempt, error)
    again, _ = claimed(engine)
    assert again.attempt == attempt + 1


def test_a_job_ends_with_what_became_of_its_candidate(engine: Engine) -> None:
    enqueue(engine)
    job, _ = claimed(engine)
    finish(engine, job)
    ended = get(engine, job.job_id)
    assert (ended.status, ended.finished_at) == (JobStatus.SUCCEEDED, START + 2 * HOUR)
    assert (ended.candidate_version, ended.decision) == (CANDIDATE, JobDecision.PROMOTED)
    assert ended.decision_reason == "passed: all"


def test_an_ended_job_is_never_taken(engine: Engine) -> None:
    enqueue(engine)
    job, lease = claimed(engine)
    finish(engine, job)
    release(engine, lease)
    assert claim(engine) is None


@pytest.mark.parametrize("runs", [False, True])
def test_an_open_job_can_be_cancelled(engine: Engine, *, runs: bool) -> None:
    """Its worker finds out when it asks whether the job still runs."""
    job_id = enqueue(engine)
    job, _ = claimed(engine) if runs else (get(engine, job_id), None)
    with writing(engine) as connection:
        assert queue.is_running(connection, job) is runs
    cancel(engine, job_id)
    cancelled = get(engine, job_id)
    assert (cancelled.status, cancelled.finished_at) == (JobStatus.CANCELLED, START + 2 * HOUR)
    with writing(engine) as connection:
        assert not queue.is_running(connection, job)


def test_an_ended_job_cannot_be_cancelled(engine: Engine) -> None:
    job_id = enqueue(engine)
    job, _ = claimed(engine)
    finish(engine, job)
    before = get(engine, job_id)
    with pytest.raises(
        queue.JobStateError,
        match=rf"^Job {job_id} is succeeded: only a queued or running job can be cancelled\.$",
    ):
        cancel(engine, job_id)
    assert get(engine, job_id) == before


def test_a_job_that_is_not_there_is_named(engine: Engine) -> None:
    with pytest.raises(queue.NoSuchJobError, match="There is no job 7:"):
        get(engine, 7)
    with pytest.raises(queue.NoSuchJobError, match="There is no job 7:"):
        cancel(engine, 7)


def test_of_eight_workers_one_takes_a_job(engine: Engine) -> None:
    enqueue(engine)
    found = in_threads(8, lambda number: claim(engine, owner=str(number)))
    assert sum(each is not None for each in found) == 1
    assert stored(engine, jobs)[0]["attempt"] == 1


def test_of_four_worker_processes_one_takes_the_job_of_a_dead_one(engine: Engine, database_url: str) -> None:
    enqueue(engine)
    claimed(engine, lease_seconds=-1)
    found = in_processes(4, database_url, lambda own, number: claim(own, owner=str(number)))
    assert [job.attempt for job, _ in filter(None, found)] == [2]


def end_by_finish(engine: Engine, job: Job, lease: Lease) -> None:
    finish(engine, job)
    release(engine, lease)


def end_by_cancel(engine: Engine, job: Job, lease: Lease) -> None:
    cancel(engine, job.job_id)
    release(engine, lease)


@pytest.mark.parametrize("end", [end_by_finish, end_by_cancel])
def test_a_job_that_ends_while_it_is_being_taken_stays_ended(
    postgres_engine: Engine, end: Callable[[Engine, Job, Lease], None]
) -> None:
    """Another worker has read that it is open, and gets its lease the moment that it is released.

    On SQLite no one else writes between the two.
    """
    enqueue(postgres_engine)
    job, lease = claimed(postgres_engine)
    ended = threading.Event()

    def end_first(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO leases") and not ended.is_set():
            ended.set()
            end(postgres_engine, job, lease)

    event.listen(postgres_engine, "before_cursor_execute", end_first)
    assert claim(postgres_engine, owner="other") is None
    assert ended.is_set()
    after = get(postgres_engine, job.job_id)
    assert after.status in {JobStatus.SUCCEEDED, JobStatus.CANCELLED}
    assert after.attempt == 1
    assert taken(postgres_engine, lease.name)  # nor is its lease left taken


def test_a_lost_lease_and_a_job_that_still_runs(engine: Engine) -> None:
    """The row alone does not tell a late worker that another has the job: its token does."""
    enqueue(engine)
    job, lease = claimed(engine)
    seized(engine, lease)
    with writing(engine) as connection:
        assert queue.is_running(connection, job)
        with pytest.raises(LeaseLostError):
            leases.guard(connection, lease)
