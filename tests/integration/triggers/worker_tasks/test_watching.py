"""The task of a worker is looked after until its job has ended, and replaced where the worker is gone."""

from typing import Any

import pytest
from sqlalchemy import Engine
from structlog.testing import capture_logs

from db import leases, queue, worker_tasks
from db.connection.session import writing
from db.states import JobStatus, TaskEnd
from tests.support.processes.starters import MINUTE, SECOND, Office
from tests.support.records.factories import make_new_job
from tests.support.servers.ecs import Answer, SmallEcs, refusal
from triggers.worker_tasks.steps import Act

KILLED = "OutOfMemoryError: Container killed due to memory usage"


def test_the_worker_of_the_task_takes_the_job_and_ends_it(office: Office, amazon: SmallEcs) -> None:
    job_id = office.order()
    office.tend()
    amazon.tasks[0].status = "RUNNING"
    assert office.tend(20 * SECOND) is Act.LOOK
    job, lease = office.take()
    assert office.tend(20 * SECOND) is Act.AWAITED
    assert office.tend(60 * SECOND) is Act.LOOK
    office.finish(job, lease)
    amazon.tasks[0].stop(exit_code=0)
    with capture_logs() as entries:
        assert office.tend(SECOND) is Act.NONE_WANTED
    assert office.ends(job_id) == [TaskEnd.JOB_ENDED]
    assert [(each["event"], each["log_level"], each["reason"]) for each in entries] == [
        ("worker task ended", "info", "job_ended")
    ]
    assert [name for name, _ in amazon.calls] == ["RunTask", "DescribeTasks", "DescribeTasks"]


def test_a_worker_that_is_already_there_takes_the_job_and_nothing_more_is_started(
    office: Office, amazon: SmallEcs
) -> None:
    """The task finds none and ends; that is no failure of the job."""
    job_id = office.order()
    office.tend()
    job, lease = office.take()
    amazon.tasks[0].stop(exit_code=0)
    with capture_logs() as entries:
        assert office.tend(60 * SECOND) is Act.LOOK
    assert [(each["event"], each["log_level"], each["reason"]) for each in entries] == [
        ("worker task ended", "info", "idle")
    ]
    for _ in range(5):
        assert office.tend(10 * MINUTE) is Act.NONE_WANTED
    assert office.job(job_id).error is None
    office.finish(job, lease)
    assert len(amazon.called("RunTask")) == 1


def test_a_job_that_is_taken_at_once_gets_no_task(office: Office, amazon: SmallEcs) -> None:
    office.order()
    office.take()
    assert office.tend() is Act.NONE_WANTED
    assert not amazon.calls


def test_a_job_that_is_cancelled_gets_no_task_and_one_on_its_way_is_left_to_end_by_itself(
    office: Office, amazon: SmallEcs
) -> None:
    first = office.order()
    office.tend()
    with writing(office.engine) as connection:
        queue.cancel(connection, first, office.now)
    assert office.tend(SECOND) is Act.NONE_WANTED
    assert office.ends(first) == [TaskEnd.JOB_ENDED]
    assert [name for name, _ in amazon.calls] == ["RunTask"]
    office.order()
    assert office.tend(SECOND) is Act.ASK
    assert len(amazon.tasks) == 2


def test_another_monitors_tasks_are_its_own_daemons(office: Office, amazon: SmallEcs) -> None:
    with writing(office.engine) as connection:
        other = queue.enqueue(connection, make_new_job("other"), office.now)
        worker_tasks.ask(connection, other, token="b", turn=0, now=office.now)  # noqa: S106 - no secret
        queue.cancel(connection, other, office.now)
    office.order()
    assert office.tend(10 * MINUTE) is Act.ASK
    assert office.ends(other) == [None]
    assert len(amazon.tasks) == 1


STOPS: dict[str, tuple[dict[str, Any], TaskEnd, str]] = {
    "no image": (
        {
            "code": "TaskFailedToStart",
            "stopped_reason": "CannotPullContainerError: pull image manifest has been retried 5 time(s)",
        },
        TaskEnd.NOT_STARTED,
        "TaskFailedToStart: CannotPullContainerError: pull image manifest has been retried 5 time(s)",
    ),
    "out of memory": (
        {"exit_code": 137, "reason": KILLED},
        TaskEnd.OUT_OF_MEMORY,
        f"EssentialContainerExited: Essential container in task exited; worker: {KILLED}, exit code 137",
    ),
    "an error": (
        {"exit_code": 1},
        TaskEnd.EXITED,
        "EssentialContainerExited: Essential container in task exited; worker: exit code 1",
    ),
    "it found no job": (
        {"exit_code": 0},
        TaskEnd.IDLE,
        "EssentialContainerExited: Essential container in task exited; worker: exit code 0",
    ),
    "spot": (
        {"code": "SpotInterruption", "stopped_reason": "Your Spot Task was interrupted."},
        TaskEnd.RECLAIMED,
        "SpotInterruption: Your Spot Task was interrupted.",
    ),
}


@pytest.mark.parametrize(("stop", "reason", "detail"), STOPS.values(), ids=STOPS)
def test_a_task_that_stops_before_its_worker_took_the_job_is_told_on_it_and_replaced(
    sqlite_engine: Engine, amazon: SmallEcs, stop: dict[str, Any], reason: TaskEnd, detail: str
) -> None:
    office = Office(engine=sqlite_engine)
    job_id = office.order()
    office.tend()
    amazon.tasks[0].stop(**stop)
    assert office.tend(10 * SECOND) is Act.LOOK
    assert office.job(job_id).error == f"no worker started, try 1, {reason}: {detail}"
    assert office.tend(29 * SECOND) is Act.POSTPONED
    assert office.tend(SECOND) is Act.ASK
    first, second = amazon.tasks
    assert first.request["clientToken"] != second.request["clientToken"]
    job, lease = office.take()
    office.finish(job, lease)
    assert office.job(job_id).error is None


def test_the_task_of_a_worker_that_dies_with_the_job_is_told_on_it_and_replaced_at_once(
    office: Office, amazon: SmallEcs
) -> None:
    job_id = office.order()
    office.tend()
    office.take(seconds=-1)  # killed: its lease has run out
    amazon.tasks[0].stop(exit_code=137, reason=KILLED)
    assert office.tend(10 * SECOND) is Act.LOOK
    assert str(office.job(job_id).error).startswith(
        "the task of its worker ended, out_of_memory: EssentialContainerExited"
    )
    assert office.tend(2 * SECOND) is Act.ASK
    assert office.ends(job_id) == [TaskEnd.OUT_OF_MEMORY, None]
    job, lease = office.take()
    assert job.attempt == 2
    office.finish(job, lease)
    office.tend(SECOND)
    assert office.ends(job_id) == [TaskEnd.OUT_OF_MEMORY, TaskEnd.JOB_ENDED]


def test_a_death_that_ecs_tells_before_the_lease_has_run_out_starts_nothing_until_then(
    office: Office, amazon: SmallEcs
) -> None:
    job_id = office.order()
    office.tend()
    _, lease = office.take()
    amazon.tasks[0].stop(exit_code=137)
    assert office.tend(60 * SECOND) is Act.LOOK
    assert "exit code 137" in str(office.job(job_id).error)
    assert office.tend(60 * SECOND) is Act.NONE_WANTED
    with writing(office.engine) as connection:
        leases.renew(connection, lease, seconds=-1)
    assert office.tend(SECOND) is Act.ASK


def test_a_reclaimed_worker_that_gave_its_job_back_is_replaced_and_nothing_counts(
    office: Office, amazon: SmallEcs
) -> None:
    """However often that happens."""
    job_id = office.order()
    for _ in range(7):
        assert office.tend(20 * SECOND) is Act.ASK
        office.give_back(*office.take())
        amazon.tasks[-1].stop("SpotInterruption", "Your Spot Task was interrupted.", exit_code=0)
        assert office.tend(20 * SECOND) is Act.LOOK
    job = office.job(job_id)
    assert (job.status, job.attempt, job.error) == (JobStatus.QUEUED, 0, None)
    assert office.ends(job_id) == [TaskEnd.RECLAIMED] * 7


def test_a_worker_that_hangs_with_the_job_is_stopped_and_replaced(office: Office, amazon: SmallEcs) -> None:
    job_id = office.order()
    office.tend()
    amazon.tasks[0].status = "RUNNING"
    office.take(seconds=-1)
    assert office.tend(10 * SECOND) is Act.LOOK
    (request,) = amazon.called("StopTask")
    assert request["task"] == amazon.tasks[0].arn
    assert request["reason"].startswith("redistill: the worker that had the job is gone")
    assert office.tend(2 * SECOND) is Act.ASK
    assert office.ends(job_id) == [TaskEnd.WORKER_GONE, None]


def test_a_task_that_does_not_come_to_its_job_is_stopped_and_replaced(
    office: Office, amazon: SmallEcs
) -> None:
    """Also where ECS does not answer, neither about it nor to be asked to stop it."""
    job_id = office.order()
    office.tend()
    amazon.tasks[0].status = "PENDING"
    assert office.tend(29 * MINUTE) is Act.LOOK
    assert office.tend(MINUTE) is Act.LOOK
    assert office.ends(job_id) == [TaskEnd.OVERDUE]
    assert len(amazon.called("StopTask")) == 1
    assert office.tend(30 * SECOND) is Act.ASK
    forbidden = refusal("AccessDeniedException", "no")
    amazon.answer("DescribeTasks", *[forbidden] * 400)
    amazon.answer("StopTask", forbidden)
    with capture_logs() as entries:
        for _ in range(31):
            office.tend(MINUTE)
    assert office.ends(job_id) == [TaskEnd.OVERDUE, TaskEnd.OVERDUE, None][: len(office.ends(job_id))]
    events = [entry["event"] for entry in entries]
    assert events.count("worker task not seen") == 30
    assert events.count("worker task not stopped") == 1
    (unseen, *_) = [entry["error"] for entry in entries if entry["event"] == "worker task not seen"]
    assert "AccessDeniedException: no" in unseen
    assert "ecs:DescribeTasks" in unseen


def test_a_task_that_ecs_does_not_know_yet_is_waited_for_and_one_that_it_has_forgotten_replaced(
    office: Office, amazon: SmallEcs
) -> None:
    """ECS is eventually consistent, and tells of stopped tasks for an hour."""
    job_id = office.order()
    office.tend()
    missing = Answer(body={"tasks": [], "failures": [{"arn": amazon.tasks[0].arn, "reason": "MISSING"}]})
    amazon.answer("DescribeTasks", missing)
    assert office.tend(10 * SECOND) is Act.LOOK
    assert office.ends(job_id) == [None]
    assert office.tend(10 * SECOND) is Act.LOOK
    assert office.ends(job_id) == [None]
    amazon.tasks.clear()
    assert office.tend(10 * MINUTE) is Act.LOOK
    assert office.ends(job_id) == [TaskEnd.MISSING]
    assert office.tend(30 * SECOND) is Act.ASK


def test_what_ecs_last_said_is_kept(office: Office, amazon: SmallEcs) -> None:
    job_id = office.order()
    office.tend()
    amazon.tasks[0].status = "PENDING"
    office.tend(10 * SECOND)
    amazon.answer("DescribeTasks", refusal("ThrottlingException"))
    office.tend(10 * SECOND)
    (task,) = office.tasks(job_id)
    assert (task.last_status, task.looked_at) == ("PENDING", office.now)
