"""A job for which no worker can be started fails with the reason, after so many tries in a row."""

from datetime import timedelta

from sqlalchemy import Engine

from db import queue
from db.connection.session import writing
from db.states import JobStatus, TaskState
from db.tables import deliveries, incidents
from tests.support.processes.starters import MINUTE, SECOND, Office
from tests.support.records.cycles import stored
from tests.support.servers.ecs import SmallEcs, failure, refusal
from triggers.worker_tasks.steps import Act


def test_a_job_that_no_worker_can_be_started_for_fails_with_the_reason_and_tells_it(
    office: Office, amazon: SmallEcs
) -> None:
    """After five tries in 7.5 minutes, where somebody must mend something; a person retries it then."""
    job_id = office.order()
    told = "ClientException: TaskDefinition not found."
    amazon.answer("RunTask", *[refusal("ClientException", "TaskDefinition not found.")] * 5)
    took = office.tended_until(Act.GIVE_UP)
    assert timedelta(minutes=7) < took < timedelta(minutes=9)
    job = office.job(job_id)
    assert (job.status, job.attempt, job.finished_at) == (JobStatus.FAILED, 0, office.now)
    assert job.error == f"given up: no worker could be started in 5 tries; the last: {told}"
    (incident,) = stored(office.engine, incidents)
    assert (incident["kind"], incident["severity"], incident["job_id"]) == ("job-failed", "error", job_id)
    assert incident["summary"] == f"job {job_id}, alpha 0.7 -> 0.6: {job.error}"
    assert len(stored(office.engine, deliveries)) == 1
    for _ in range(3):
        assert office.tend(MINUTE) is Act.NONE_WANTED
    with writing(office.engine) as connection:
        queue.retry(connection, job_id)
    assert office.tend(SECOND) is Act.ASK
    assert office.tasks(job_id)[-1].state is TaskState.STARTED
    assert len(amazon.called("RunTask")) == 6


def test_capacity_is_waited_for_longer(sqlite_engine: Engine, amazon: SmallEcs) -> None:
    office = Office(engine=sqlite_engine)
    job_id = office.order()
    amazon.answer("RunTask", *[failure("RESOURCE:GPU")] * 20)
    took = office.tended_until(Act.GIVE_UP, every=30 * SECOND)
    assert timedelta(hours=3, minutes=45) < took < timedelta(hours=3, minutes=50)
    assert office.job(job_id).error == (
        "given up: no worker could be started in 20 tries; the last: RESOURCE:GPU"
    )


def test_a_worker_that_comes_after_some_failed_tries_begins_the_count_anew(
    office: Office, amazon: SmallEcs
) -> None:
    job_id = office.order()
    amazon.answer("RunTask", *[refusal("AccessDeniedException")] * 8)
    for _ in range(4):
        office.tended_until(Act.ASK)
    office.give_back(*office.take(), error="attempt failed")
    for _ in range(4):
        office.tended_until(Act.ASK)
    assert office.job(job_id).status is JobStatus.QUEUED
    office.tended_until(Act.ASK)
    assert office.tasks(job_id)[-1].state is TaskState.STARTED


def test_a_job_that_is_cancelled_and_retried_begins_the_count_anew(office: Office, amazon: SmallEcs) -> None:
    job_id = office.order()
    amazon.answer("RunTask", *[refusal("AccessDeniedException")] * 6)
    for _ in range(4):
        office.tended_until(Act.ASK)
    with writing(office.engine) as connection:
        queue.cancel(connection, job_id, office.now)
        queue.retry(connection, job_id)
    for _ in range(3):
        office.tended_until(Act.ASK)
    assert office.tasks(job_id)[-1].state is TaskState.STARTED


def test_an_old_worker_that_takes_the_job_while_it_is_given_up_keeps_it(
    office: Office, amazon: SmallEcs
) -> None:
    job_id = office.order()
    amazon.answer("RunTask", *[refusal("AccessDeniedException")] * 5)
    for _ in range(5):
        office.tended_until(Act.ASK)
    stale = office.job(job_id)
    _, lease = office.take()
    with writing(office.engine) as connection:
        given_up = queue.give_up(connection, stale, owner="daemon", error="given up", now=office.now)
    assert not given_up
    assert office.tend(MINUTE) is Act.NONE_WANTED
    job = office.job(job_id)
    assert job.status is JobStatus.RUNNING
    office.finish(job, lease)


def test_a_job_whose_worker_is_gone_is_given_up_as_well(office: Office, amazon: SmallEcs) -> None:
    job_id = office.order()
    office.take(seconds=-1)
    amazon.answer("RunTask", *[refusal("AccessDeniedException")] * 5)
    office.tended_until(Act.GIVE_UP)
    job = office.job(job_id)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert str(job.error).startswith("given up: no worker could be started in 5 tries")
