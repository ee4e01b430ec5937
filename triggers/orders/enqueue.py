"""Whether a cycle orders a re-distillation, and the job that it queues."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final

from sqlalchemy import Connection

from db import queue, versions
from db.cycles import history, labels
from db.records import Claim, CycleResult, Job, NewJob, RuleOutcome
from db.states import OrderReason, Role
from triggers.orders import alpha
from triggers.orders.alpha import Order
from triggers.rules import verdict
from triggers.settings import AlphaPolicy, Rule
from triggers.teacher.label_evidence import label_evidence
from triggers.teacher.trust import TeacherJudgement

_TEACHER_DRIFT: Final = "; distillation under teacher drift: the teacher is new"


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """What was decided, and the job that was queued, if any."""

    order: Order
    job_id: int | None


def is_latest(connection: Connection, claim: Claim, result: CycleResult) -> bool:
    """Return whether no later cycle is judged, and the student that was measured is still the current one.

    A window that is judged again speaks of the past, too, while a later one waits for the same.
    """
    student = versions.current(connection, claim.slot.monitor, Role.STUDENT)
    is_replaced = student is not None and student.version != result.student_version
    is_again = claim.earlier is not None
    return not is_replaced and not history.has_later_result(connection, claim.slot, or_unjudged=is_again)


def order_job(
    connection: Connection,
    claim: Claim,
    result: CycleResult,
    outcomes: Sequence[RuleOutcome],
    jobs: Sequence[Job],
    teacher: TeacherJudgement,
    rules: Sequence[Rule],
    policy: AlphaPolicy,
    *,
    student: str,
    is_watched: bool,
    latest: bool,
    now: datetime,
) -> Ordered:
    """Decide on a job by what the rules said of a cycle and by the monitor's jobs; queue it if so.

    `student` is the version to distil anew: the one that was measured, or the one that serves again. It
    `is_watched` while nobody knows whether it ends the drift.
    """
    monitor, fired = claim.slot.monitor, alpha.ordering(rules, outcomes, teacher.health)
    ladder = alpha.ladder_of(
        # another teacher begins another ladder; an open job counts whoever its teacher is
        [job for job in jobs if job.status in queue.OPEN or job.teacher_version == result.teacher_version],
        began_at=versions.ladder_since(connection, monitor),
        student_alpha=alpha.alpha_from_teacher(
            _alpha_of(connection, monitor, student, result), student, result.teacher_version, jobs
        ),
        wanted=bool(alpha.wanting(rules, outcomes)),
        is_latest=latest,
        awaits_teacher=fired is None,
        is_watched=is_watched,
    )
    order = _backed(connection, claim, result, alpha.decide(policy, ladder, now))
    if fired is None or order.reason is not OrderReason.ORDERED:
        return Ordered(order=order, job_id=None)
    job = NewJob(
        monitor=monitor,
        cycle_id=claim.cycle_id,
        rule=fired.rule,
        reason=verdict.describe([fired]) + (_TEACHER_DRIFT if teacher.is_new else ""),
        teacher_version=result.teacher_version,
        student_version=student,
        alpha_from=order.alpha_from,
        alpha_to=order.alpha_to,
        temperature=policy.temperature,
        evidence=order.evidence.text if order.evidence else None,
    )
    return Ordered(order=order, job_id=queue.enqueue(connection, job, now))


def _alpha_of(connection: Connection, monitor: str, student: str, result: CycleResult) -> Decimal | None:
    """With which the student was distilled, if that is known."""
    if student == result.student_version:
        return result.alpha
    found = versions.find(connection, monitor, Role.STUDENT, student)
    return found.alpha if found else None


def _backed(connection: Connection, claim: Claim, result: CycleResult, order: Order) -> Order:
    """The order with what the labels of its version pair say so far, where one was wanted."""
    if order.reason is OrderReason.NOT_WANTED:
        return order
    found = labels.correctness_of(
        connection,
        claim.slot.monitor,
        until=claim.slot.window_end,
        pair=(result.teacher_version, result.student_version),
    )
    return replace(order, evidence=label_evidence([each.correctness for each in found]))
