"""When a worker is started, looked after and given up: a line a case."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from db.records import WorkerTask
from db.states import JobStatus, TaskEnd, TaskState
from tests.support.records.factories import START
from triggers.worker_tasks.report import ContainerReport, TaskReport
from triggers.worker_tasks.steps import (
    MAX_FRUITLESS,
    MAX_TRIES,
    Act,
    TaskSituation,
    again_at,
    decide,
    decide_unseen,
    given_up,
    is_given_up,
    next_step,
    refused,
)

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def make_task(state: TaskState = TaskState.STARTED, **fields: Any) -> WorkerTask:  # noqa: ANN401 - any field
    """Asked for at START, in the job's first turn."""
    usual: dict[str, Any] = {
        "task_id": 1,
        "job_id": 7,
        "token": "a",
        "turn": 0,
        "arn": "arn" if state is TaskState.STARTED else None,
        "cluster": "cluster",
        "last_status": "PENDING",
        "asked_at": START,
        "started_at": START if state is TaskState.STARTED else None,
        "looked_at": START if state is TaskState.STARTED else None,
        "ended_at": START if state is TaskState.ENDED else None,
        "reason": TaskEnd.NO_CAPACITY if state is TaskState.ENDED else None,
        "detail": "RESOURCE:MEMORY" if state is TaskState.ENDED else None,
    }
    return WorkerTask(state=state, **{**usual, **fields})


def failed(*reasons: TaskEnd, **fields: Any) -> tuple[WorkerTask, ...]:  # noqa: ANN401 - as above
    """One after the other, a minute apart."""
    return tuple(
        make_task(TaskState.ENDED, task_id=number, reason=reason, ended_at=START + number * MINUTE, **fields)
        for number, reason in enumerate(reasons)
    )


def queued(*tasks: WorkerTask, turn: int = 0) -> TaskSituation:
    return TaskSituation(status=JobStatus.QUEUED, is_abandoned=False, turn=turn, tasks=tasks)


def held(*tasks: WorkerTask) -> TaskSituation:
    """A worker has taken it."""
    return TaskSituation(status=JobStatus.RUNNING, is_abandoned=False, turn=1, tasks=tasks)


def abandoned(*tasks: WorkerTask) -> TaskSituation:
    return TaskSituation(status=JobStatus.RUNNING, is_abandoned=True, turn=1, tasks=tasks)


def cancelled(*tasks: WorkerTask) -> TaskSituation:
    return TaskSituation(status=JobStatus.CANCELLED, is_abandoned=False, turn=0, tasks=tasks)


ASKED, STARTED = make_task(TaskState.ASKED), make_task()
LAST_TRY = (TaskEnd.REFUSED,) * (MAX_FRUITLESS - 1)

STEPS: dict[str, tuple[TaskSituation, timedelta, Act]] = {
    "a job waits": (queued(), 0 * SECOND, Act.ASK),
    "a job whose worker is gone": (abandoned(), 0 * SECOND, Act.ASK),
    "a worker has it": (held(), 0 * SECOND, Act.NONE_WANTED),
    "it was cancelled meanwhile": (cancelled(), 0 * SECOND, Act.NONE_WANTED),
    "another daemon asks": (queued(ASKED), 59 * SECOND, Act.AWAITED),
    "another daemon asked, and died": (queued(ASKED), 60 * SECOND, Act.WRITE_OFF),
    "the same, while an older worker has it": (held(ASKED), 60 * SECOND, Act.WRITE_OFF),
    "a task is on its way": (queued(STARTED), 9 * SECOND, Act.AWAITED),
    "it is time to look": (queued(STARTED), 10 * SECOND, Act.LOOK),
    "its worker has the job": (held(STARTED), 59 * SECOND, Act.AWAITED),
    "now and then it is looked at": (held(STARTED), 60 * SECOND, Act.LOOK),
    "its worker is gone": (abandoned(STARTED), 10 * SECOND, Act.LOOK),
    "it failed a moment ago": (queued(*failed(TaskEnd.REFUSED)), 29 * SECOND, Act.POSTPONED),
    "it failed 30 s ago": (queued(*failed(TaskEnd.REFUSED)), 30 * SECOND, Act.ASK),
    "it failed twice": (queued(*failed(TaskEnd.REFUSED, TaskEnd.REFUSED)), 119 * SECOND, Act.POSTPONED),
    "it failed twice, a minute ago": (queued(*failed(*[TaskEnd.REFUSED] * 2)), 120 * SECOND, Act.ASK),
    "it failed before a worker had the job": (
        queued(*failed(*[TaskEnd.REFUSED] * 9), turn=1),
        0 * SECOND,
        Act.ASK,
    ),
    "a person retries it": (queued(*failed(*[TaskEnd.REFUSED] * 9), turn=1), 0 * SECOND, Act.ASK),
    "often enough": (queued(*failed(*LAST_TRY, TaskEnd.NOT_STARTED)), 5 * MINUTE, Act.GIVE_UP),
    "not yet often enough": (queued(*failed(*LAST_TRY)), 60 * MINUTE, Act.ASK),
    "capacity may come": (queued(*failed(*LAST_TRY, *[TaskEnd.NO_CAPACITY] * 9)), 60 * MINUTE, Act.ASK),
    "capacity has not come": (queued(*failed(*[TaskEnd.NO_CAPACITY] * MAX_TRIES)), 60 * MINUTE, Act.GIVE_UP),
    "one that a worker has is not given up": (
        held(*failed(*[TaskEnd.REFUSED] * 9, turn=1)),
        60 * MINUTE,
        Act.NONE_WANTED,
    ),
}


@pytest.mark.parametrize(("situation", "later", "act"), STEPS.values(), ids=STEPS)
def test_the_next_step(situation: TaskSituation, later: timedelta, act: Act) -> None:
    """Asked twice, it is the same."""
    assert [next_step(situation, START + later).act for _ in range(2)] == [act, act]


def test_a_call_without_an_answer_is_made_again_under_its_token_and_any_other_under_a_new_one() -> None:
    """It may have started a task: ECS knows that by the token."""
    hour = START + 60 * MINUTE
    for reason, token in ((TaskEnd.UNANSWERED, "b"), (TaskEnd.NO_CAPACITY, None)):
        tasks = (*failed(TaskEnd.UNANSWERED), *failed(reason, token="b"))  # noqa: S106 - no secret
        assert next_step(queued(*tasks), hour).token == token
    of_old = failed(TaskEnd.UNANSWERED, token="b")  # noqa: S106 - no secret
    assert next_step(queued(*of_old, turn=1), hour).token is None


def test_the_waits_grow_to_a_quarter_of_an_hour() -> None:
    waits = []
    for n in range(1, 9):
        tasks = failed(*[TaskEnd.NO_CAPACITY] * n)
        assert tasks[-1].ended_at is not None
        waits.append((again_at(tasks) - tasks[-1].ended_at).total_seconds())
    assert waits == [30, 60, 120, 240, 480, 900, 900, 900]


def report(status: str, code: str | None = None, exit_code: int | None = None) -> TaskReport:
    container = ContainerReport(name="worker", exit_code=exit_code, reason=None)
    return TaskReport(status=status, stop_code=code, stopped_reason=None, containers=(container,))


RUNS, PENDS = report("RUNNING"), report("PENDING")
KILLED = report("STOPPED", "EssentialContainerExited", 137)
DONE = report("STOPPED", "EssentialContainerExited", 0)
PULL = report("STOPPED", "TaskFailedToStart")
SPOT = report("STOPPED", "SpotInterruption", 137)
GAVE_BACK = queued(STARTED, turn=1)

GONE = "the worker that had the job is gone, while ECS reports RUNNING"

JUDGED: dict[str, tuple[TaskReport | None, TaskSituation, timedelta, TaskEnd | None, bool, str | None]] = {
    # what ECS says, the job, how long ago it was asked for; why it ended, if it is stopped, what the job says
    "on its way": (PENDS, queued(STARTED), 29 * MINUTE, None, False, None),
    "starting for too long": (
        PENDS,
        queued(STARTED),
        30 * MINUTE,
        TaskEnd.OVERDUE,
        True,
        "no worker started, try 1, overdue: no worker claimed the job within 30 minutes; ECS reports PENDING",
    ),
    "at work": (RUNS, held(STARTED), 600 * MINUTE, None, False, None),
    "it was given back, and the task has not ended yet": (
        RUNS,
        GAVE_BACK,
        5 * MINUTE,
        TaskEnd.WORKER_GONE,
        True,
        None,
    ),
    "it hangs, and its lease has run out": (
        RUNS,
        abandoned(STARTED),
        5 * MINUTE,
        TaskEnd.WORKER_GONE,
        True,
        f"the task of its worker ended, worker_gone: {GONE}",
    ),
    "not known yet": (None, queued(STARTED), 4 * MINUTE, None, False, None),
    "not known any more": (
        None,
        queued(STARTED),
        5 * MINUTE,
        TaskEnd.MISSING,
        False,
        "no worker started, try 1, missing: ECS does not know the task",
    ),
    "not known any more, its worker neither": (
        None,
        abandoned(STARTED),
        90 * MINUTE,
        TaskEnd.MISSING,
        False,
        "the task of its worker ended, missing: ECS does not know the task",
    ),
    "no image": (
        PULL,
        queued(STARTED),
        MINUTE,
        TaskEnd.NOT_STARTED,
        False,
        "no worker started, try 1, not_started: TaskFailedToStart",
    ),
    "no image, the third time": (
        PULL,
        queued(*failed(TaskEnd.REFUSED, TaskEnd.NOT_STARTED), STARTED),
        MINUTE,
        TaskEnd.NOT_STARTED,
        False,
        "no worker started, try 3, not_started: TaskFailedToStart",
    ),
    "killed before it took the job": (
        KILLED,
        queued(STARTED),
        MINUTE,
        TaskEnd.EXITED,
        False,
        "no worker started, try 1, exited: EssentialContainerExited; worker: exit code 137",
    ),
    "killed, its lease not run out yet": (
        KILLED,
        held(STARTED),
        MINUTE,
        TaskEnd.EXITED,
        False,
        "the task of its worker ended, exited: EssentialContainerExited; worker: exit code 137",
    ),
    "killed, its lease run out": (
        KILLED,
        abandoned(STARTED),
        MINUTE,
        TaskEnd.EXITED,
        False,
        "the task of its worker ended, exited: EssentialContainerExited; worker: exit code 137",
    ),
    "reclaimed after it gave the job back": (SPOT, GAVE_BACK, MINUTE, TaskEnd.RECLAIMED, False, None),
    "it found no job": (
        DONE,
        queued(STARTED),
        MINUTE,
        TaskEnd.IDLE,
        False,
        "no worker started, try 1, idle: EssentialContainerExited; worker: exit code 0",
    ),
    "another worker was first": (DONE, held(STARTED), MINUTE, TaskEnd.IDLE, False, None),
    "an attempt failed, and was given back": (DONE, GAVE_BACK, MINUTE, TaskEnd.IDLE, False, None),
}


@pytest.mark.parametrize(("said", "situation", "later", "end", "stop", "told"), JUDGED.values(), ids=JUDGED)
def test_what_a_look_at_a_task_means(
    said: TaskReport | None,
    situation: TaskSituation,
    later: timedelta,
    end: TaskEnd | None,
    stop: bool,  # noqa: FBT001 - a column of the table
    told: str | None,
) -> None:
    found = decide(STARTED, said, situation, START + later, "worker")
    if end is None:
        assert found is None
        return
    assert found is not None
    assert (found.reason, found.stop, found.job_error) == (end, stop, told)


@pytest.mark.parametrize(
    ("situation", "later", "end"),
    [
        (queued(STARTED), 29 * MINUTE, None),
        (queued(STARTED), 30 * MINUTE, TaskEnd.OVERDUE),
        (held(STARTED), 600 * MINUTE, None),
        (abandoned(STARTED), 29 * MINUTE, None),
        (abandoned(STARTED), 30 * MINUTE, TaskEnd.WORKER_GONE),
    ],
)
def test_where_ecs_does_not_answer_the_clock_decides(
    situation: TaskSituation, later: timedelta, end: TaskEnd | None
) -> None:
    found = decide_unseen(STARTED, situation, START + later, status="RUNNING")
    assert (found.reason if found else None) is end


def test_a_refusal_counts_the_tries() -> None:
    found = refused(TaskEnd.THROTTLED, "Rate exceeded", queued(*failed(TaskEnd.REFUSED)))
    assert (found.reason, found.stop) == (TaskEnd.THROTTLED, False)
    assert found.job_error == "no worker started, try 2, throttled: Rate exceeded"


def test_a_job_is_given_up_with_its_last_reason() -> None:
    tasks = failed(*[TaskEnd.NOT_STARTED] * MAX_FRUITLESS, detail="no image")
    assert is_given_up(tasks)
    assert given_up(tasks) == "given up: no worker could be started in 5 tries; the last: no image"


def tried(reasons: Sequence[TaskEnd]) -> tuple[int, timedelta]:
    """How often a job is tried whose tasks come to nothing at once, and from the first to the last try."""
    at = START
    tasks: tuple[WorkerTask, ...] = ()
    while (act := next_step(queued(*tasks), at).act) is not Act.GIVE_UP:
        if act is Act.ASK:
            reason = reasons[len(tasks) % len(reasons)]
            tasks = (*tasks, make_task(TaskState.ENDED, reason=reason, ended_at=at))
        at += 2 * SECOND
    assert tasks[-1].ended_at is not None
    return len(tasks), tasks[-1].ended_at - START


@pytest.mark.parametrize(
    ("reasons", "tries", "span"),
    [
        ([TaskEnd.REFUSED], 5, timedelta(minutes=7, seconds=30)),
        ([TaskEnd.NO_CAPACITY], 20, timedelta(hours=3, minutes=45, seconds=30)),
        ([TaskEnd.NO_CAPACITY, TaskEnd.NOT_STARTED], 10, timedelta(minutes=75, seconds=30)),
    ],
)
def test_how_long_a_job_is_tried(reasons: list[TaskEnd], tries: int, span: timedelta) -> None:
    assert tried(reasons) == (tries, span)


def test_times_are_not_compared_across_machines() -> None:
    """A worker whose clock is behind has taken the job all the same: its lease says so, not its clock."""
    old = datetime.fromisoformat("2026-11-24T09:00:00+00:00")
    assert not queued(*failed(TaskEnd.REFUSED, asked_at=old), turn=1).failed
