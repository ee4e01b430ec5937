"""The decision of a cycle and all its effects, as one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine

from db import history, labels, leases, ledger, outbox, queue, results, rule_states, teachers, versions
from db.records import (
    Claim,
    CyclePoint,
    CycleResult,
    Job,
    Lease,
    NewJob,
    RuleOutcome,
)
from db.session import writing
from db.states import CycleStatus, OrderReason, Role
from triggers import alpha, incidents, rules, verdict
from triggers.alpha import Order
from triggers.fold import from_text
from triggers.incidents import Situation, Transition
from triggers.label_evidence import label_evidence
from triggers.message import message
from triggers.moved import largest_moves, what_moved
from triggers.observed import details_for
from triggers.point import point_of, teacher_point_of
from triggers.settings import Alert, AlphaPolicy, Rule, TeacherPolicy
from triggers.teacher import TeacherJudgement, judge_teacher, without_evidence
from triggers.verdict import Evidence, Judgement

_TEACHER_DRIFT: Final = "; distillation under teacher drift: the teacher is new"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """By what a cycle is judged, and who hears of it."""

    rules: tuple[Rule, ...]
    alpha: AlphaPolicy
    teacher: TeacherPolicy
    alerts: tuple[Alert, ...]
    min_samples: int
    max_reject_share: float


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What was decided, and the job that was queued, if any."""

    judgement: Judgement
    outcomes: tuple[RuleOutcome, ...]
    order: Order
    job_id: int | None
    teacher: TeacherJudgement


@dataclass(frozen=True, kw_only=True)
class _Standing:
    """What the decision rests on besides the cycle itself."""

    jobs: tuple[Job, ...]
    student_since: datetime | None  #: when the current student became the current one
    is_latest: bool  #: no later cycle is judged, and the student that was measured is still the current one


def conclude(
    engine: Engine, lease: Lease, claim: Claim, result: CycleResult, policy: Policy, now: datetime
) -> Conclusion:
    """Judge what a cycle measured; metrics, outcomes, verdict, job, incidents and messages commit
    together or not at all.

    Raises:
        LeaseLostError: another process has taken the monitor; nothing was written.
    """
    with writing(engine) as connection:
        leases.guard(connection, lease)
        evidence = _evidence(result, policy)
        teacher = _teacher(connection, claim, result, evidence, policy)
        evidence = replace(evidence, teacher_fault=teacher.detail if teacher.is_fault else None)
        point = point_of(claim, result, evidence.status, policy.rules)
        outcomes = _evaluate(connection, claim, point, policy.rules)
        judgement = verdict.judge(evidence, outcomes)
        results.finish(
            connection,
            claim,
            result,
            status=judgement.status,
            verdict=judgement.verdict,
            reason=judgement.reason,
            now=now,
        )
        if result.measurement is not None:
            results.add_teacher(connection, claim, result.measurement.teacher, **vars(teacher))
        results.add_outcomes(connection, claim, outcomes)
        results.add_evidence(connection, claim, point.gains)
        results.keep_rule_texts(connection, {rule.version: rule.text for rule in policy.rules}, now)
        standing = _standing(connection, claim, result)
        order = _order(result, outcomes, teacher, standing, policy, now)
        order = _backed(connection, claim, result, order)
        job_id = _enqueue(connection, claim, result, outcomes, teacher, order, policy, now)
        situation = Situation(
            judgement=judgement,
            rules=policy.rules,
            outcomes=outcomes,
            order=order,
            firing=outbox.firing(connection, claim.slot.monitor),
            unevaluated=_unevaluated(connection, claim),
            is_latest=standing.is_latest,
            teacher=teacher,
            moved=_moved(connection, result),
        )
        _apply(connection, claim, situation, job_id, policy, now)
    return Conclusion(judgement=judgement, outcomes=outcomes, order=order, job_id=job_id, teacher=teacher)


def conclude_failure(
    engine: Engine, lease: Lease, claim: Claim, error: str, policy: Policy, now: datetime
) -> None:
    """Record an attempt that ended in an error, and what that means for the incidents.

    Raises:
        LeaseLostError: another process has taken the monitor; nothing was written.
    """
    with writing(engine) as connection:
        leases.guard(connection, lease)
        ledger.fail(connection, claim, error, now)
        nothing_wanted = alpha.ladder_of((), began_at=None, student_alpha=None, wanted=False, is_latest=True)
        situation = Situation(
            judgement=verdict.failed(error),
            rules=policy.rules,
            outcomes=(),
            order=alpha.decide(policy.alpha, nothing_wanted, now),
            firing=outbox.firing(connection, claim.slot.monitor),
            unevaluated=_unevaluated(connection, claim),
            is_latest=not history.has_later_result(connection, claim.slot),
            teacher=without_evidence(),
        )
        _apply(connection, claim, situation, None, policy, now)


def _evaluate(
    connection: Connection, claim: Claim, point: CyclePoint, policy_rules: Sequence[Rule]
) -> tuple[RuleOutcome, ...]:
    """What the rules say of the cycle, from where they stood after the last; that they move on is stored."""
    details = details_for(policy_rules)
    states = rule_states.read(connection, claim.slot, [rule.version for rule in policy_rules])
    if states is not None:
        before = history.points(
            connection,
            claim.slot.monitor,
            after=states.window_end,
            until=claim.slot.window_end,
            details=details,
        )
    else:
        is_evaluated = point.status is CycleStatus.EVALUATED
        pair = (point.teacher_version or "", point.student_version or "") if is_evaluated else None
        before = history.points_of_pair(connection, claim.slot, pair, details=details)
    folds = [None if states is None else from_text(states.texts[rule.version]) for rule in policy_rules]
    found = [
        rules.resume(rule, fold, (*before, point)) for rule, fold in zip(policy_rules, folds, strict=True)
    ]
    rule_states.write(
        connection,
        claim,
        {rule.version: fold.text for rule, (_outcome, fold) in zip(policy_rules, found, strict=True)},
    )
    return tuple(outcome for outcome, _fold in found)


def _unevaluated(connection: Connection, claim: Claim) -> int:
    """How many cycles in a row, this one the last, had no verdict; counted as far as it matters."""
    recent = history.newest_points(
        connection, claim.slot.monitor, rules.BLIND_AFTER, until=claim.slot.window_end
    )
    return rules.unevaluated_in_a_row(recent)


def _evidence(result: CycleResult, policy: Policy) -> Evidence:
    return Evidence(
        n_scored=result.measurement.n if result.measurement else 0,
        n_seen=result.traffic.n_seen,
        n_rejected=result.traffic.n_rejected,
        min_samples=policy.min_samples,
        max_reject_share=policy.max_reject_share,
    )


def _teacher(
    connection: Connection, claim: Claim, result: CycleResult, evidence: Evidence, policy: Policy
) -> TeacherJudgement:
    measured = result.measurement
    if measured is None or evidence.shortfall is not None:
        return without_evidence()
    known = teachers.known_teacher(
        connection,
        claim.slot,
        result.teacher_version,
        reference_cycles=policy.teacher.reference_cycles,
    )
    return judge_teacher(teacher_point_of(measured), known, policy.teacher)


def _standing(connection: Connection, claim: Claim, result: CycleResult) -> _Standing:
    monitor = claim.slot.monitor
    # The jobs are read before the student: one that ends in between with a promotion must not look as
    # if it had never been, and its student as if nobody had replaced it.
    jobs = queue.of_monitor(connection, monitor)
    student = versions.current(connection, monitor, Role.STUDENT)
    is_replaced = student is not None and student.version != result.student_version
    return _Standing(
        jobs=jobs,
        student_since=versions.current_since(connection, monitor, Role.STUDENT),
        is_latest=not is_replaced and not history.has_later_result(connection, claim.slot),
    )


def _moved(connection: Connection, result: CycleResult) -> str | None:
    measured = result.measurement
    if measured is None or measured.input_drift is None:
        return None
    then = history.label_shares(connection, measured.input_drift.reference_cycle_id)
    moves = largest_moves(then, {each.label: each.share for each in measured.per_label})
    return what_moved(measured.input_drift, moves)


def _order(
    result: CycleResult,
    outcomes: Sequence[RuleOutcome],
    teacher: TeacherJudgement,
    standing: _Standing,
    policy: Policy,
    now: datetime,
) -> Order:
    # another teacher begins another ladder; an open job counts whoever its teacher is
    jobs = [
        job
        for job in standing.jobs
        if job.status in queue.OPEN or job.teacher_version == result.teacher_version
    ]
    ladder = alpha.ladder_of(
        jobs,
        began_at=standing.student_since,
        student_alpha=result.alpha,
        wanted=bool(alpha.wanting(policy.rules, outcomes)),
        is_latest=standing.is_latest,
        awaits_teacher=alpha.ordering(policy.rules, outcomes, teacher.health) is None,
    )
    return alpha.decide(policy.alpha, ladder, now)


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


def _enqueue(
    connection: Connection,
    claim: Claim,
    result: CycleResult,
    outcomes: Sequence[RuleOutcome],
    teacher: TeacherJudgement,
    order: Order,
    policy: Policy,
    now: datetime,
) -> int | None:
    fired = alpha.ordering(policy.rules, outcomes, teacher.health)
    if fired is None or order.reason is not OrderReason.ORDERED:
        return None
    job = NewJob(
        monitor=claim.slot.monitor,
        cycle_id=claim.cycle_id,
        rule=fired.rule,
        reason=verdict.describe([fired]) + (_TEACHER_DRIFT if teacher.is_new else ""),
        teacher_version=result.teacher_version,
        student_version=result.student_version,
        alpha_from=order.alpha_from,
        alpha_to=order.alpha_to,
        temperature=policy.alpha.temperature,
        evidence=order.evidence.text if order.evidence else None,
    )
    return queue.enqueue(connection, job, now)


def _apply(
    connection: Connection,
    claim: Claim,
    situation: Situation,
    job_id: int | None,
    policy: Policy,
    now: datetime,
) -> None:
    for transition in incidents.plan(situation):
        incident_id = _move(connection, claim, transition, job_id, now)
        dedup_key = f"redistill:{claim.slot.monitor}:{incident_id}"
        payload = message(claim, transition, situation, dedup_key=dedup_key, job_id=job_id, now=now)
        for alert in policy.alerts:
            if transition.severity in alert.severities:
                outbox.add(
                    connection,
                    incident_id=incident_id,
                    channel=alert.name,
                    event=transition.to_state,
                    dedup_key=dedup_key,
                    payload=payload,
                    now=now,
                )


def _move(
    connection: Connection, claim: Claim, transition: Transition, job_id: int | None, now: datetime
) -> int:
    if transition.incident_id is not None:
        outbox.resolve(connection, transition.incident_id, now)
        return transition.incident_id
    return outbox.open_incident(
        connection,
        monitor=claim.slot.monitor,
        kind=transition.kind,
        severity=transition.severity,
        summary=transition.summary,
        cycle_id=claim.cycle_id,
        job_id=job_id,
        now=now,
    )
