"""What the end of a job means for the incidents."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from db.records import Evaluation, GateOutcome, Job
from db.states import JobStatus
from triggers.incidents import payload, signals
from triggers.incidents.announce import Audience, Occasion, announce


def report_job_end(
    connection: Connection,
    job: Job,
    status: JobStatus,
    why: str,
    audience: Audience,
    *,
    now: datetime,
    gates: Sequence[GateOutcome] = (),
    evaluations: Sequence[Evaluation] = (),
) -> None:
    """Write it, in the transaction of that end; with what its candidate reached, if it made one."""
    told = f"job {job.job_id}, alpha {job.alpha_from} -> {job.alpha_to}: {why}"
    details = payload.of_job(job, gates, evaluations)
    occasion = Occasion(at=now, now=now, job_id=job.job_id, details=details)
    announce(connection, audience, signals.of_job(status, told), occasion)
