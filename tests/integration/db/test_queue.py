"""The job queue: one open job a monitor, one worker a job, and no job that an end cannot hold."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from db import leases, queue
from db.connection.session import reading, writing
from db.errors import LeaseLostError
from db.records import Job, Lease, NewJob
from db.states import JobDecision, JobStatus
from db.tables import jobs
from tests.support.processes.races import in_processes, in_threads
from tests.support.records.cycles import MONITOR, Cycles, release, seized, stored, taken
from tests.support.records.factories import HOUR, START, make_new_job

CANDIDATE = "student-2"


def enqueue(engine: Engine, job: NewJob | None = None) -> int:
    with writing(engine) as connection:
        return queue.enqueue(connection, job or make_new_job(), START)


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


def retry(engine: Engine, job_id: int) -> None:
    with writing(engine) as connection:
        queue.retry(connection, job_id)


def claimed_after_enqueue(engine: Engine) -> tuple[Job, Lease]:
    enqueue(engine)
    return claimed(engine)


def get(engine: Engine, job_id: int) -> Job:
    with reading(engine) as connection:
        return queue.get(connection, job_id)


def test_a_queued_job_is_as_it_was_ordered(engine: Engine) -> None:
    run = Cycles(engine=engine, lease=taken(engine))
    cycle_id = run.claim(0).cycle_id
    order = make_new_job(cycle_id=cycle_id)
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
    enqueue(engine, make_new_job("other"))
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
    if status is JobStatus.CANCELLED:
        cancel(engine, job.job_id)
    else:
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
    enqueue(engine, make_new_job("other"))
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
    job_id = enqueue(engine)
    if runs:
        claimed(engine)
    cancel(engine, job_id)
    cancelled = get(engine, job_id)
    assert (cancelled.status, cancelled.finished_at) == (JobStatus.CANCELLED, START + 2 * HOUR)


def test_the_worker_of_a_cancelled_job_loses_its_lease_and_writes_nothing(engine: Engine) -> None:
    """So it stops when it next renews it, and need not train to the end first."""
    job, lease = claimed_after_enqueue(engine)
    cancel(engine, job.job_id)
    with writing(engine) as connection, pytest.raises(LeaseLostError):
        leases.renew(connection, lease, seconds=600)
    with (
        writing(engine) as connection,
        pytest.raises(
            queue.JobNotWantedError, match=rf"^Job {job.job_id} is cancelled: nothing of this attempt"
        ),
    ):
        queue.lock_for_write(connection, job, lease)


def test_a_job_that_was_cancelled_and_retried_is_not_held_by_the_worker_of_before(engine: Engine) -> None:
    job, lease = claimed_after_enqueue(engine)
    cancel(engine, job.job_id)
    retry(engine, job.job_id)
    with writing(engine) as connection, pytest.raises(LeaseLostError):
        queue.lock_for_write(connection, job, lease)
    again, _ = claimed(engine)
    assert (again.job_id, again.attempt) == (job.job_id, 1)


def test_a_worker_that_is_not_sure_whether_its_last_write_came_through_writes_nothing_more(
    engine: Engine,
) -> None:
    """It holds the lease still, but the job has ended."""
    job, lease = claimed_after_enqueue(engine)
    finish(engine, job)
    with writing(engine) as connection, pytest.raises(queue.JobNotWantedError, match="is succeeded"):
        queue.lock_for_write(connection, job, lease)


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


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_a_job_without_a_candidate_can_be_retried(engine: Engine, status: JobStatus) -> None:
    """With all its attempts, and workers are called to it once more."""
    job, lease = claimed_after_enqueue(engine)
    with writing(engine) as connection:
        queue.mark_announced(connection, job, START)
    if status is JobStatus.CANCELLED:
        cancel(engine, job.job_id)
    else:
        finish(engine, job, status)
        release(engine, lease)
    retry(engine, job.job_id)
    again = get(engine, job.job_id)
    assert (again.status, again.attempt, again.finished_at) == (JobStatus.QUEUED, 0, None)
    assert unannounced(engine) == again


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.REJECTED])
def test_a_job_with_a_candidate_is_not_retried(engine: Engine, status: JobStatus) -> None:
    job, _ = claimed_after_enqueue(engine)
    finish(engine, job, status)
    with pytest.raises(queue.JobStateError, match=rf"is {status}: only a failed or cancelled job"):
        retry(engine, job.job_id)


def test_a_job_is_not_retried_beside_an_open_one(engine: Engine) -> None:
    first = enqueue(engine)
    cancel(engine, first)
    second = enqueue(engine)
    with pytest.raises(queue.OpenJobError, match=rf"^Job {second} is queued, and a monitor has one"):
        retry(engine, first)
    assert get(engine, first).status is JobStatus.CANCELLED


def test_a_transaction_goes_on_after_a_second_open_job_was_refused(engine: Engine) -> None:
    enqueue(engine)
    with writing(engine) as connection:
        with pytest.raises(queue.OpenJobError), queue.one_open_job(connection, MONITOR):
            queue.enqueue(connection, make_new_job(), START)
        queue.enqueue(connection, make_new_job("other"), START)
    assert [row["monitor"] for row in stored(engine, jobs)] == [MONITOR, "other"]


def unannounced(engine: Engine) -> Job | None:
    with reading(engine) as connection:
        return queue.unannounced(connection, MONITOR)


def test_workers_are_called_once_to_a_job_that_waits(engine: Engine) -> None:
    assert unannounced(engine) is None
    job_id = enqueue(engine)
    assert unannounced(engine) == get(engine, job_id)
    with writing(engine) as connection:
        queue.mark_announced(connection, get(engine, job_id), START)
    assert unannounced(engine) is None
    assert stored(engine, jobs)[0]["announced_at"] == START


def test_nobody_is_called_to_a_job_that_runs(engine: Engine) -> None:
    """Nor is it marked by a call that had already brought a worker."""
    queued = get(engine, enqueue(engine))
    job, _ = claimed(engine)
    assert unannounced(engine) is None
    with writing(engine) as connection:
        queue.mark_announced(connection, queued, START)
    assert stored(engine, jobs)[0]["announced_at"] is None
    cancel(engine, job.job_id)
    assert unannounced(engine) is None


def test_workers_are_called_once_to_a_job_whose_worker_is_gone(engine: Engine) -> None:
    queued = get(engine, enqueue(engine))
    with writing(engine) as connection:
        queue.mark_announced(connection, queued, START)
    for attempt in (1, 2):
        job, _ = claimed(engine, lease_seconds=-1)
        assert job.attempt == attempt
        assert unannounced(engine) == job
        with writing(engine) as connection:
            queue.mark_announced(connection, job, START)
        assert unannounced(engine) is None


def test_workers_are_called_to_a_job_that_was_given_back(engine: Engine) -> None:
    job, _ = claimed_after_enqueue(engine)
    with writing(engine) as connection:
        queue.mark_announced(connection, job, START)
        queue.requeue(connection, job, error=None)
    assert unannounced(engine) == get(engine, job.job_id)


def test_who_finds_the_job_being_written_to_goes_away_at_once(postgres_engine: Engine) -> None:
    """And who ends it never waits for one who holds its lease and wants its row: no deadlock.

    On SQLite no one else writes between the two.
    """
    job, lease = claimed_after_enqueue(postgres_engine)
    with writing(postgres_engine) as connection:
        queue.lock_for_write(connection, job, lease)
        began = time.monotonic()
        assert claim(postgres_engine, owner="other") is None
        assert time.monotonic() - began < 2
        queue.finish(connection, job, JobStatus.SUCCEEDED, now=START)
    assert claim(postgres_engine, owner="other") is None
    assert get(postgres_engine, job.job_id).attempt == 1


def test_whose_lease_has_expired_while_another_takes_the_job_writes_nothing(postgres_engine: Engine) -> None:
    """The other one holds the row and its lease until it commits; the late one waits, and finds out."""
    enqueue(postgres_engine)
    job, lost = claimed(postgres_engine, lease_seconds=-1)
    with ThreadPoolExecutor(1) as late:
        with writing(postgres_engine) as connection:
            assert queue.claim(connection, MONITOR, owner="other", lease_seconds=600, now=START)
            holding = late.submit(hold, postgres_engine, job, lost)
            with pytest.raises(TimeoutError):
                holding.result(0.3)
        with pytest.raises(LeaseLostError):
            holding.result(10)


def hold(engine: Engine, job: Job, lease: Lease) -> None:
    with writing(engine) as connection:
        queue.lock_for_write(connection, job, lease)


def test_the_row_alone_does_not_tell_a_late_worker_that_another_has_the_job(engine: Engine) -> None:
    """Its token does."""
    job, lease = claimed_after_enqueue(engine)
    seized(engine, lease)
    with pytest.raises(LeaseLostError):
        hold(engine, job, lease)


def test_whether_a_running_job_has_a_worker_is_whether_its_lease_is_held(engine: Engine) -> None:
    job, lease = claimed_after_enqueue(engine)
    with reading(engine) as connection:
        assert leases.is_held(connection, queue.lease_name(job.job_id))
        assert not leases.is_held(connection, queue.lease_name(job.job_id + 1))
    with writing(engine) as connection:
        leases.renew(connection, lease, seconds=-1)
    with reading(engine) as connection:
        assert not leases.is_held(connection, queue.lease_name(job.job_id))
