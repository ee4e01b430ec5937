"""Any operation on any job in any order: what TRANSITIONS has is done, and everything else is refused."""

import uuid
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, update

from db import leases, queue
from db.connection.session import reading, writing
from db.errors import LeaseLostError
from db.records import Job, Lease
from db.states import JobStatus
from db.tables import jobs
from tests.support.records.factories import START, make_new_job

#: Which job an operation is about: the newest one, or one before it.
AGES = st.sampled_from([0, 0, 0, 1])
ENDS = st.sampled_from([JobStatus.SUCCEEDED, JobStatus.REJECTED, JobStatus.FAILED])


@dataclass(kw_only=True)
class Known:
    """What a job must look like."""

    status: JobStatus = JobStatus.QUEUED
    attempt: int = 0
    announced: bool = False
    held: list[Lease] = field(default_factory=list)  #: by every worker that ever took it, the newest last
    lease_is_good: bool = False  #: the newest worker's


class Moves(RuleBasedStateMachine):
    """One monitor's jobs, and what they must look like. Any worker tries anything at any time."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.monitor = uuid.uuid4().hex
        self.known: dict[int, Known] = {}

    @property
    def open(self) -> list[int]:
        return [number for number, known in self.known.items() if known.status in queue.OPEN]

    def allows(self, number: int, to: JobStatus, by: str) -> bool:
        return queue.TRANSITIONS.get((self.known[number].status, to)) == by

    def number(self, age: int) -> int:
        return list(self.known)[-1 - age % len(self.known)]

    def is_at_work(self, number: int) -> bool:
        return self.known[number].status is JobStatus.RUNNING and self.known[number].lease_is_good

    def row(self, number: int) -> Job:
        with reading(self.engine) as connection:
            return queue.get(connection, number)

    @rule()
    def enqueue(self) -> None:
        with writing(self.engine) as connection:
            if self.open:
                with pytest.raises(queue.OpenJobError), queue.one_open_job(connection, self.monitor):
                    queue.enqueue(connection, make_new_job(self.monitor), START)
                return
            number = queue.enqueue(connection, make_new_job(self.monitor), START)
        self.known[number] = Known()

    @rule(dies=st.booleans())
    def claim(self, *, dies: bool) -> None:
        """A worker that dies has a lease that expires at once."""
        with writing(self.engine) as connection:
            found = queue.claim(
                connection, self.monitor, owner="worker", lease_seconds=-1 if dies else 600, now=START
            )
        if not self.open or self.known[self.open[0]].lease_is_good:
            assert found is None
            return
        assert found is not None
        job, lease = found
        known = self.known[self.open[0]]
        assert (job.job_id, job.status) == (self.open[0], JobStatus.RUNNING)
        known.status, known.attempt = JobStatus.RUNNING, known.attempt + 1
        known.held.append(lease)
        known.lease_is_good, known.announced = not dies, False

    @precondition(lambda self: self.known)
    @rule(age=AGES)
    def expire(self, age: int) -> None:
        """The newest worker is away for too long."""
        number = self.number(age)
        known = self.known[number]
        if known.lease_is_good:
            with writing(self.engine) as connection:
                leases.renew(connection, known.held[-1], seconds=-1)
            known.lease_is_good = False

    @precondition(lambda self: self.known)
    @rule(age=AGES, error=st.sampled_from([None, "out of memory"]))
    def requeue(self, age: int, error: str | None) -> None:
        number = self.number(age)
        known = self.known[number]
        with writing(self.engine) as connection:
            if not self.allows(number, JobStatus.QUEUED, "requeue"):
                with pytest.raises(queue.JobStateError):
                    queue.requeue(connection, queue.get(connection, number), error=error)
                return
            queue.requeue(connection, queue.get(connection, number), error=error)
            leases.release(connection, known.held[-1])
        known.status, known.announced, known.lease_is_good = JobStatus.QUEUED, False, False
        known.attempt -= error is None

    @precondition(lambda self: self.known)
    @rule(age=AGES, status=ENDS, gives_lease_back=st.booleans())
    def finish(self, age: int, status: JobStatus, *, gives_lease_back: bool) -> None:
        number = self.number(age)
        known = self.known[number]
        with writing(self.engine) as connection:
            if not self.allows(number, status, "finish"):
                with pytest.raises(queue.JobStateError, match="only a running job can be finished"):
                    queue.finish(connection, queue.get(connection, number), status, now=START)
                return
            queue.finish(connection, queue.get(connection, number), status, now=START)
            if gives_lease_back:
                leases.release(connection, known.held[-1])
                known.lease_is_good = False
        known.status = status

    @precondition(lambda self: self.known)
    @rule(age=AGES, status=st.sampled_from([JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.CANCELLED]))
    def finish_with_no_end(self, age: int, status: JobStatus) -> None:
        number = self.number(age)
        with writing(self.engine) as connection, pytest.raises(queue.JobStateError):
            queue.finish(connection, queue.get(connection, number), status, now=START)

    @precondition(lambda self: self.known)
    @rule(age=AGES)
    def give_up(self, age: int) -> None:
        """By the daemon, which finds no worker for it. A job that a worker has is left alone."""
        number = self.number(age)
        known = self.known[number]
        with writing(self.engine) as connection:
            job = queue.get(connection, number)
            if known.status not in queue.OPEN:
                with pytest.raises(queue.JobStateError, match="only a queued job can be given up"):
                    queue.give_up(connection, job, owner="daemon", error="no room", now=START)
                return
            given_up = queue.give_up(connection, job, owner="daemon", error="no room", now=START)
        assert given_up is not known.lease_is_good
        if given_up:
            known.status = JobStatus.FAILED
            known.held.append(
                Lease(name=queue.lease_name(number), owner="daemon", token=0)
            )  # and let go at once

    @precondition(lambda self: self.known)
    @rule(age=AGES)
    def cancel(self, age: int) -> None:
        number = self.number(age)
        known = self.known[number]
        with writing(self.engine) as connection:
            if not self.allows(number, JobStatus.CANCELLED, "cancel"):
                with pytest.raises(queue.JobStateError, match="only a queued or running job can be canc"):
                    queue.cancel(connection, number, START)
                return
            queue.cancel(connection, number, START)
        known.status, known.lease_is_good = JobStatus.CANCELLED, False
        known.held.append(Lease(name=queue.lease_name(number), owner="nobody", token=0))  # it was taken away

    @precondition(lambda self: self.known)
    @rule(age=AGES)
    def retry(self, age: int) -> None:
        number = self.number(age)
        known = self.known[number]
        with writing(self.engine) as connection:
            if not self.allows(number, JobStatus.QUEUED, "retry"):
                with pytest.raises(queue.JobStateError, match="only a failed or cancelled job"):
                    queue.retry(connection, number)
                return
            if self.open:
                with pytest.raises(queue.OpenJobError):
                    queue.retry(connection, number)
                return
            queue.retry(connection, number)
        known.status, known.attempt, known.announced = JobStatus.QUEUED, 0, False

    @rule()
    def announce(self) -> None:
        with writing(self.engine) as connection:
            found = queue.unannounced(connection, self.monitor)
            waiting: list[int | None] = [
                number
                for number in self.open
                if not self.known[number].announced and not self.is_at_work(number)
            ]
            assert [found.job_id if found else None] == (waiting or [None])
            if found is not None:
                queue.mark_announced(connection, found, START)
                self.known[found.job_id].announced = True

    @precondition(lambda self: self.known)
    @rule(age=AGES, which=st.integers(min_value=0))
    def hold(self, age: int, which: int) -> None:
        """Of all workers that ever took a job, only the newest may write, and only while the job runs."""
        number = self.number(age)
        known = self.known[number]
        if not known.held:
            return
        lease = known.held[which % len(known.held)]
        with writing(self.engine) as connection:
            job = queue.get(connection, number)
            if known.status is JobStatus.RUNNING and lease is known.held[-1]:
                queue.lock_for_write(connection, job, lease)
                return
            with pytest.raises((queue.JobNotWantedError, LeaseLostError)):
                queue.lock_for_write(connection, job, lease)

    @invariant()
    def what_is_stored_is_what_is_known(self) -> None:
        assert len(self.open) <= 1
        found = {number: self.row(number) for number in self.known}
        assert {n: (job.status, job.attempt) for n, job in found.items()} == {
            n: (known.status, known.attempt) for n, known in self.known.items()
        }

    @invariant()
    def a_job_that_has_ended_has_an_end(self) -> None:
        for number in self.known:
            job = self.row(number)
            assert (job.finished_at is not None) == (job.status not in queue.OPEN)


def test_every_move_that_is_not_in_the_table_is_refused(engine: Engine) -> None:
    run_state_machine_as_test(
        type("Machine", (Moves,), {"engine": engine}),
        settings=settings(
            max_examples=settings().max_examples // (2 if engine.dialect.name == "sqlite" else 8),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("start", list(JobStatus))
@pytest.mark.parametrize("end", list(JobStatus))
def test_each_pair_of_states_is_as_the_table_says(engine: Engine, start: JobStatus, end: JobStatus) -> None:
    """Every function is asked for every move, once from each state; a running job's worker is gone."""
    with writing(engine) as connection:
        number = queue.enqueue(connection, make_new_job(), START)
        connection.execute(update(jobs).where(jobs.c.id == number).values(status=start))
        job = queue.get(connection, number)
        moves = {
            "claim": lambda: queue.claim(connection, job.monitor, owner="b", lease_seconds=60, now=START),
            "requeue": lambda: queue.requeue(connection, job, error=None),
            "finish": lambda: queue.finish(connection, job, end, now=START),
            "give_up": lambda: queue.give_up(connection, job, owner="daemon", error="no room", now=START),
            "cancel": lambda: queue.cancel(connection, number, START),
            "retry": lambda: queue.retry(connection, number),
        }
        for by, move in moves.items():
            with connection.begin_nested() as savepoint:
                if by == "give_up" and start is JobStatus.RUNNING:  # it leaves a worker's job alone
                    leases.acquire(connection, queue.lease_name(number), owner="worker", seconds=600)
                try:
                    move()
                    now = queue.get(connection, number)
                    moved = now.status is end and now != job
                except queue.JobStateError:
                    moved = False
                savepoint.rollback()
            assert moved == (queue.TRANSITIONS.get((start, end)) == by), by
