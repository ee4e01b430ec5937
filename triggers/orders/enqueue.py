"""The re-distillation job that a cycle orders, or its reason to order none."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection

from db import queue, versions
from db.cycles import history, labels
from db.records import Claim, CycleResult, Job, NewJob
from db.states import JobDecision, OrderReason, Role, ShadowState
from triggers.judged_cycle import JudgedCycle
from triggers.orders import alpha
from triggers.orders.alpha import Order
from triggers.orders.episode import last_job_before_episode
from triggers.orders.promotion_watch import Watch
from triggers.rules import verdict
from triggers.settings import AlphaPolicy
from triggers.shadow.decision import ShadowStep
from triggers.teacher.label_evidence import LabelEvidence, label_evidence

_TEACHER_DRIFT: Final = "; distillation under teacher drift: the teacher is new"


def is_latest(connection: Connection, cycle: JudgedCycle) -> bool:
    """Return whether no later cycle has a verdict, and the measured student is still the current one.

    A window that is judged again is not the latest while a later window awaits a new judgement, too.
    """
    claim, result = cycle.claim, cycle.result
    student = versions.current(connection, claim.slot.monitor, Role.STUDENT)
    is_replaced = student is not None and result is not None and student.version != result.student_version
    is_again = claim.earlier is not None
    return not is_replaced and not history.has_later_result(connection, claim.slot, or_unjudged=is_again)


def order_job(
    connection: Connection,
    cycle: JudgedCycle,
    jobs: Sequence[Job],
    policy: AlphaPolicy,
    *,
    watched: Watch | None,
    shadow: ShadowStep | None = None,
    latest: bool,
    now: datetime,
) -> Order:
    """Decide on a job from the cycle's rule outcomes and the monitor's jobs, and queue the job if ordered.

    The job distils the measured student, or after a rollback the student that is in service again. A failed
    cycle orders nothing.
    """
    claim, result = cycle.claim, cycle.result
    if result is None:
        ladder = alpha.ladder_of((), began_at=None, student_alpha=None, wanted=False, is_latest=latest)
        return alpha.decide(policy, ladder, now)
    monitor = claim.slot.monitor
    student = (watched and watched.rolled_back_to) or result.student_version
    fired = alpha.ordering(cycle.rules, cycle.outcomes, cycle.teacher.health)
    known = _with_shadow(_with_recovery(jobs, watched), shadow)
    since = versions.ladder_since(connection, monitor)
    is_wanted = bool(alpha.wanting(cycle.rules, cycle.outcomes))
    ladder = alpha.ladder_of(
        # another teacher begins another ladder; an open job counts whatever its teacher
        [job for job in known if job.status in queue.OPEN or job.teacher_version == result.teacher_version],
        began_at=since,
        before_episode=last_job_before_episode(
            connection, monitor, policy, ladder_since=since, until=claim.slot.window_end
        ),
        student_alpha=alpha.alpha_from_teacher(
            _alpha_of(connection, monitor, student, result), student, result.teacher_version, known
        ),
        wanted=is_wanted,
        is_latest=latest,
        awaits_teacher=fired is None,
        is_in_shadow=shadow is not None and shadow.state is ShadowState.RUNNING,
        is_watched=(watched is not None and watched.recovery is None)
        or (shadow is not None and shadow.state is ShadowState.PROMOTED),
    )
    evidence = _evidence(connection, claim, result) if is_wanted else None
    order = alpha.decide(policy, ladder, now, evidence)
    if fired is None or order.reason is not OrderReason.ORDERED:
        return order
    job = NewJob(
        monitor=monitor,
        cycle_id=claim.cycle_id,
        rule=fired.rule,
        reason=verdict.describe([fired]) + (_TEACHER_DRIFT if cycle.teacher.is_new else ""),
        teacher_version=result.teacher_version,
        student_version=student,
        alpha_from=order.alpha_from,
        alpha_to=order.alpha_to,
        temperature=policy.temperature,
        evidence=order.evidence.text if order.evidence else None,
    )
    return replace(order, job_id=queue.enqueue(connection, job, now))


def _with_recovery(jobs: Sequence[Job], watched: Watch | None) -> list[Job]:
    """Return the jobs, the watched one with its recovery as of this cycle."""
    return [watched.settled if watched and job.job_id == watched.job.job_id else job for job in jobs]


def _with_shadow(jobs: Sequence[Job], shadow: ShadowStep | None) -> list[Job]:
    """Return the jobs, the one whose candidate this cycle stopped in its shadow as rejected."""
    stopped = shadow.shadow.job_id if shadow and shadow.state is ShadowState.STOPPED else None
    return [replace(job, decision=JobDecision.REJECTED) if job.job_id == stopped else job for job in jobs]


def _alpha_of(connection: Connection, monitor: str, student: str, result: CycleResult) -> Decimal | None:
    """Return the alpha of the student's distillation, if known."""
    if student == result.student_version:
        return result.alpha
    found = versions.find(connection, monitor, Role.STUDENT, student)
    return found.alpha if found else None


def _evidence(connection: Connection, claim: Claim, result: CycleResult) -> LabelEvidence:
    """Return what the true labels of the version pair say so far."""
    found = labels.correctness_of(
        connection,
        claim.slot.monitor,
        until=claim.slot.window_end,
        pair=(result.teacher_version, result.student_version),
    )
    return label_evidence([each.correctness for each in found])
