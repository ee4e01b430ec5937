"""Whether a job has a worker, or gets one."""

from datetime import datetime

from sqlalchemy import Connection

from db import leases, queue, worker_tasks
from db.records import WorkerTask
from db.states import JobStatus, TaskState
from redistill.display import show
from redistill.display.times import relative

#: What is said of a job behind its status; of other states nothing is.
SAID = {
    "gone": "its worker is gone",
    "starting": "its worker starts",
    "not_started": "no worker could be started",
}


def worker_of(connection: Connection, job_id: int, status: object) -> str | None:
    """Of a running job 'alive' or 'gone'; of a queued one, where the daemon starts workers, 'starting' or
    'not_started'; else None.
    """
    lease = queue.lease_name(job_id)
    if status == JobStatus.RUNNING:
        return "alive" if leases.is_held(connection, lease) else "gone"
    task = worker_tasks.newest(connection, job_id) if status == JobStatus.QUEUED else None
    if task is None or task.turn < leases.token_of(connection, lease):
        return None
    return "not_started" if task.state is TaskState.ENDED else "starting"


def task_in_words(task: WorkerTask, now: datetime) -> str:
    """How far the task has come, or how it ended."""
    name = f"; {task.arn}" if task.arn else ""
    match task.state:
        case TaskState.ASKED:
            return f"asked for {relative(task.asked_at, now)}"
        case TaskState.STARTED:
            return f"{task.last_status}, asked for {relative(task.asked_at, now)}{name}"
        case TaskState.ENDED:
            return f"{task.reason} at {show.time(task.ended_at)}: {task.detail}{name}"
