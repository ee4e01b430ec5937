"""What a judged cycle changes about the incidents of its monitor."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from db.errors import RedistillError
from db.records import Incident, Measurement, RuleOutcome
from db.states import (
    CycleStatus,
    IncidentKind,
    IncidentState,
    OrderReason,
    Severity,
    TeacherHealth,
    Verdict,
    VerdictReason,
)
from triggers.alpha import Order
from triggers.rules import BLIND_AFTER
from triggers.settings import Rule
from triggers.teacher import TeacherJudgement
from triggers.verdict import Judgement, describe, is_about_student

#: Where an incident may go from each state. None: there is no incident yet. A resolved one stays so: the
#: next time a new incident opens.
TRANSITIONS: Final[dict[IncidentState | None, frozenset[IncidentState]]] = {
    None: frozenset({IncidentState.FIRING}),
    IncidentState.FIRING: frozenset({IncidentState.RESOLVED}),
    IncidentState.RESOLVED: frozenset(),
}

_LOUDNESS = tuple(Severity)
_LOOK_AT_SERVICE = (
    "what was served is not what the student answers: look at the version, the order of the labels and the "
    "preprocessing of the service"
)
_LOOK_AT_REQUESTS = (
    "what users write is no longer what it was: see what moved, and whether the student follows"
)


class TransitionRefusedError(RedistillError):
    """An incident of the kind {kind} cannot go from {from_state} to {to_state}."""


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One change of one incident's state; a change that TRANSITIONS does not allow cannot be made."""

    kind: IncidentKind
    from_state: IncidentState | None
    to_state: IncidentState
    severity: Severity
    summary: str  #: one line, with the numbers against the thresholds
    incident_id: int | None  #: None while the incident is yet to be opened

    def __post_init__(self) -> None:
        if self.to_state not in TRANSITIONS[self.from_state]:
            raise TransitionRefusedError(kind=self.kind, from_state=self.from_state, to_state=self.to_state)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known when a cycle has been judged and the order, if any, decided."""

    judgement: Judgement
    rules: Sequence[Rule]
    outcomes: Sequence[RuleOutcome]
    order: Order
    firing: Sequence[Incident]  #: the monitor's open incidents, at most one of each kind
    unevaluated: int  #: the newest cycles in a row, this one included, that were not evaluated
    is_latest: bool  #: no later cycle of the monitor is judged
    teacher: TeacherJudgement
    moved: str | None = None  #: in the requests, since the reference
    measured: Measurement | None = None

    @property
    def is_evaluated(self) -> bool:
        """The cycle had evidence enough for a verdict."""
        return self.judgement.status is CycleStatus.EVALUATED

    @property
    def is_healthy(self) -> bool:
        """The cycle had evidence enough, and no rule is breached."""
        return self.is_evaluated and self.judgement.verdict is Verdict.HEALTHY

    @property
    def fired(self) -> list[RuleOutcome]:
        """The outcomes about the student that fired at this cycle."""
        return [outcome for outcome in self.outcomes if outcome.fired and is_about_student(outcome)]

    def on(self, metric: str) -> list[RuleOutcome]:
        """The outcomes of the rules on that metric, where it was measured."""
        return [
            outcome for outcome in self.outcomes if outcome.metric == metric and outcome.value is not None
        ]

    def open_incident(self, kind: IncidentKind) -> Incident | None:
        """The firing incident of `kind`, if there is one."""
        return next((incident for incident in self.firing if incident.kind is kind), None)

    def opened_at(self, incident_id: int | None) -> datetime | None:
        """Since when the incident fires; None of one that is yet to be opened."""
        return next((each.opened_at for each in self.firing if each.incident_id == incident_id), None)


def plan(situation: Situation) -> tuple[Transition, ...]:
    """The transitions that the cycle calls for, at most one a kind, in the order of IncidentKind.

    `drift` opens when a rule fires, as loud as the loudest fired rule; `retrain-teacher` (critical) when a
    re-distillation was wanted and the ladder is at its end; both resolve at an evaluated healthy cycle, so
    missing data never resolves them. `blind` (error) opens at the third cycle in a row without evidence, or
    later, and resolves at any evaluated cycle. `serving-skew` and `input-drift` open when a rule on their
    metric fires, and resolve at a cycle that measured it in which none is breached. `teacher-unhealthy`
    (critical) opens at a cycle with an unhealthy teacher, which does not make the monitor `blind` as well,
    and resolves at one with a healthy or a new one; `teacher-changed` (warning) opens at a cycle with a new
    one and resolves at one with a healthy one. An open incident is not opened again. A cycle that was filled
    in behind a later one speaks of the past and changes nothing.
    """
    if not situation.is_latest:
        return ()
    wanted = (
        _drift(situation),
        _retrain_teacher(situation),
        _blind(situation),
        _not_of_student(situation, IncidentKind.SERVING_SKEW, "serving_skew", _LOOK_AT_SERVICE),
        _teacher_unhealthy(situation),
        _teacher_changed(situation),
        _not_of_student(situation, IncidentKind.INPUT_DRIFT, "input_drift", _LOOK_AT_REQUESTS),
    )
    return tuple(transition for transition in wanted if transition is not None)


def _drift(now: Situation) -> Transition | None:
    incident = now.open_incident(IncidentKind.DRIFT)
    if incident is not None:
        return _resolved(incident, now.judgement.detail) if now.is_healthy else None
    if not now.fired:
        return None
    ordered = now.order.reason is OrderReason.ORDERED
    consequence = f"ordered: {now.order.detail}" if ordered else f"nothing ordered: {now.order.detail}"
    return _opened(IncidentKind.DRIFT, _loudest(now, now.fired), f"{describe(now.fired)}; {consequence}")


def _retrain_teacher(now: Situation) -> Transition | None:
    incident = now.open_incident(IncidentKind.RETRAIN_TEACHER)
    if incident is not None:
        return _resolved(incident, now.judgement.detail) if now.is_healthy else None
    if not now.order.is_exhausted:
        return None
    summary = f"{describe(now.fired)}; re-distillation is at its end: {now.order.detail}; retrain the teacher"
    return _opened(IncidentKind.RETRAIN_TEACHER, Severity.CRITICAL, summary)


def _blind(now: Situation) -> Transition | None:
    incident = now.open_incident(IncidentKind.BLIND)
    if incident is not None:
        return _resolved(incident, now.judgement.detail) if now.is_evaluated else None
    is_told = now.judgement.reason is VerdictReason.TEACHER_UNHEALTHY
    if now.unevaluated < BLIND_AFTER or is_told:
        return None
    summary = f"{now.unevaluated} cycles in a row without a verdict; the last: {now.judgement.detail}"
    return _opened(IncidentKind.BLIND, Severity.ERROR, summary)


def _not_of_student(now: Situation, kind: IncidentKind, metric: str, advice: str) -> Transition | None:
    incident, outcomes = now.open_incident(kind), now.on(metric)
    if incident is not None:
        is_over = outcomes and not any(outcome.breached for outcome in outcomes)
        return _resolved(incident, describe(outcomes)) if is_over else None
    fired = [outcome for outcome in outcomes if outcome.fired]
    return _opened(kind, _loudest(now, fired), f"{describe(fired)}; {advice}") if fired else None


def _teacher_unhealthy(now: Situation) -> Transition | None:
    incident = now.open_incident(IncidentKind.TEACHER_UNHEALTHY)
    if incident is not None:
        is_over = now.teacher.health in {TeacherHealth.HEALTHY, TeacherHealth.CHANGED}
        return _resolved(incident, now.teacher.detail) if is_over else None
    if not now.teacher.is_fault:
        return None
    summary = (
        f"{now.teacher.detail}; nothing is judged by this teacher and nothing ordered: look at the traffic, "
        "the model's files and its tokenizer"
    )
    return _opened(IncidentKind.TEACHER_UNHEALTHY, Severity.CRITICAL, summary)


def _teacher_changed(now: Situation) -> Transition | None:
    incident = now.open_incident(IncidentKind.TEACHER_CHANGED)
    if incident is not None:
        is_over = now.teacher.health is TeacherHealth.HEALTHY
        return _resolved(incident, now.teacher.detail) if is_over else None
    if now.teacher.health is not TeacherHealth.CHANGED:
        return None
    summary = (
        f"{now.teacher.detail}; its reference starts afresh, and until that is whole only rules on a "
        "divergence order a re-distillation"
    )
    return _opened(IncidentKind.TEACHER_CHANGED, Severity.WARNING, summary)


def _loudest(now: Situation, fired: Sequence[RuleOutcome]) -> Severity:
    names = {outcome.rule for outcome in fired}
    return max((rule.severity for rule in now.rules if rule.name in names), key=_LOUDNESS.index)


def _opened(kind: IncidentKind, severity: Severity, summary: str) -> Transition:
    return Transition(
        kind=kind,
        from_state=None,
        to_state=IncidentState.FIRING,
        severity=severity,
        summary=summary,
        incident_id=None,
    )


def _resolved(incident: Incident, summary: str) -> Transition:
    return Transition(
        kind=incident.kind,
        from_state=incident.state,
        to_state=IncidentState.RESOLVED,
        severity=incident.severity,
        summary=summary,
        incident_id=incident.incident_id,
    )
