"""Whether a cycle orders a re-distillation, and the job that it queues."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from db import history, labels, queue, versions
from db.records import Claim, CycleResult, NewJob, RuleOutcome
from db.states import OrderReason, Role
from triggers import alpha, verdict
from triggers.alpha import Order
from triggers.label_evidence import label_evidence
from triggers.settings import AlphaPolicy, Rule
from triggers.teacher import TeacherJudgement

_TEACHER_DRIFT: Final = "; distillation under teacher drift: the teacher is new"


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """What was decided, and the job that was queued, if any."""

    order: Order
    job_id: int | None
    is_latest: bool  #: no later cycle is judged, and the student that was measured is still the current one


def order_job(
    connection: Connection,
    claim: Claim,
    result: CycleResult,
    outcomes: Sequence[RuleOutcome],
    teacher: TeacherJudgement,
    rules: Sequence[Rule],
    policy: AlphaPolicy,
    now: datetime,
) -> Ordered:
    """Decide on a job by what the rules said of a cycle and by what is in the queue; queue it if so."""
    monitor, fired = claim.slot.monitor, alpha.ordering(rules, outcomes, teacher.health)
    # The jobs are read before the student: one that ends in between with a promotion must not look as
    # if it had never been, and its student as if nobody had replaced it.
    jobs = queue.of_monitor(connection, monitor)
    student = versions.current(connection, monitor, Role.STUDENT)
    is_replaced = student is not None and student.version != result.student_version
    is_latest = not is_replaced and not history.has_later_result(connection, claim.slot)
    ladder = alpha.ladder_of(
        # another teacher begins another ladder; an open job counts whoever its teacher is
        [job for job in jobs if job.status in queue.OPEN or job.teacher_version == result.teacher_version],
        began_at=versions.current_since(connection, monitor, Role.STUDENT),
        student_alpha=result.alpha,
        wanted=bool(alpha.wanting(rules, outcomes)),
        is_latest=is_latest,
        awaits_teacher=fired is None,
    )
    order = _backed(connection, claim, result, alpha.decide(policy, ladder, now))
    if fired is None or order.reason is not OrderReason.ORDERED:
        return Ordered(order=order, job_id=None, is_latest=is_latest)
    job = NewJob(
        monitor=monitor,
        cycle_id=claim.cycle_id,
        rule=fired.rule,
        reason=verdict.describe([fired]) + (_TEACHER_DRIFT if teacher.is_new else ""),
        teacher_version=result.teacher_version,
        student_version=result.student_version,
        alpha_from=order.alpha_from,
        alpha_to=order.alpha_to,
        temperature=policy.temperature,
        evidence=order.evidence.text if order.evidence else None,
    )
    return Ordered(order=order, job_id=queue.enqueue(connection, job, now), is_latest=is_latest)


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
