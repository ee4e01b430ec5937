"""The tasks that the daemon starts in ECS to run a job's worker: requested, polled and ended.

A task is recorded, with the token of the request, before ECS is asked for it. So a daemon that dies
meanwhile, or a second daemon, asks for the same task instead of another one.
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
    """Record that ECS is about to be asked for a task; return None if the job has an open one already."""
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
    """Record that ECS has accepted the task; return False if the task was ended meanwhile."""
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


def record_poll(connection: Connection, task: WorkerTask, *, status: str | None, now: datetime) -> None:
    """Record that ECS was asked for the task's status; None: there was no answer."""
    last = task.last_status if status is None else status
    _change(connection, task.task_id, (TaskState.STARTED,), last_status=last, looked_at=now)


def end(connection: Connection, task_id: int, reason: TaskEnd, detail: str, now: datetime) -> bool:
    """Record that nothing more is expected of the task; return False if it has ended already."""
    return _change(
        connection, task_id, OPEN, state=TaskState.ENDED, reason=reason, detail=detail, ended_at=now
    )


def of_job(connection: Connection, job_id: int) -> tuple[WorkerTask, ...]:
    """Return all tasks that were ever requested for the job, oldest first."""
    query = select(worker_tasks).where(worker_tasks.c.job_id == job_id).order_by(worker_tasks.c.id)
    return tuple(map(_task, connection.execute(query)))


def newest(connection: Connection, job_id: int) -> WorkerTask | None:
    """Return the task that was requested last for the job, or None."""
    query = (
        select(worker_tasks)
        .where(worker_tasks.c.job_id == job_id)
        .order_by(worker_tasks.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return _task(row) if row else None


def of_closed_jobs(connection: Connection, monitor: str, open_jobs: Iterable[int]) -> tuple[WorkerTask, ...]:
    """Return the open tasks of the monitor's jobs that are not among the open jobs any more."""
    # A subquery starts at the few open tasks; on SQLite, a join would start at all jobs of the monitor.
    its_monitor = select(jobs.c.monitor).where(jobs.c.id == worker_tasks.c.job_id).scalar_subquery()
    query = select(worker_tasks).where(
        _is_open(), its_monitor == monitor, worker_tasks.c.job_id.not_in(list(open_jobs))
    )
    return tuple(map(_task, connection.execute(query)))


def _is_open() -> ColumnElement[bool]:
    # Literal values, as in the unique index: see db/queue.py.
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
