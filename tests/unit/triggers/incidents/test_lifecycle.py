from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from db.records import Incident
from db.states import IncidentKind, IncidentState, Severity
from triggers.incidents.lifecycle import (
    SEVERITIES,
    TRANSITIONS,
    IncidentStateError,
    Signal,
    SignalState,
    Transition,
    TransitionReason,
    TransitionRefusedError,
    acknowledge,
    step,
)

DRIFT = IncidentKind.DRIFT
PENDING, FIRING = IncidentState.PENDING, IncidentState.FIRING
TAKEN, RESOLVED = IncidentState.ACKNOWLEDGED, IncidentState.RESOLVED
NOON, HOUR = datetime(2026, 11, 24, 12, tzinfo=UTC), timedelta(hours=1)


def make_incident(state: IncidentState, *, clearing_since: datetime | None = None) -> Incident:
    return Incident(
        incident_id=7,
        monitor="mangaassist",
        kind=DRIFT,
        severity=Severity.ERROR,
        state=state,
        summary="it drifts",
        opened_at=NOON - HOUR,
        resolved_at=None,
        cycle_id=1,
        job_id=None,
        since=NOON - 2 * HOUR,
        clearing_since=clearing_since,
        acknowledged_at=NOON if state is TAKEN else None,
    )


def moved(
    state: IncidentState | None, finding: str, severity: Severity = Severity.ERROR, keep: timedelta = HOUR * 0
) -> Transition | None:
    incident = None if state is None else make_incident(state)
    signal = Signal(kind=DRIFT, state=SignalState(finding), severity=severity, summary="now")
    return step(incident, signal, at=NOON, keep_firing_for=keep)


@pytest.mark.parametrize(
    ("state", "finding", "to_state", "event", "sentence"),
    [
        (None, "unknown", "stays", None, "nothing is known"),
        (None, "cleared", "stays", None, "nothing is wrong"),
        (None, "pending", PENDING, None, "it begins, and nobody is told"),
        (None, "raised", FIRING, FIRING, "it is told"),
        (PENDING, "unknown", "stays", None, "missing data is no end"),
        (PENDING, "pending", "stays", None, "not for long enough yet"),
        (PENDING, "cleared", None, None, "it came to nothing, and nobody is told"),
        (PENDING, "raised", FIRING, FIRING, "it has lasted"),
        (FIRING, "unknown", "stays", None, "missing data is no end"),
        (FIRING, "pending", "stays", None, "nor is less of it"),
        (FIRING, "raised", "stays", None, "it is told once"),
        (FIRING, "cleared", RESOLVED, RESOLVED, "it is over"),
        (TAKEN, "unknown", "stays", None, "missing data is no end"),
        (TAKEN, "raised", "stays", None, "somebody is at it"),
        (TAKEN, "cleared", RESOLVED, RESOLVED, "it is over"),
    ],
)
def test_what_follows_from_a_finding(
    state: IncidentState | None,
    finding: str,
    to_state: IncidentState | str | None,
    event: IncidentState | None,
    sentence: str,
) -> None:
    found = moved(state, finding)
    if to_state == "stays":
        assert found is None, sentence
    else:
        assert found is not None, sentence
        assert (found.from_state, found.to_state, found.event) == (state, to_state, event), sentence


@pytest.mark.parametrize("state", [FIRING, TAKEN])
def test_an_escalation_is_notified_again(state: IncidentState) -> None:
    """Also to who has taken it: a warning that somebody looks at tomorrow has become something else."""
    found = moved(state, "raised", Severity.CRITICAL)
    assert found is not None
    assert (found.to_state, found.event, found.severity) == (FIRING, FIRING, Severity.CRITICAL)
    assert found.reason is TransitionReason.ESCALATED
    assert found.summary == "now"
    assert moved(state, "raised", Severity.WARNING) is None


def test_an_incident_opens_at_the_severity_that_was_raised_and_since_it_was_pending() -> None:
    """A pending one may have had a lower severity."""
    found = moved(PENDING, "raised", Severity.CRITICAL)
    assert found is not None
    assert (found.severity, found.since) == (Severity.CRITICAL, NOON - 2 * HOUR)
    assert found.reason is TransitionReason.OPENED
    new = moved(None, "raised")
    assert new is not None
    assert new.since == NOON


def test_an_end_must_last_as_long_as_it_is_damped_for() -> None:
    """What flaps fires on: it is over when it was over for `keep_firing_for` without a break."""
    cleared = Signal(kind=DRIFT, state=SignalState.CLEARED, summary="well")
    begun = step(make_incident(FIRING), cleared, at=NOON, keep_firing_for=2 * HOUR)
    assert begun is not None
    assert (begun.to_state, begun.event, begun.clearing_since) == (FIRING, None, NOON)
    assert begun.reason is TransitionReason.CLEARING
    clearing = make_incident(FIRING, clearing_since=NOON)
    assert step(clearing, cleared, at=NOON + HOUR, keep_firing_for=2 * HOUR) is None
    over = step(clearing, cleared, at=NOON + 2 * HOUR, keep_firing_for=2 * HOUR)
    assert over is not None
    assert (over.reason, over.event, over.summary) == (TransitionReason.RESOLVED, RESOLVED, "well")
    for finding in (SignalState.PENDING, SignalState.RAISED):
        again = step(
            clearing, Signal(kind=DRIFT, state=finding), at=NOON + 2 * HOUR, keep_firing_for=2 * HOUR
        )
        assert again is not None
        assert (again.to_state, again.event, again.clearing_since) == (FIRING, None, None)
        assert again.reason is TransitionReason.RECURRED
    unknown = Signal(kind=DRIFT, state=SignalState.UNKNOWN)
    assert step(clearing, unknown, at=NOON + 5 * HOUR, keep_firing_for=2 * HOUR) is None


@pytest.mark.parametrize("state", list(IncidentState))
def test_only_a_firing_incident_can_be_taken(state: IncidentState) -> None:
    if state is FIRING:
        taken = acknowledge(make_incident(FIRING, clearing_since=NOON), "ada")
        assert (taken.event, taken.by, taken.clearing_since) == (TAKEN, "ada", NOON)
        assert taken.reason is TransitionReason.ACKNOWLEDGED
    else:
        with pytest.raises(IncidentStateError, match=f"Incident 7 is {state}"):
            acknowledge(make_incident(state), "ada")


def test_every_transition_that_the_table_does_not_allow_is_refused() -> None:
    allowed = {
        (None, PENDING),
        (None, FIRING),
        (PENDING, None),
        (PENDING, FIRING),
        (FIRING, FIRING),
        (FIRING, TAKEN),
        (FIRING, RESOLVED),
        (TAKEN, TAKEN),
        (TAKEN, FIRING),
        (TAKEN, RESOLVED),
    }
    for from_state, to_state in product([None, *IncidentState], [None, *IncidentState]):
        assert (to_state in TRANSITIONS[from_state]) == ((from_state, to_state) in allowed)
        if (from_state, to_state) in allowed:
            make_transition(from_state, to_state)
        else:
            with pytest.raises(TransitionRefusedError, match="drift cannot go from"):
                make_transition(from_state, to_state)


def make_transition(from_state: IncidentState | None, to_state: IncidentState | None) -> Transition:
    return Transition(
        kind=DRIFT,
        reason=TransitionReason.OPENED,
        from_state=from_state,
        to_state=to_state,
        severity=Severity.ERROR,
        summary="",
        incident=None,
    )


class Life(RuleBasedStateMachine):
    """One kind of incident under any findings, against what the on-call would say of them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.keep = timedelta(0)
        self.incident: Incident | None = None
        self.told: list[tuple[IncidentState, Severity]] = []  #: of the present incident
        self.cleared_since: datetime | None = None

    @rule(hours=st.integers(0, 3))
    def damp(self, hours: int) -> None:
        self.keep = hours * HOUR

    @rule(finding=st.sampled_from(SignalState), severity=st.sampled_from(Severity))
    def find(self, finding: SignalState, severity: Severity) -> None:
        self.now += HOUR
        if finding is SignalState.CLEARED:
            self.cleared_since = self.cleared_since or self.now
        elif finding is not SignalState.UNKNOWN:
            self.cleared_since = None
        before, n_told = self.incident, len(self.told)
        signal = Signal(kind=DRIFT, state=finding, severity=severity)
        self.apply(step(self.incident, signal, at=self.now, keep_firing_for=self.keep))
        is_open = self.incident is not None and self.incident.state in {FIRING, TAKEN}
        if finding is SignalState.RAISED:
            assert is_open
        if finding is SignalState.UNKNOWN:
            assert (self.incident, len(self.told)) == (before, n_told)
        if finding is SignalState.CLEARED and is_open:
            assert self.cleared_since is not None
            assert self.now - self.cleared_since < self.keep

    @precondition(lambda self: self.incident is not None and self.incident.state is FIRING)
    @rule()
    def take(self) -> None:
        assert self.incident is not None
        self.apply(acknowledge(self.incident, "ada"))

    def apply(self, transition: Transition | None) -> None:
        if transition is None:
            return
        before = self.incident or make_incident(PENDING)
        if self.incident is None:
            self.told = []
        if transition.event is not None:
            self.told.append((transition.event, transition.severity))
        if transition.to_state in {None, RESOLVED}:
            self.incident = None
            self.cleared_since = None
            return
        assert transition.to_state is not None
        self.incident = replace(
            before,
            state=transition.to_state,
            severity=transition.severity,
            clearing_since=transition.clearing_since,
        )

    @invariant()
    def is_told_in_order(self) -> None:
        """Firing first, again only on escalation; the end last and once; each event once a severity."""
        events = [event for event, _ in self.told]
        assert events[:1] in ([], [FIRING])
        assert RESOLVED not in events[:-1]
        assert len(set(self.told)) == len(self.told)
        fired_at = [SEVERITIES.index(severity) for event, severity in self.told if event is FIRING]
        assert fired_at == sorted(set(fired_at))


Life.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestLife = Life.TestCase
