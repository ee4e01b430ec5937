"""The life cycle of an incident: inactive, pending, firing, acknowledged, resolved.

Cycles, jobs and checks report a signal for each kind of incident; `step` alone decides what follows.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from db.errors import RedistillError
from db.records import Incident
from db.states import IncidentKind, IncidentState, Severity

#: The allowed transitions from each state. None: there is no incident. A pending incident is forgotten when
#: its condition ends; an open one enters `firing` again when it escalates; a resolved one is final: the next
#: time, a new incident opens.
TRANSITIONS: Final[dict[IncidentState | None, frozenset[IncidentState | None]]] = {
    None: frozenset({IncidentState.PENDING, IncidentState.FIRING}),
    IncidentState.PENDING: frozenset({IncidentState.FIRING, None}),
    IncidentState.FIRING: frozenset(
        {IncidentState.FIRING, IncidentState.ACKNOWLEDGED, IncidentState.RESOLVED}
    ),
    IncidentState.ACKNOWLEDGED: frozenset(
        {IncidentState.ACKNOWLEDGED, IncidentState.FIRING, IncidentState.RESOLVED}
    ),
    IncidentState.RESOLVED: frozenset(),
}
#: All severities, the mildest first.
SEVERITIES: Final = tuple(Severity)


class TransitionRefusedError(RedistillError):
    """An incident of the kind {kind} cannot go from {from_state} to {to_state}."""


class IncidentStateError(RedistillError):
    """Incident {incident_id} is {state}: only a firing incident can be acknowledged."""


class SignalState(StrEnum):
    """The state of the condition that a kind of incident is about."""

    UNKNOWN = "unknown"  #: not known; missing data neither opens nor resolves
    PENDING = "pending"  #: the condition holds, but has not lasted long enough
    RAISED = "raised"  #: the condition holds
    CLEARED = "cleared"  #: the condition does not hold


@dataclass(frozen=True, kw_only=True)
class Signal:
    """The state of one kind of incident, as one cycle, job or check finds it."""

    kind: IncidentKind
    state: SignalState
    severity: Severity = Severity.WARNING  #: of the incident that the signal opens
    summary: str = ""  #: one line, with the numbers against the thresholds


class TransitionReason(StrEnum):
    """The reason of one change of an incident."""

    PENDING = "pending"  #: the condition holds, but has not lasted long enough
    FORGOTTEN = "forgotten"  #: the condition ended while the incident was pending
    OPENED = "opened"  #: the condition has lasted long enough
    ESCALATED = "escalated"  #: the condition was raised at a higher severity than the incident's
    CLEARING = "clearing"  #: the condition has ended, and has not been clear for `keep_firing_for` yet
    RECURRED = "recurred"  #: the condition came back while the incident was clearing
    ACKNOWLEDGED = "acknowledged"  #: a person has taken the incident
    RESOLVED = "resolved"  #: the condition has been clear for `keep_firing_for`


#: The event that the on-call is notified of. The other changes notify nobody.
_EVENTS: Final = {
    TransitionReason.OPENED: IncidentState.FIRING,
    TransitionReason.ESCALATED: IncidentState.FIRING,
    TransitionReason.ACKNOWLEDGED: IncidentState.ACKNOWLEDGED,
    TransitionReason.RESOLVED: IncidentState.RESOLVED,
}


@dataclass(frozen=True, kw_only=True)
class Transition:
    """One change of one incident; only a change that TRANSITIONS allows can be constructed."""

    kind: IncidentKind
    reason: TransitionReason
    from_state: IncidentState | None
    to_state: IncidentState | None
    severity: Severity
    summary: str
    incident: Incident | None  #: None: there is no incident yet
    since: datetime | None = None  #: start of the condition
    clearing_since: datetime | None = None  #: end of the condition, while the incident keeps firing
    by: str | None = None  #: the person that acknowledges the incident

    def __post_init__(self) -> None:
        if self.to_state not in TRANSITIONS[self.from_state]:
            raise TransitionRefusedError(kind=self.kind, from_state=self.from_state, to_state=self.to_state)

    @property
    def event(self) -> IncidentState | None:
        """The event that the on-call is notified of; None: no notification."""
        return _EVENTS.get(self.reason)


def step(
    incident: Incident | None, signal: Signal, *, at: datetime, keep_firing_for: timedelta
) -> Transition | None:
    """Return the change that a signal causes in the unresolved incident of its kind; None: no change.

    `at` is the time that the signal refers to. An incident resolves once it has been cleared for
    `keep_firing_for` without being raised or pending in between; an unknown state changes nothing.
    """
    if incident is None or incident.state is IncidentState.PENDING:
        return _not_open(incident, signal, at)
    if signal.state is SignalState.CLEARED:
        return _clearing(incident, signal, at, keep_firing_for)
    if signal.state is SignalState.RAISED and _is_more_severe(signal.severity, incident.severity):
        return _changed(
            incident,
            IncidentState.FIRING,
            TransitionReason.ESCALATED,
            severity=signal.severity,
            summary=signal.summary,
        )
    if signal.state is not SignalState.UNKNOWN and incident.clearing_since is not None:
        return _changed(incident, incident.state, TransitionReason.RECURRED)
    return None


def acknowledge(incident: Incident, by: str) -> Transition:
    """Return the acknowledgement by a person; after it, only an escalation or the end notifies.

    Raises:
        IncidentStateError: the incident is not firing.
    """
    if incident.state is not IncidentState.FIRING:
        raise IncidentStateError(incident_id=incident.incident_id, state=incident.state)
    return _changed(
        incident,
        IncidentState.ACKNOWLEDGED,
        TransitionReason.ACKNOWLEDGED,
        by=by,
        clearing_since=incident.clearing_since,
    )


def _not_open(incident: Incident | None, signal: Signal, at: datetime) -> Transition | None:
    to_state: IncidentState | None
    match signal.state, incident:
        case (SignalState.RAISED, _):
            reason, to_state = TransitionReason.OPENED, IncidentState.FIRING
        case (SignalState.PENDING, None):
            reason, to_state = TransitionReason.PENDING, IncidentState.PENDING
        case (SignalState.CLEARED, Incident()):
            reason, to_state = TransitionReason.FORGOTTEN, None
        case _:
            return None
    return Transition(
        kind=signal.kind,
        reason=reason,
        from_state=None if incident is None else incident.state,
        to_state=to_state,
        severity=signal.severity,
        summary=signal.summary,
        incident=incident,
        since=at if incident is None else incident.since,
    )


def _clearing(
    incident: Incident, signal: Signal, at: datetime, keep_firing_for: timedelta
) -> Transition | None:
    since = incident.clearing_since or at
    if at - since >= keep_firing_for:
        return _changed(
            incident,
            IncidentState.RESOLVED,
            TransitionReason.RESOLVED,
            summary=signal.summary,
            clearing_since=since,
        )
    if incident.clearing_since is not None:
        return None
    return _changed(incident, incident.state, TransitionReason.CLEARING, clearing_since=since)


def _changed(
    incident: Incident,
    to_state: IncidentState,
    reason: TransitionReason,
    *,
    severity: Severity | None = None,
    summary: str | None = None,
    clearing_since: datetime | None = None,
    by: str | None = None,
) -> Transition:
    return Transition(
        kind=incident.kind,
        reason=reason,
        from_state=incident.state,
        to_state=to_state,
        severity=severity or incident.severity,
        summary=incident.summary if summary is None else summary,
        incident=incident,
        since=incident.since,
        clearing_since=clearing_since,
        by=by,
    )


def _is_more_severe(one: Severity, other: Severity) -> bool:
    return SEVERITIES.index(one) > SEVERITIES.index(other)
