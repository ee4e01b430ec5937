"""The decision on a cycle and all its effects, in one transaction."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Connection, Engine

from db import leases, queue
from db.accuracy import estimates
from db.connection.session import writing
from db.cycles import history, ledger, rejudging, results, teachers
from db.records import Claim, CycleResult, Lease, ModelVersion, RuleOutcome
from db.states import RejectReason, VerdictReason
from triggers import rule_progress
from triggers.estimated_accuracy import believed
from triggers.incidents import payload, signals
from triggers.incidents.announce import Audience, Occasion, announce
from triggers.incidents.label_shifts import largest_moves, what_moved
from triggers.incidents.signals import Situation
from triggers.judged_cycle import JudgedCycle
from triggers.orders.after_promotion import watch
from triggers.orders.alpha import Order
from triggers.orders.enqueue import is_latest, order_job
from triggers.rule_progress import Folds
from triggers.rules import evaluation, verdict
from triggers.rules.cycle_point import point_of, teacher_point_of
from triggers.rules.observation import missing_of
from triggers.rules.verdict import Judgement, SampleQuality
from triggers.settings import AlphaPolicy, Rule, TeacherPolicy
from triggers.shadow.advance import advance
from triggers.shadow.decision import ShadowStep
from triggers.teacher.trust import TeacherJudgement, judge_teacher, without_evidence


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The rules and policies by which a cycle is judged, and the audience of its incidents."""

    rules: tuple[Rule, ...]
    alpha: AlphaPolicy
    teacher: TeacherPolicy
    audience: Audience
    min_samples: int
    max_reject_share: float
    may_be_found: Callable[[ModelVersion], bool]  #: whether the files of a student are where they can be


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """The decision on a cycle."""

    judgement: Judgement
    outcomes: tuple[RuleOutcome, ...]
    order: Order
    teacher: TeacherJudgement
    shadow: ShadowStep | None  #: of the candidate in shadow, if there is one


def conclude(
    engine: Engine, lease: Lease, claim: Claim, result: CycleResult, policy: Policy, *, now: datetime
) -> Conclusion:
    """Judge a measured cycle, and commit the verdict with all its effects.

    Metrics, outcomes, verdict, job, incidents and messages are one transaction. The state of the rules so far
    is found before.

    Raises:
        LeaseLostError: another process holds the monitor's lease; nothing was written.
        AttemptEndedError: an earlier call has written the cycle; nothing more was written.
        CycleChangedError, ErasureUnfinishedError: a window that is judged again has changed since; nothing
            was written.
    """
    folds = rule_progress.folds_before(engine, claim.slot, policy.rules)
    with writing(engine) as connection:
        leases.guard(connection, lease)
        _lock_for_write(connection, claim)
        cycle = _judge(connection, claim, result, policy, folds=folds, now=now)
        # The jobs are read before the student: in the other order, a promotion in between would show the old
        # student without its open job, and a second job would be ordered.
        jobs = queue.of_monitor(connection, claim.slot.monitor)
        latest = is_latest(connection, cycle)
        watched = None
        if latest and cycle.is_evaluated:
            watched = watch(connection, cycle, jobs, policy.alpha, now, may_be_found=policy.may_be_found)
        shadow = None
        if latest:
            shadow = advance(connection, cycle, shadow_cycles=policy.alpha.shadow_cycles, now=now)
        order = order_job(
            connection, cycle, jobs, policy.alpha, watched=watched, shadow=shadow, latest=latest, now=now
        )
        results.add_order(connection, claim, order.reason, order.detail)
        situation = Situation(
            cycle=cycle,
            order=order,
            unevaluated=_unevaluated(connection, claim),
            is_latest=latest,
            watch=watched,
            shadow=shadow,
            moved=_moved(connection, result),
        )
        _announce(connection, situation, policy, now)
    return Conclusion(
        judgement=cycle.judgement,
        outcomes=tuple(cycle.outcomes),
        order=order,
        teacher=cycle.teacher,
        shadow=shadow,
    )


def conclude_failure(
    engine: Engine, lease: Lease, claim: Claim, error: str, policy: Policy, *, now: datetime
) -> None:
    """Record an attempt that ended in an error, with the incidents that follow.

    Raises:
        LeaseLostError: another process holds the monitor's lease; nothing was written.
        AttemptEndedError: an earlier call has written the cycle; nothing more was written.
    """
    with writing(engine) as connection:
        leases.guard(connection, lease)
        ledger.lock_for_write(connection, claim)
        ledger.fail(connection, claim, error, now)
        cycle = JudgedCycle(
            claim=claim,
            result=None,
            rules=policy.rules,
            outcomes=(),
            judgement=verdict.failed(error),
            teacher=without_evidence(),
        )
        latest = is_latest(connection, cycle)
        situation = Situation(
            cycle=cycle,
            order=order_job(connection, cycle, (), policy.alpha, watched=None, latest=latest, now=now),
            unevaluated=_unevaluated(connection, claim),
            is_latest=latest,
        )
        _announce(connection, situation, policy, now)


def _lock_for_write(connection: Connection, claim: Claim) -> None:
    if claim.earlier is None:
        ledger.lock_for_write(connection, claim)
    else:
        rejudging.replace(connection, claim)


def _judge(
    connection: Connection,
    claim: Claim,
    result: CycleResult,
    policy: Policy,
    *,
    folds: Folds,
    now: datetime,
) -> JudgedCycle:
    """Judge the cycle, and write its numbers, its outcomes and its verdict."""
    quality = _quality(result, policy)
    teacher = _teacher(connection, claim, result, quality, policy)
    quality = replace(quality, teacher_fault=teacher.detail if teacher.is_fault else None)
    point = point_of(claim, result, quality.status, policy.rules)
    if quality.shortfall is VerdictReason.TOO_FEW_SAMPLES:
        point = replace(point, n_slots=claim.n_slots)
    outcomes = rule_progress.evaluate_next(connection, claim, point, policy.rules, folds)
    missing = {rule.name: missing_of(rule, point) for rule in policy.rules}
    judgement = verdict.judge(quality, outcomes, missing)
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
        _add_accuracy(connection, claim, result, teacher)
    results.add_outcomes(connection, claim, outcomes)
    results.add_log_increments(connection, claim, point.log_increments)
    results.keep_rule_texts(connection, {rule.version: rule.text for rule in policy.rules}, now)
    return JudgedCycle(
        claim=claim,
        result=result,
        rules=policy.rules,
        outcomes=outcomes,
        judgement=judgement,
        teacher=teacher,
    )


def _add_accuracy(
    connection: Connection, claim: Claim, result: CycleResult, teacher: TeacherJudgement
) -> None:
    found = result.measurement.accuracy if result.measurement else None
    if found is None:
        return
    slot = claim.slot
    before = estimates.contradicted_before(connection, slot.monitor, result.teacher_version, slot.window_end)
    shown = believed(found, teacher.health, teacher.reason, contradicted_before=before)
    estimates.put(connection, claim.cycle_id, found, shown, contradicted_before=before)


def _announce(connection: Connection, situation: Situation, policy: Policy, now: datetime) -> None:
    claim = situation.cycle.claim
    occasion = Occasion(
        at=claim.slot.window_end,
        now=now,
        cycle_id=claim.cycle_id,
        job_id=situation.order.job_id,
        details=payload.of_cycle(situation),
    )
    announce(connection, policy.audience, signals.of_cycle(situation), occasion)


def _unevaluated(connection: Connection, claim: Claim) -> int:
    """Return the number of slots in a row without a verdict up to this cycle's, at most `BLIND_AFTER`."""
    recent = history.newest_statuses(
        connection, claim.slot.monitor, evaluation.BLIND_AFTER, until=claim.slot.window_end
    )
    return evaluation.unevaluated_in_a_row(recent)


def _quality(result: CycleResult, policy: Policy) -> SampleQuality:
    return SampleQuality(
        n_scored=result.measurement.n if result.measurement else 0,
        n_seen=result.traffic.n_seen,
        n_rejected=result.traffic.n_rejected,
        min_samples=policy.min_samples,
        max_reject_share=policy.max_reject_share,
        n_undated=sum(
            each.n for each in result.traffic.rejects if each.reason is RejectReason.UNDATED_OBJECT
        ),
    )


def _teacher(
    connection: Connection, claim: Claim, result: CycleResult, quality: SampleQuality, policy: Policy
) -> TeacherJudgement:
    measured = result.measurement
    if measured is None or quality.shortfall is not None:
        return without_evidence()
    known = teachers.known_teacher(
        connection,
        claim.slot,
        result.teacher_version,
        reference_cycles=policy.teacher.reference_cycles,
    )
    return judge_teacher(teacher_point_of(measured), known, policy.teacher)


def _moved(connection: Connection, result: CycleResult) -> str | None:
    measured = result.measurement
    if measured is None or measured.input_drift is None:
        return None
    then = history.label_shares(connection, measured.input_drift.reference_cycle_id)
    moves = largest_moves(then, {each.label: each.share for each in measured.per_label})
    return what_moved(measured.input_drift, moves)
