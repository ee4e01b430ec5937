"""The state of a job's worker."""

from datetime import datetime

from sqlalchemy import Connection

from db import leases, queue, worker_tasks
from db.records import WorkerTask
from db.states import JobStatus, TaskState
from redistill.display import show
from redistill.display.times import relative

#: The states that are shown after the status of a job.
IN_WORDS = {
    "gone": "its worker is gone",
    "starting": "its worker is starting",
    "not_started": "no worker could be started",
}


def worker_of(connection: Connection, job_id: int, status: object) -> str | None:
    """Return the state of a job's worker, or None if it has none.

    A running job's worker is 'alive' or 'gone'. Where the daemon starts workers, that of a queued job is
    'starting' or 'not_started'.
    """
    lease = queue.lease_name(job_id)
    if status == JobStatus.RUNNING:
        return "alive" if leases.is_held(connection, lease) else "gone"
    task = worker_tasks.newest(connection, job_id) if status == JobStatus.QUEUED else None
    if task is None or task.turn < leases.token_of(connection, lease):
        return None
    return "not_started" if task.state is TaskState.ENDED else "starting"


def task_in_words(task: WorkerTask, now: datetime) -> str:
    """Return the progress of a worker task, or its end."""
    name = f"; {task.arn}" if task.arn else ""
    match task.state:
        case TaskState.ASKED:
            return f"requested {relative(task.asked_at, now)}"
        case TaskState.STARTED:
            return f"{task.last_status}, requested {relative(task.asked_at, now)}{name}"
        case TaskState.ENDED:
            return f"{task.reason} at {show.time(task.ended_at)}: {task.detail}{name}"
