"""The decisions on a job's worker task (start, watch, end, give up), from the rows alone."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from db.records import WorkerTask
from db.states import JobStatus, TaskEnd, TaskState
from triggers.worker_tasks.report import TaskReport, in_words, why_stopped

#: The interval between two looks at a task that has not claimed its job yet.
LOOK = timedelta(seconds=10)
#: The interval while a worker has the job, which renews its lease.
LOOK_AT_WORK = timedelta(minutes=1)
#: The time after which a daemon that asked ECS has its answer, or is dead.
ANSWER = timedelta(minutes=1)
#: The time after which every part of ECS knows a task that RunTask has named.
SETTLED: Final = timedelta(minutes=5)
#: The time in which a task's worker must claim the job.
PATIENCE: Final = timedelta(minutes=30)
#: The failed tries in a row after which a job is given up.
MAX_TRIES: Final = 20
#: The same for tries that failed for a reason that a person must fix.
MAX_FRUITLESS: Final = 5

_FIRST_WAIT: Final = timedelta(seconds=30)
_LONGEST_WAIT: Final = timedelta(minutes=15)
#: The ends that may pass by themselves; all others need a person.
_PASSING: Final = frozenset(
    {
        TaskEnd.UNANSWERED,
        TaskEnd.THROTTLED,
        TaskEnd.NO_CAPACITY,
        TaskEnd.RECLAIMED,
        TaskEnd.STOPPED,
        TaskEnd.MISSING,
    }
)


@dataclass(frozen=True, kw_only=True)
class TaskSituation:
    """The monitor's open job, and the tasks that were asked for to run its worker."""

    status: JobStatus
    is_abandoned: bool  #: the job is running, and its lease is not held
    turn: int  #: the fencing token of the job's lease, which grows with each worker
    tasks: tuple[WorkerTask, ...]  #: oldest first

    @property
    def wants_worker(self) -> bool:
        """Return whether no worker has the job."""
        return self.is_abandoned or self.status is JobStatus.QUEUED

    @property
    def failed(self) -> tuple[WorkerTask, ...]:
        """The tasks that failed since the job was queued, or since a worker last had it."""
        return tuple(each for each in self.tasks if each.turn == self.turn and each.state is TaskState.ENDED)


class Act(StrEnum):
    """The next action of the daemon for the job's worker."""

    NONE_WANTED = "none_wanted"  #: no job wants a worker, and there is no task to look at
    AWAITED = "awaited"  #: ECS is being asked, or a task was looked at a moment ago
    POSTPONED = "postponed"  #: the wait after the last failed task is not over
    ASK = "ask"  #: ask ECS for a task
    LOOK = "look"  #: ask ECS for the task's status
    WRITE_OFF = "write_off"  #: the daemon that asked for the task is gone, with the answer
    GIVE_UP = "give_up"  #: too many tries have failed


@dataclass(frozen=True, kw_only=True)
class Step:
    """The next action, and its task."""

    act: Act
    task: WorkerTask | None = None  #: the task to look at, or to write off
    token: str | None = None  #: the token of an earlier call that may have started a task


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The end of a task, with its reason."""

    reason: TaskEnd
    detail: str
    stop: bool = False  #: ECS is asked to stop the task, because another one replaces it
    job_error: str | None = None  #: the error to note on the job, if the end affects it


def next_step(now: TaskSituation, at: datetime) -> Step:
    """Return the next step for the job at the given time."""
    task = next((each for each in now.tasks if each.state is not TaskState.ENDED), None)
    if task is not None:
        return _about(task, now, at)
    if not now.wants_worker:
        return Step(act=Act.NONE_WANTED)
    failed = now.failed
    if is_given_up(failed):
        return Step(act=Act.GIVE_UP)
    if failed and at < again_at(failed):
        return Step(act=Act.POSTPONED)
    is_unanswered = bool(failed) and failed[-1].reason is TaskEnd.UNANSWERED
    return Step(act=Act.ASK, token=failed[-1].token if is_unanswered else None)


def decide(
    task: WorkerTask, report: TaskReport | None, now: TaskSituation, at: datetime, container: str | None
) -> Ended | None:
    """Return the end of a started task by ECS's report, or None; `report` is None if ECS does not know it."""
    if report is None:
        if at - (task.started_at or task.asked_at) < SETTLED:
            return None
        return _ended(TaskEnd.MISSING, "ECS does not know the task", task, now)
    if report.has_stopped:
        return _ended(why_stopped(report, container), in_words(report), task, now)
    if now.wants_worker and task.turn < now.turn:
        return _left_behind(task, now, report.status)
    return decide_unseen(task, now, at, status=report.status)


def decide_unseen(task: WorkerTask, now: TaskSituation, at: datetime, *, status: str | None) -> Ended | None:
    """Return the end of a task by the clock alone, or None; `status` is the last one that ECS reported."""
    if not now.wants_worker or at - task.asked_at < PATIENCE:
        return None
    if task.turn < now.turn:
        return _left_behind(task, now, status)
    minutes = PATIENCE.total_seconds() / 60
    detail = f"no worker claimed the job within {minutes:.0f} minutes; ECS reports {status}"
    return _ended(TaskEnd.OVERDUE, detail, task, now, stop=True)


def refused(reason: TaskEnd, detail: str, now: TaskSituation) -> Ended:
    """Return the end of a task that ECS did not accept, or did not answer about."""
    return Ended(reason=reason, detail=detail, job_error=_not_started(reason, detail, len(now.failed) + 1))


def given_up(failed: tuple[WorkerTask, ...]) -> str:
    """Return the error with which the job fails."""
    last = failed[-1]
    return f"given up: no worker could be started in {len(failed)} tries; the last: {last.detail}"


def is_given_up(failed: tuple[WorkerTask, ...]) -> bool:
    """Return whether a job with these failed tries in a row is given up."""
    fruitless = sum(each.reason not in _PASSING for each in failed)
    return len(failed) >= MAX_TRIES or fruitless >= MAX_FRUITLESS


def again_at(failed: tuple[WorkerTask, ...]) -> datetime:
    """Return when the next try is due: 30 s after the first failure, then 1, 2, 4, 8, 15, 15, … minutes."""
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (len(failed) - 1))
    return (failed[-1].ended_at or failed[-1].asked_at) + wait


def _about(task: WorkerTask, now: TaskSituation, at: datetime) -> Step:
    if task.state is TaskState.ASKED:
        return Step(act=Act.WRITE_OFF if at - task.asked_at >= ANSWER else Act.AWAITED, task=task)
    pause = LOOK if now.wants_worker else LOOK_AT_WORK
    is_due = at - (task.looked_at or task.asked_at) >= pause
    return Step(act=Act.LOOK if is_due else Act.AWAITED, task=task)


def _left_behind(task: WorkerTask, now: TaskSituation, status: str | None) -> Ended:
    detail = f"the worker that had the job is gone, while ECS reports {status}"
    return _ended(TaskEnd.WORKER_GONE, detail, task, now, stop=True)


def _ended(
    reason: TaskEnd, detail: str, task: WorkerTask, now: TaskSituation, *, stop: bool = False
) -> Ended:
    return Ended(reason=reason, detail=detail, stop=stop, job_error=_job_error(reason, detail, task, now))


def _job_error(reason: TaskEnd, detail: str, task: WorkerTask, now: TaskSituation) -> str | None:
    """Return the error to note on the job, if any.

    The error of a job that still waits says that no worker started; of a job claimed since, why its worker
    may be gone. A job that the worker gave back has its error already.
    """
    if task.turn == now.turn:
        return _not_started(reason, detail, len(now.failed) + 1)
    if now.status is not JobStatus.RUNNING or reason is TaskEnd.IDLE:
        return None
    return f"the task of its worker ended, {reason}: {detail}"


def _not_started(reason: TaskEnd, detail: str, tries: int) -> str:
    return f"no worker started, try {tries}, {reason}: {detail}"
