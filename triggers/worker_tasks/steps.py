"""When a job's worker is started, looked after and given up: decided from the rows, and nothing else."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from db.records import WorkerTask
from db.states import JobStatus, TaskEnd, TaskState
from triggers.worker_tasks.report import TaskReport, in_words, why_stopped

#: Between two looks at a task that has not taken its job yet.
LOOK = timedelta(seconds=10)
#: The same while a worker has the job: it shows by its lease that it lives.
LOOK_AT_WORK = timedelta(minutes=1)
#: Whoever asked ECS has had its answer, or died.
ANSWER = timedelta(minutes=1)
#: A task that RunTask has named is known to every part of ECS after so long.
SETTLED: Final = timedelta(minutes=5)
#: So long may a task take until its worker has the job.
PATIENCE: Final = timedelta(minutes=30)
#: After so many tries in a row a job is given up, if what is in the way may pass.
MAX_TRIES: Final = 20
#: And after so many for which somebody must mend something.
MAX_FRUITLESS: Final = 5

_FIRST_WAIT: Final = timedelta(seconds=30)
_LONGEST_WAIT: Final = timedelta(minutes=15)
#: What waiting may mend. All other ends ask for a person.
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
    is_abandoned: bool  #: it is running and nobody holds its lease
    turn: int  #: the fencing token of its lease, which grows when a worker takes the job
    tasks: tuple[WorkerTask, ...]  #: oldest first

    @property
    def wants_worker(self) -> bool:
        """Nobody has it."""
        return self.is_abandoned or self.status is JobStatus.QUEUED

    @property
    def failed(self) -> tuple[WorkerTask, ...]:
        """The tasks that have come to nothing since the job was queued or a worker last had it."""
        return tuple(each for each in self.tasks if each.turn == self.turn and each.state is TaskState.ENDED)


class Act(StrEnum):
    """What the daemon does next about the job's worker."""

    NONE_WANTED = "none_wanted"  #: a worker has the job, and there is no task to look at
    AWAITED = "awaited"  #: ECS is being asked, or a task was looked at a moment ago
    POSTPONED = "postponed"  #: the last one came to nothing, and the wait after it is not over
    ASK = "ask"  #: ask ECS for a task
    LOOK = "look"  #: ask ECS how the task does
    WRITE_OFF = "write_off"  #: whoever asked for the task is gone, and its answer with it
    GIVE_UP = "give_up"  #: it was tried often enough


@dataclass(frozen=True, kw_only=True)
class Step:
    """What to do next, and about which task."""

    act: Act
    task: WorkerTask | None = None  #: to look at, or to write off
    token: str | None = None  #: to ask under, since an earlier call with it may have started a task


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Nothing is expected of a task any more, and why."""

    reason: TaskEnd
    detail: str
    stop: bool = False  #: ECS is asked to stop it, as another takes its place
    told: str | None = None  #: on the job: what keeps it from being done


def next_step(now: TaskSituation, at: datetime) -> Step:
    """What to do about the job at that time."""
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
    """Whether a started task is at its end by what ECS says of it; `report` is None if it knows of none."""
    if report is None:
        if at - (task.started_at or task.asked_at) < SETTLED:
            return None
        return _ended(TaskEnd.MISSING, "ECS does not know the task, or not any more", task, now)
    if report.has_stopped:
        return _ended(why_stopped(report, container), in_words(report), task, now)
    if now.wants_worker and task.turn < now.turn:
        return _left_behind(task, now, report.status)
    return decide_unseen(task, now, at, status=report.status)


def decide_unseen(task: WorkerTask, now: TaskSituation, at: datetime, *, status: str | None) -> Ended | None:
    """The same by the clock alone, where ECS does not answer; `status` is what it last said."""
    if not now.wants_worker or at - task.asked_at < PATIENCE:
        return None
    if task.turn < now.turn:
        return _left_behind(task, now, status)
    minutes = PATIENCE.total_seconds() / 60
    detail = f"no worker has taken the job in {minutes:.0f} minutes; ECS says {status}"
    return _ended(TaskEnd.OVERDUE, detail, task, now, stop=True)


def refused(reason: TaskEnd, detail: str, now: TaskSituation) -> Ended:
    """ECS has not taken on the task that the job wants, or did not say."""
    return Ended(reason=reason, detail=detail, told=_not_started(reason, detail, len(now.failed) + 1))


def given_up(failed: tuple[WorkerTask, ...]) -> str:
    """What the job fails with."""
    last = failed[-1]
    return f"given up: no worker could be started in {len(failed)} tries; the last: {last.detail}"


def is_given_up(failed: tuple[WorkerTask, ...]) -> bool:
    """Whether a job with so many failed tries in a row is tried no more."""
    fruitless = sum(each.reason not in _PASSING for each in failed)
    return len(failed) >= MAX_TRIES or fruitless >= MAX_FRUITLESS


def again_at(failed: tuple[WorkerTask, ...]) -> datetime:
    """When the next try is due: 30 s after the first failed one, then 1, 2, 4, 8, 15, 15, ... minutes."""
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (len(failed) - 1))
    return (failed[-1].ended_at or failed[-1].asked_at) + wait


def _about(task: WorkerTask, now: TaskSituation, at: datetime) -> Step:
    if task.state is TaskState.ASKED:
        return Step(act=Act.WRITE_OFF if at - task.asked_at >= ANSWER else Act.AWAITED, task=task)
    pause = LOOK if now.wants_worker else LOOK_AT_WORK
    is_due = at - (task.looked_at or task.asked_at) >= pause
    return Step(act=Act.LOOK if is_due else Act.AWAITED, task=task)


def _left_behind(task: WorkerTask, now: TaskSituation, status: str | None) -> Ended:
    detail = f"a worker had the job and is gone, while ECS says {status}"
    return _ended(TaskEnd.WORKER_GONE, detail, task, now, stop=True)


def _ended(
    reason: TaskEnd, detail: str, task: WorkerTask, now: TaskSituation, *, stop: bool = False
) -> Ended:
    return Ended(reason=reason, detail=detail, stop=stop, told=_told(reason, detail, task, now))


def _told(reason: TaskEnd, detail: str, task: WorkerTask, now: TaskSituation) -> str | None:
    """Of a job that waits for this task: that it does not come. Of one that a worker has had since: why the
    worker may be gone; what it gave back itself has its error already.
    """
    if task.turn == now.turn:
        return _not_started(reason, detail, len(now.failed) + 1)
    if now.status is not JobStatus.RUNNING or reason is TaskEnd.IDLE:
        return None
    return f"the task of its worker has ended, {reason}: {detail}"


def _not_started(reason: TaskEnd, detail: str, tries: int) -> str:
    return f"no worker started, try {tries}, {reason}: {detail}"
