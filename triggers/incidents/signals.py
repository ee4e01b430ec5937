"""The signals of a judged cycle and of an ended job for each kind of incident."""

from collections.abc import Sequence
from dataclasses import dataclass

from db.records import RuleOutcome
from db.states import (
    IncidentKind,
    JobRecovery,
    JobStatus,
    OrderReason,
    Severity,
    ShadowState,
    TeacherHealth,
    VerdictReason,
)
from triggers.incidents.lifecycle import SEVERITIES, Signal, SignalState
from triggers.judged_cycle import JudgedCycle
from triggers.orders.alpha import Order
from triggers.orders.promotion_watch import Watch
from triggers.rules.evaluation import BLIND_AFTER
from triggers.rules.verdict import describe
from triggers.shadow.decision import ShadowStep
from triggers.teacher.advice import advice_on

_LOOK_AT_SERVICE = (
    "the served answers are not the student's: check the service's model version, label order and "
    "preprocessing"
)
_LOOK_AT_REQUESTS = "the requests differ from the reference: see what moved, and whether agreement has fallen"
_NO_LABELS = (
    "candidates were held to the teacher's answers, as no true label shows whether the teacher is right "
    "(`redistill labels import` adds labels)"
)
#: If the process dies in every cycle, this signal is the only trace that it can leave.
TRIED_IN_VAIN = Signal(
    kind=IncidentKind.BLIND,
    state=SignalState.PENDING,
    severity=Severity.ERROR,
    summary="a slot is being retried: its last attempt ended without a result",
)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A judged cycle with its order and its place among the other cycles."""

    cycle: JudgedCycle
    order: Order
    unevaluated: int  #: slots in a row without a verdict, up to the end of this cycle's window
    is_latest: bool  #: no later cycle of the monitor has a verdict
    watch: Watch | None = None  #: where a promoted candidate is being watched
    shadow: ShadowStep | None = None  #: where a candidate runs in shadow, or did until this cycle
    moved: str | None = None  #: the change of the requests since the reference, in one line


def of_cycle(now: Situation) -> tuple[Signal, ...]:
    """Return the cycle's signal for each kind, in the order of IncidentKind.

    `drift` is raised when a rule about the student fires, at the highest severity of the fired rules, and
    pending while one is breached. `retrain-teacher` (critical) is raised when a re-distillation was wanted
    and the ladder is exhausted. A healthy cycle clears both, and the incidents of jobs. `blind` (error) is
    pending from the first slot without evidence, raised by the third in a row, and cleared by any evaluated
    cycle; an unhealthy teacher has its own kind. `serving-skew` and `input-drift` follow the rules on their
    metrics, in cycles that measured them. `teacher-unhealthy` (critical) is cleared by a healthy or a new
    teacher, `teacher-changed` (warning) by a healthy one. `data-quality` (error) is raised by too many
    rejects and cleared by a cycle with enough evidence. A cycle behind a later one signals nothing.
    """
    if not now.is_latest:
        return ()
    return (
        _drift(now),
        _retrain_teacher(now),
        _blind(now),
        _not_of_student(now.cycle, IncidentKind.SERVING_SKEW, "serving_skew", _LOOK_AT_SERVICE),
        _teacher_unhealthy(now.cycle),
        _teacher_changed(now.cycle),
        _not_of_student(now.cycle, IncidentKind.INPUT_DRIFT, "input_drift", _LOOK_AT_REQUESTS),
        _data_quality(now.cycle),
        _candidate_rejected(now),
        _if_healthy(now.cycle, IncidentKind.JOB_FAILED),
    )


def of_job(status: JobStatus, summary: str) -> tuple[Signal, ...]:
    """Return the signals of a job's end; `summary` says in one line why it ended.

    A failed job says nothing about candidates; a job that made a candidate clears `job-failed`.
    """
    rejected, failed = IncidentKind.CANDIDATE_REJECTED, IncidentKind.JOB_FAILED
    match status:
        case JobStatus.REJECTED:
            return (
                Signal(kind=rejected, state=SignalState.RAISED, summary=summary),
                Signal(kind=failed, state=SignalState.CLEARED, summary=summary),
            )
        case JobStatus.FAILED:
            return (Signal(kind=failed, state=SignalState.RAISED, severity=Severity.ERROR, summary=summary),)
        case JobStatus.SUCCEEDED:
            return tuple(
                Signal(kind=kind, state=SignalState.CLEARED, summary=summary) for kind in (rejected, failed)
            )
        case _:
            return ()


def blind_by_the_clock(slots: int, since: str) -> Signal:
    """Return the signal that `slots` slots passed without an evaluated cycle, and none is under way."""
    summary = (
        f"no cycle was evaluated for {slots} slots, since {since}: check the daemon's log for a hang or a "
        "crash, and whether another process holds the monitor's lease"
    )
    return Signal(kind=IncidentKind.BLIND, state=SignalState.RAISED, severity=Severity.ERROR, summary=summary)


def of_empty_slots(n_empty: int, unevaluated: int) -> Signal:
    """Return the signal of a quiet window with `n_empty` slots at its end that have no record.

    `unevaluated` are the slots in a row without a verdict that are not merely quiet.
    """
    slots = "slot has" if n_empty == 1 else f"{n_empty} slots have"
    summary = (
        f"the log's last {slots} not a single record: check that the service writes its log, and 'uri' in "
        "[traffic]"
    )
    state = SignalState.PENDING if unevaluated < BLIND_AFTER else SignalState.RAISED
    return Signal(kind=IncidentKind.BLIND, state=state, severity=Severity.ERROR, summary=summary)


def _drift(now: Situation) -> Signal:
    kind, outcomes = IncidentKind.DRIFT, now.cycle.about_student
    fired = [outcome for outcome in outcomes if outcome.fired]
    breached = [outcome for outcome in outcomes if outcome.breached]
    if fired:
        ordered = now.order.reason is OrderReason.ORDERED
        consequence = f"ordered: {now.order.detail}" if ordered else f"nothing ordered: {now.order.detail}"
        return _raised(kind, _highest_severity(now.cycle, fired), f"{describe(fired)}; {consequence}")
    if now.cycle.is_evaluated and breached:
        return Signal(
            kind=kind,
            state=SignalState.PENDING,
            severity=_highest_severity(now.cycle, breached),
            summary=describe(breached),
        )
    return _if_healthy(now.cycle, kind)


def _retrain_teacher(now: Situation) -> Signal:
    if not now.order.is_exhausted:
        return _if_healthy(now.cycle, IncidentKind.RETRAIN_TEACHER)
    fired = [outcome for outcome in now.cycle.about_student if outcome.fired]
    evidence = now.order.evidence
    why = f"{now.order.detail}; {evidence.says.rstrip('.') if evidence else _NO_LABELS}"
    summary = f"{describe(fired)}; re-distillation is exhausted: {why}; retrain the teacher"
    return _raised(IncidentKind.RETRAIN_TEACHER, Severity.CRITICAL, summary)


def _blind(now: Situation) -> Signal:
    kind = IncidentKind.BLIND
    if now.cycle.is_evaluated:
        return _cleared(kind, now.cycle.judgement.detail)
    if now.cycle.judgement.reason is VerdictReason.TEACHER_UNHEALTHY:
        return _unknown(kind)
    slots = "slot" if now.unevaluated == 1 else "slots"
    summary = f"{now.unevaluated} {slots} in a row without a verdict; the last: {now.cycle.judgement.detail}"
    if now.unevaluated < BLIND_AFTER:
        return Signal(kind=kind, state=SignalState.PENDING, severity=Severity.ERROR, summary=summary)
    return _raised(kind, Severity.ERROR, summary)


def _not_of_student(cycle: JudgedCycle, kind: IncidentKind, metric: str, advice: str) -> Signal:
    outcomes = cycle.on(metric)
    fired = [outcome for outcome in outcomes if outcome.fired]
    breached = [outcome for outcome in outcomes if outcome.breached]
    if fired:
        return _raised(kind, _highest_severity(cycle, fired), f"{describe(fired)}; {advice}")
    if breached:
        return Signal(
            kind=kind,
            state=SignalState.PENDING,
            severity=_highest_severity(cycle, breached),
            summary=describe(breached),
        )
    return _cleared(kind, describe(outcomes)) if outcomes else _unknown(kind)


def _teacher_unhealthy(cycle: JudgedCycle) -> Signal:
    kind = IncidentKind.TEACHER_UNHEALTHY
    if cycle.teacher.is_fault:
        consequence = f"no verdicts and no jobs until it is fixed: {advice_on(cycle.teacher.reason)}"
        summary = f"{cycle.teacher.detail}; {consequence}"
        return _raised(kind, Severity.CRITICAL, summary)
    is_over = cycle.teacher.health in {TeacherHealth.HEALTHY, TeacherHealth.CHANGED}
    return _cleared(kind, cycle.teacher.detail) if is_over else _unknown(kind)


def _teacher_changed(cycle: JudgedCycle) -> Signal:
    kind = IncidentKind.TEACHER_CHANGED
    if cycle.teacher.health is TeacherHealth.CHANGED:
        summary = (
            f"{cycle.teacher.detail}; its reference starts again, and until it is complete only rules on a "
            "divergence order a re-distillation"
        )
        return _raised(kind, Severity.WARNING, summary)
    is_over = cycle.teacher.health is TeacherHealth.HEALTHY
    return _cleared(kind, cycle.teacher.detail) if is_over else _unknown(kind)


def _data_quality(cycle: JudgedCycle) -> Signal:
    kind = IncidentKind.DATA_QUALITY
    if cycle.judgement.reason is VerdictReason.TOO_MANY_REJECTS:
        summary = f"{cycle.judgement.detail}; see the reasons in `redistill history` or reject_history"
        return _raised(kind, Severity.ERROR, summary)
    is_over = cycle.is_evaluated or cycle.judgement.reason is VerdictReason.NO_RULE_EVALUATED
    return _cleared(kind, cycle.judgement.detail) if is_over else _unknown(kind)


def _candidate_rejected(now: Situation) -> Signal:
    if now.watch is not None and now.watch.recovery is JobRecovery.NOT_RECOVERED:
        return _raised(IncidentKind.CANDIDATE_REJECTED, Severity.WARNING, now.watch.detail)
    if now.shadow is not None and now.shadow.state is ShadowState.STOPPED:
        summary = f"job {now.shadow.shadow.job_id}, shadow of {now.shadow.detail}"
        return _raised(IncidentKind.CANDIDATE_REJECTED, Severity.WARNING, summary)
    return _if_healthy(now.cycle, IncidentKind.CANDIDATE_REJECTED)


def _if_healthy(cycle: JudgedCycle, kind: IncidentKind) -> Signal:
    return _cleared(kind, cycle.judgement.detail) if cycle.is_healthy else _unknown(kind)


def _highest_severity(cycle: JudgedCycle, outcomes: Sequence[RuleOutcome]) -> Severity:
    names = {outcome.rule for outcome in outcomes}
    return max((rule.severity for rule in cycle.rules if rule.name in names), key=SEVERITIES.index)


def _raised(kind: IncidentKind, severity: Severity, summary: str) -> Signal:
    return Signal(kind=kind, state=SignalState.RAISED, severity=severity, summary=summary)


def _cleared(kind: IncidentKind, summary: str) -> Signal:
    return Signal(kind=kind, state=SignalState.CLEARED, summary=summary)


def _unknown(kind: IncidentKind) -> Signal:
    return Signal(kind=kind, state=SignalState.UNKNOWN)
