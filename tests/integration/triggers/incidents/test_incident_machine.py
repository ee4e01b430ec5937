"""Incidents in the database, whatever is found and however late it is written: nothing is lost or doubled.

Several processes look at a monitor. Each decides by what it has seen and writes when it comes to it: what was
changed meanwhile is refused as a whole, and what is done is told to those who should hear of it, once.
"""

import uuid
from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, Engine, select

from db import incidents
from db.connection.session import reading, writing
from db.records import Incident
from db.states import IncidentKind, IncidentState, Severity
from db.tables import deliveries
from db.tables import incidents as table
from tests.support.records.factories import HOUR, START
from triggers.alert_settings import LogAlert
from triggers.incidents.announce import Audience, Occasion, announce, carry_out
from triggers.incidents.lifecycle import (
    SEVERITIES,
    TRANSITIONS,
    IncidentStateError,
    Signal,
    SignalState,
    Transition,
    TransitionReason,
    acknowledge,
    step,
)
from triggers.settings import IncidentPolicy

KINDS: Final = (IncidentKind.DRIFT, IncidentKind.BLIND)
#: What says something is found more often than what does not, and mostly of one kind: so more follows.
OF_KINDS: Final = st.sampled_from((IncidentKind.DRIFT, IncidentKind.DRIFT, IncidentKind.BLIND))
SIGNAL_STATES: Final = st.sampled_from(
    (*SignalState, SignalState.PENDING, SignalState.RAISED, SignalState.RAISED)
)
FIRING: Final = IncidentState.FIRING
ALERTS: Final = (
    LogAlert(name="all"),
    LogAlert(name="loud", severities=(Severity.ERROR, Severity.CRITICAL)),
    LogAlert(name="no drift", except_kinds=(IncidentKind.DRIFT,)),
)
Told = tuple[str, IncidentKind, IncidentState, Severity]


class Lives(RuleBasedStateMachine):
    """One monitor's incidents, and who was told of them."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        self.audience = Audience(
            monitor=uuid.uuid4().hex, alerts=ALERTS, policy=IncidentPolicy(keep_firing_for=HOUR)
        )
        self.at = START
        self.thought: list[Transition] = []  #: what slow processes have decided, and not yet written
        self.keys: dict[str, IncidentKind] = {}  #: of all incidents of which anybody was told

    def rows(self) -> list[dict[str, Any]]:
        query = select(table).where(table.c.monitor == self.audience.monitor).order_by(table.c.id)
        with reading(self.engine) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def messages(self) -> list[dict[str, Any]]:
        query = (
            select(deliveries, table.c.kind)
            .join(table)
            .where(table.c.monitor == self.audience.monitor)
            .order_by(deliveries.c.id)
        )
        with reading(self.engine) as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def unresolved(self) -> dict[IncidentKind, list[Incident]]:
        with reading(self.engine) as connection:
            found = incidents.unresolved(connection, self.audience.monitor)
        return {kind: [each for each in found if each.kind is kind] for kind in KINDS}

    def seen(self, kind: IncidentKind) -> Incident | None:
        """As `announce` looks at it: the open one, or else the one that is pending."""
        found = self.unresolved()[kind]
        return min(found, key=lambda each: each.state is IncidentState.PENDING, default=None)

    @property
    def occasion(self) -> Occasion:
        return Occasion(at=self.at, now=self.at, details={})

    @rule(kind=OF_KINDS, state=SIGNAL_STATES, severity=st.sampled_from(Severity))
    def think(self, kind: IncidentKind, state: SignalState, severity: Severity) -> None:
        """A process decides by what it sees now."""
        signal = Signal(kind=kind, state=state, severity=severity, summary="thought")
        found = step(self.seen(kind), signal, at=self.at, keep_firing_for=HOUR)
        if found is not None:
            self.thought.append(found)

    @rule(
        kind=OF_KINDS,
        states=st.tuples(SIGNAL_STATES, SIGNAL_STATES),
        severities=st.tuples(st.sampled_from(Severity), st.sampled_from(Severity)),
    )
    def race(
        self,
        kind: IncidentKind,
        states: tuple[SignalState, SignalState],
        severities: tuple[Severity, Severity],
    ) -> None:
        """Two see the same, find two things, and write one after the other."""
        before = len(self.thought)
        for state, severity in zip(states, severities, strict=True):
            self.think(kind, state, severity)
        for _ in self.thought[before:]:
            self.write(before, 0)

    @rule(kind=OF_KINDS)
    def think_of_taking(self, kind: IncidentKind) -> None:
        seen = self.seen(kind)
        if seen is None:
            return
        if seen.state is not FIRING:
            with pytest.raises(IncidentStateError):
                acknowledge(seen, "ada")
            return
        self.thought.append(acknowledge(seen, "ada"))

    @precondition(lambda self: self.thought)
    @rule(which=st.integers(min_value=0), hours=st.integers(0, 2))
    def write(self, which: int, hours: int) -> None:
        """It comes to write what it has decided; much may have happened meanwhile."""
        self.at += hours * HOUR
        transition = self.thought.pop(which % len(self.thought))
        self.check(transition)

    @rule(
        kind=OF_KINDS,
        state=SIGNAL_STATES,
        severity=st.sampled_from(Severity),
        hours=st.integers(0, 2),
    )
    def find(self, kind: IncidentKind, state: SignalState, severity: Severity, hours: int) -> None:
        """A process that is quick."""
        self.at += hours * HOUR
        signal = Signal(kind=kind, state=state, severity=severity, summary="found")
        expected = step(self.seen(kind), signal, at=self.at, keep_firing_for=HOUR)
        if expected is not None:
            self.check(expected, signal)
            return
        before = self.rows(), self.messages()
        with writing(self.engine) as connection:
            announce(connection, self.audience, [signal], self.occasion)
        assert (self.rows(), self.messages()) == before

    @rule(kind=OF_KINDS)
    def end(self, kind: IncidentKind) -> None:
        """It is over, and for long enough."""
        for _ in range(2):
            self.find(kind, SignalState.CLEARED, Severity.INFO, 1)
        seen = self.seen(kind)
        assert seen is None or seen.state is IncidentState.PENDING

    def check(self, transition: Transition, signal: Signal | None = None) -> None:
        """Write it, by `announce` where there is a signal, and see what has come of it."""
        is_possible = self.is_possible(transition)
        rows, messages = self.rows(), self.messages()
        with writing(self.engine) as connection:
            if signal is None:
                done = carry_out(connection, self.audience, transition, self.occasion)
                assert done == is_possible or transition.to_state is None
            else:
                announce(connection, self.audience, [signal], self.occasion)
        if not is_possible:
            assert (self.rows(), self.messages()) == (rows, messages)
            return
        assert self.messages()[: len(messages)] == messages
        self.check_row(transition, rows)
        self.check_told(transition, messages)

    def is_possible(self, transition: Transition) -> bool:
        """Whether what it changes still is as it was seen."""
        now, seen = self.unresolved()[transition.kind], transition.incident
        if seen is None:
            pending = [each for each in now if each.state is IncidentState.PENDING]
            others = len(now) - len(pending)
            return not (pending if transition.to_state is IncidentState.PENDING else others)
        is_alone = all(each.incident_id == seen.incident_id for each in now)
        stands_beside = seen.state is IncidentState.PENDING and transition.to_state is FIRING and not is_alone
        return any(_same(each, seen) for each in now) and not stands_beside

    def check_row(self, transition: Transition, before: list[dict[str, Any]]) -> None:
        rows = {row["id"]: row for row in self.rows()}
        own = transition.incident.incident_id if transition.incident else max(rows)
        others = [row for row in before if row["id"] != own]
        assert [row for row in self.rows() if row["id"] != own] == others
        if transition.to_state is None:
            assert own not in rows
            return
        row, state = rows[own], transition.to_state
        assert row["state"] == (FIRING if state is IncidentState.ACKNOWLEDGED else state)
        assert (row["acknowledged_at"] is not None) == (
            state is IncidentState.ACKNOWLEDGED
            or (state is IncidentState.RESOLVED and transition.from_state is IncidentState.ACKNOWLEDGED)
        )
        assert row["severity"] == transition.severity
        assert (row["resolved_at"] is not None) == (state is IncidentState.RESOLVED)

    def check_told(self, transition: Transition, before: list[dict[str, Any]]) -> None:
        """Who hears of it, and by which key."""
        new, event = self.messages()[len(before) :], transition.event
        if event is None:
            assert not new
            return
        is_new = transition.from_state in {None, IncidentState.PENDING}
        own = transition.incident.incident_id if transition.incident else self.rows()[-1]["id"]
        heard = set() if is_new else {row["channel"] for row in before if row["incident_id"] == own}
        hears = {alert.name for alert in ALERTS if alert.hears(transition.kind, transition.severity)}
        assert {row["channel"] for row in new} == (heard | hears if event is FIRING else heard)
        assert len({row["channel"] for row in new}) == len(new)
        assert {(row["event"], row["severity"], row["kind"]) for row in new} <= {
            (event, transition.severity, transition.kind)
        }
        for key in {row["dedup_key"] for row in new}:
            assert (key in self.keys) == bool(heard), "a key is one incident's, whatever its number"
            self.keys[key] = transition.kind

    @invariant()
    def one_of_a_kind(self) -> None:
        for found in self.unresolved().values():
            pending = sum(each.state is IncidentState.PENDING for each in found)
            assert pending <= 1
            assert len(found) - pending <= 1

    @invariant()
    def each_channel_hears_a_story_in_its_order(self) -> None:
        told: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for row in self.messages():
            event = (row["event"], SEVERITIES.index(row["severity"]))
            told.setdefault((row["channel"], row["dedup_key"]), []).append(event)
        for story in told.values():
            assert story[0][0] == FIRING
            assert "resolved" not in [event for event, _ in story[:-1]]
            assert len(set(story)) == len(story)
            assert [severity for _, severity in story] == sorted(severity for _, severity in story)


def _same(one: Incident, other: Incident) -> bool:
    return replace(one, summary="") == replace(other, summary="")


def test_what_is_told_of_incidents_whoever_writes_and_however_late(engine: Engine) -> None:
    run_state_machine_as_test(
        type("Machine", (Lives,), {"engine": engine}),
        settings=settings(
            max_examples=settings().max_examples // (4 if engine.dialect.name == "sqlite" else 12),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


MOVES: Final = [
    (start, end)
    for start, ends in TRANSITIONS.items()
    for end in sorted(ends, key=str)
    if start not in {None, IncidentState.RESOLVED}
]
#: The reason of each move; that of one to `firing` from there is an escalation.
REASONS: Final = {
    (IncidentState.PENDING, FIRING): TransitionReason.OPENED,
    (IncidentState.PENDING, None): TransitionReason.FORGOTTEN,
    (FIRING, FIRING): TransitionReason.ESCALATED,
    (FIRING, IncidentState.ACKNOWLEDGED): TransitionReason.ACKNOWLEDGED,
    (FIRING, IncidentState.RESOLVED): TransitionReason.RESOLVED,
    (IncidentState.ACKNOWLEDGED, FIRING): TransitionReason.ESCALATED,
    (IncidentState.ACKNOWLEDGED, IncidentState.ACKNOWLEDGED): TransitionReason.CLEARING,
    (IncidentState.ACKNOWLEDGED, IncidentState.RESOLVED): TransitionReason.RESOLVED,
}
#: What another process has written meanwhile.
MEANWHILE: Final[dict[str, dict[str, Any]]] = {
    "nothing": {"summary": "the same"},
    "it escalated": {"severity": Severity.CRITICAL},
    "it is over for now": {"clearing_since": START},
    "it fired": {"state": FIRING},
    "somebody took it": {"state": FIRING, "acknowledged_at": START},
    "it was resolved": {"state": IncidentState.RESOLVED, "resolved_at": START},
    "another one has its number": {"kind": IncidentKind.BLIND},
}


@pytest.mark.parametrize(("start", "end"), MOVES)
def test_what_was_changed_meanwhile_is_refused(
    engine: Engine, start: IncidentState, end: IncidentState | None
) -> None:
    """Every move of the table, whatever else has happened to its incident: one of the two is done."""
    audience = Audience(monitor="mangaassist", alerts=ALERTS, policy=IncidentPolicy())
    occasion = Occasion(at=START, now=START, details={})
    signal = Signal(
        kind=IncidentKind.DRIFT, state=SignalState.RAISED, severity=Severity.ERROR, summary="the same"
    )
    with writing(engine) as connection:
        announce(connection, audience, [signal], occasion)
        if start is IncidentState.PENDING:  # nobody was told of it
            connection.execute(deliveries.delete())
            connection.execute(table.update().values(state=start))
        if start is IncidentState.ACKNOWLEDGED:
            connection.execute(table.update().values(acknowledged_at=START))
        found = connection.execute(select(table)).all()
        (seen,) = incidents.unresolved(connection, "mangaassist")
        assert seen.state is start
        transition = Transition(
            kind=IncidentKind.DRIFT,
            reason=REASONS[start, end],
            from_state=start,
            to_state=end,
            severity=Severity.CRITICAL if end is FIRING else Severity.ERROR,
            summary="late",
            incident=seen,
            clearing_since=START if end is start is IncidentState.ACKNOWLEDGED else None,
            by="ada",
        )
        for meanwhile, values in MEANWHILE.items():
            with connection.begin_nested() as savepoint:
                connection.execute(table.update().values(values))
                before, n_told = connection.execute(select(table)).all(), count(connection)
                carry_out(connection, audience, transition, occasion)
                is_done = connection.execute(select(table)).all() != before
                assert is_done == (before == found), meanwhile
                assert is_done or count(connection) == n_told, meanwhile
                savepoint.rollback()


def count(connection: Connection) -> int:
    return len(connection.execute(select(deliveries)).all())
