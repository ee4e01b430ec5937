"""What the end of a job means for the incidents."""

from datetime import datetime

from sqlalchemy import Connection

from db.records import Job
from db.states import JobStatus
from triggers import message, signals
from triggers.announce import Audience, Occasion, announce


def tell_end(
    connection: Connection, job: Job, status: JobStatus, why: str, audience: Audience, now: datetime
) -> None:
    """Write it, in the transaction of that end."""
    told = f"job {job.job_id}, alpha {job.alpha_from} -> {job.alpha_to}: {why}"
    occasion = Occasion(at=now, now=now, job_id=job.job_id, details=message.of_job(job))
    announce(connection, audience, signals.of_job(status, told), occasion)
