"""The incidents that the end of a job raises and clears."""

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
    """Write the incidents in the transaction of the job's end, with the gates of its candidate, if any."""
    summary = f"job {job.job_id}, alpha {job.alpha_from} -> {job.alpha_to}: {why}"
    details = payload.of_job(job, gates, evaluations)
    occasion = Occasion(at=now, now=now, job_id=job.job_id, details=details)
    announce(connection, audience, signals.of_job(status, summary), occasion)
