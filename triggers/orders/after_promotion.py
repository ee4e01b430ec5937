"""The watch over the student that a job promoted, and its rollback if `rollback = "auto"`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from db import queue, versions
from db.cycles import history
from db.records import CycleResult, Job, ModelVersion
from db.states import JobDecision, JobRecovery, PromotionReason
from triggers.judged_cycle import JudgedCycle
from triggers.orders.promotion_watch import Watch
from triggers.settings import AlphaPolicy


def watch(
    connection: Connection,
    cycle: JudgedCycle,
    jobs: Sequence[Job],
    policy: AlphaPolicy,
    now: datetime,
    *,
    may_be_found: Callable[[ModelVersion], bool],
) -> Watch | None:
    """Return the watch over the student in service as of this latest cycle; None if none is being watched.

    Once its recovery is known, it is written to the student's job. With `rollback = "auto"`, a student that
    did not recover is replaced by the one before it, unless the files of that one cannot be found, true
    labels decided for the student (then it disagrees with its teacher because the teacher is wrong), or it
    was promoted for a proven gain that was known not to end the drift.
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
    if found.recovery is JobRecovery.RECOVERED:
        return found
    found = replace(found, improves=versions.is_improvement(connection, job.job_id))
    if policy.rollback == "off" or found.improves:
        return found
    return _rolled_back(connection, found, may_be_found, now)


def _rolled_back(
    connection: Connection, watch: Watch, may_be_found: Callable[[ModelVersion], bool], now: datetime
) -> Watch:
    if versions.is_promoted_by_labels(connection, watch.job.job_id):
        return replace(watch, by_labels=True)
    before = versions.previous_student(connection, watch.job.monitor)
    if before is None:
        return watch
    if not may_be_found(before):  # a student that helps too little is better than none
        return replace(watch, lost=before.version)
    versions.lock_promotions(connection, before.monitor, before.role)
    current = versions.current(connection, before.monitor, before.role)
    if current is None or current.version != watch.job.candidate_version:
        return watch  # a person has promoted another student meanwhile
    versions.promote(connection, before, PromotionReason.NOT_RECOVERED, now)
    return replace(watch, rolled_back_to=before.version)


def _on_trial(jobs: Sequence[Job], result: CycleResult) -> Job | None:
    own = (
        job
        for job in reversed(jobs)
        if job.candidate_version == result.student_version and job.decision is JobDecision.PROMOTED
    )
    job = next(own, None)
    is_on_trial = job is not None and job.recovery is None and job.teacher_version == result.teacher_version
    return job if is_on_trial else None
