"""The watch over the student that a job promoted, and its rollback if `rollback = "auto"`."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from db import queue, versions
from db.cycles import history
from db.records import CycleResult, Job
from db.states import JobDecision, JobRecovery, PromotionReason
from triggers.judged_cycle import JudgedCycle
from triggers.orders.promotion_watch import Watch
from triggers.settings import AlphaPolicy


def watch(
    connection: Connection, cycle: JudgedCycle, jobs: Sequence[Job], policy: AlphaPolicy, now: datetime
) -> Watch | None:
    """Return the watch over the student in service as of this latest cycle; None if none is being watched.

    Once its recovery is known, it is written to the student's job. With `rollback = "auto"`, a student that
    did not recover is replaced by the one before it.
    """
    monitor, result = cycle.claim.slot.monitor, cycle.result
    if result is None:
        return None
    job = _on_trial(jobs, result)
    since = versions.promoted_by_gates_at(connection, monitor)
    if job is None or since is None:
        return None
    n_evaluated, n_healthy = history.verdict_counts(connection, monitor, result.student_version, since=since)
    found = Watch(job=job, n_evaluated=n_evaluated, n_healthy=n_healthy, watch_cycles=policy.watch_cycles)
    if found.recovery is None:
        return found
    queue.set_recovery(connection, job.job_id, found.recovery)
    if found.recovery is JobRecovery.RECOVERED or policy.rollback == "off":
        return found
    return replace(found, rolled_back_to=_roll_back(connection, job, now))


def _on_trial(jobs: Sequence[Job], result: CycleResult) -> Job | None:
    own = (
        job
        for job in reversed(jobs)
        if job.candidate_version == result.student_version and job.decision is JobDecision.PROMOTED
    )
    job = next(own, None)
    is_on_trial = job is not None and job.recovery is None and job.teacher_version == result.teacher_version
    return job if is_on_trial else None


def _roll_back(connection: Connection, job: Job, now: datetime) -> str | None:
    before = versions.previous_student(connection, job.monitor)
    if before is None or _is_gone(before.uri):
        return None  # a student that helps too little is better than none
    versions.promote(connection, before, PromotionReason.NOT_RECOVERED, now)
    return before.version


def _is_gone(uri: str) -> bool:
    """Return whether the files of a model are gone; S3 is not asked in the middle of a transaction."""
    return not uri.startswith("s3://") and not (Path(uri) / "config.json").is_file()
