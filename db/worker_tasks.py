"""The tasks that the daemon starts in ECS for a job's worker: asked for, watched, ended.

A task is written down before ECS is asked for it, under the token with which it is asked. So a daemon that
dies meanwhile, or a second one, asks for the same task and not for another.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from db.records import WorkerTask
from db.states import TaskEnd, TaskState
from db.tables import jobs, worker_tasks

OPEN: Final = (TaskState.ASKED, TaskState.STARTED)


def ask(connection: Connection, job_id: int, *, token: str, turn: int, now: datetime) -> int | None:
    """Write down that ECS is about to be asked for a task; None if the job has one, asked for or started."""
    statement = (
        insert(worker_tasks)
        .values(job_id=job_id, token=token, turn=turn, state=TaskState.ASKED, asked_at=now)
        .returning(worker_tasks.c.id)
    )
    try:
        with connection.begin_nested():
            return int(connection.execute(statement).scalar_one())
    except IntegrityError:
        return None


def accept(
    connection: Connection, task_id: int, *, arn: str, cluster: str | None, status: str, now: datetime
) -> bool:
    """ECS has taken it on; False if somebody has ended it meanwhile."""
    return _change(
        connection,
        task_id,
        (TaskState.ASKED,),
        state=TaskState.STARTED,
        arn=arn,
        cluster=cluster,
        last_status=status,
        started_at=now,
        looked_at=now,
    )


def note_look(connection: Connection, task: WorkerTask, *, status: str | None, now: datetime) -> None:
    """ECS was asked how it does; None: there was no answer."""
    last = task.last_status if status is None else status
    _change(connection, task.task_id, (TaskState.STARTED,), last_status=last, looked_at=now)


def end(connection: Connection, task_id: int, reason: TaskEnd, detail: str, now: datetime) -> bool:
    """Expect nothing of it any more; False if somebody has ended it already."""
    return _change(
        connection, task_id, OPEN, state=TaskState.ENDED, reason=reason, detail=detail, ended_at=now
    )


def of_job(connection: Connection, job_id: int) -> tuple[WorkerTask, ...]:
    """All that were ever asked for, oldest first."""
    query = select(worker_tasks).where(worker_tasks.c.job_id == job_id).order_by(worker_tasks.c.id)
    return tuple(map(_task, connection.execute(query)))


def newest(connection: Connection, job_id: int) -> WorkerTask | None:
    """The one that was asked for last."""
    query = (
        select(worker_tasks)
        .where(worker_tasks.c.job_id == job_id)
        .order_by(worker_tasks.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return _task(row) if row else None


def left_over(connection: Connection, monitor: str, open_jobs: Iterable[int]) -> tuple[WorkerTask, ...]:
    """Those that wait for a job of the monitor which is none of the open ones any more."""
    # Asked so that it begins at the few open tasks: a join begins at all jobs of the monitor, on SQLite.
    its_monitor = select(jobs.c.monitor).where(jobs.c.id == worker_tasks.c.job_id).scalar_subquery()
    query = select(worker_tasks).where(
        _is_open(), its_monitor == monitor, worker_tasks.c.job_id.not_in(list(open_jobs))
    )
    return tuple(map(_task, connection.execute(query)))


def _is_open() -> ColumnElement[bool]:
    # In the words of the unique index, as in db/queue.py.
    return worker_tasks.c.state.in_(bindparam("open_tasks", OPEN, expanding=True, literal_execute=True))


def _change(connection: Connection, task_id: int, before: tuple[TaskState, ...], **values: object) -> bool:
    changed = connection.execute(
        update(worker_tasks)
        .where(worker_tasks.c.id == task_id, worker_tasks.c.state.in_(before))
        .values(**values)
    )
    return changed.rowcount == 1


def _task(row: Row[tuple[object, ...]]) -> WorkerTask:
    fields = row._asdict()
    return WorkerTask(
        task_id=fields.pop("id"),
        state=TaskState(fields.pop("state")),
        reason=TaskEnd(reason) if (reason := fields.pop("reason")) else None,
        **fields,
    )
