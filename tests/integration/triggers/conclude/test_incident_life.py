"""An incident is pending, escalates, is acknowledged, and ends when it was over for long enough."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Connection, Engine

from db import incidents as incidents_db
from db import outbox
from db.connection.session import reading, writing
from db.records import Delivery
from db.states import IncidentKind, IncidentState, Severity
from db.tables import deliveries, incidents
from db.views import rows
from tests.support.records.conclusions import (
    FAR,
    HEALTHY,
    LOW,
    TOO_FEW,
    incident_list,
    message_list,
    with_policy,
)
from tests.support.records.cycles import MONITOR, Cycles, due_at, make_audience, stored
from tests.support.records.factories import make_measurement, make_result, make_slot
from triggers.alert_settings import LogAlert
from triggers.incidents.announce import Occasion, announce, carry_out
from triggers.incidents.lifecycle import Signal, SignalState, acknowledge
from triggers.settings import DEFAULT_RULES, IncidentPolicy, Rule


def states(run: Cycles) -> list[tuple[str, str]]:
    return [(row["kind"], row["state"]) for row in stored(run.engine, incidents)]


def test_a_breach_is_pending_until_its_rule_fires(run: Cycles) -> None:
    """Nobody is told; and what comes to nothing leaves no row."""
    run.conclude(0, LOW)
    assert states(run) == [("drift", "pending")]
    run.conclude(1)
    assert states(run) == message_list(run) == []
    for index in range(2, 5):
        run.conclude(index, LOW)
    assert states(run) == [("drift", "firing")]
    assert message_list(run) == [(stored(run.engine, incidents)[0]["id"], "log", "firing")]
    with reading(run.engine) as connection:
        (shown,) = rows(connection, "incident_history", order_by="incident_id")
    assert (shown["since"], shown["opened_at"]) == (make_slot(2).window_end, due_at(4))
    run.conclude(5)
    messages = [json.loads(row["payload"]) for row in stored(run.engine, deliveries)]
    assert [each["event"] for each in messages] == ["firing", "resolved"]
    assert {(each["since"], each["opened_at"]) for each in messages} == {
        ("2026-11-24T13:00:00Z", "2026-11-24T15:10:00Z")
    }


def test_pending_incidents_are_not_in_the_history(run: Cycles) -> None:
    run.conclude(0, LOW)
    with reading(run.engine) as connection:
        assert rows(connection, "incident_history", order_by="incident_id") == []


EARLY = Rule(
    name="early",
    metric="agreement",
    below=Decimal("0.97"),
    action="alert",
    severity=Severity.WARNING,
)
QUIET = LogAlert(name="quiet", severities=(Severity.INFO, Severity.WARNING))
PAGER = LogAlert(name="pager", severities=(Severity.ERROR, Severity.CRITICAL))


def test_a_drift_that_gets_louder_is_told_to_those_who_did_not_hear_of_it(run: Cycles) -> None:
    """An early warning must not hide the page that follows; all who heard of it hear of its end."""
    run = with_policy(run, rules=(*DEFAULT_RULES, EARLY), alerts=(QUIET, PAGER))
    for index in range(4):
        run.conclude(index, LOW)
    assert incident_list(run) == [("drift", "error", "firing")]
    assert message_list(run) == [(1, "quiet", "firing"), (1, "quiet", "firing"), (1, "pager", "firing")]
    run.conclude(4, make_result(measurement=make_measurement(disagreements=0)))
    assert message_list(run)[3:] == [(1, "quiet", "resolved"), (1, "pager", "resolved")]
    with writing(run.engine) as connection:
        keys = [outbox_message(connection, name).key for name in ("quiet", "pager")]
    start, _, digits = keys[0].removesuffix(":firing:warning").rpartition(":")
    assert (start, len(digits)) == (f"redistill:mangaassist:1:{make_slot(0).window_end:%Y%m%dT%H%M%SZ}", 12)
    assert keys == [f"{start}:{digits}:firing:warning", f"{start}:{digits}:firing:error"]


def outbox_message(connection: Connection, channel: str) -> Delivery:
    found = outbox.take_due(connection, MONITOR, channel, due_at(9), hold=timedelta(hours=1))
    assert found is not None
    return found


def test_who_takes_an_incident_is_told_to_all_who_heard_of_it(run: Cycles) -> None:
    """It stays taken while it lasts, and comes back when it gets louder."""
    run = with_policy(run, rules=(*DEFAULT_RULES, EARLY), alerts=(QUIET, PAGER))
    run.conclude(0, LOW)
    take(run, "ada")
    run.conclude(1, LOW)
    with reading(run.engine) as connection:
        (taken,) = incidents_db.firing(connection, MONITOR)
        (shown,) = rows(connection, "incident_history", order_by="incident_id")
    assert (taken.state, taken.acknowledged_by) == (IncidentState.ACKNOWLEDGED, "ada")
    assert (shown["state"], shown["acknowledged_by"]) == ("acknowledged", "ada")
    run.conclude(2, LOW)
    with reading(run.engine) as connection:
        (louder,) = incidents_db.firing(connection, MONITOR)
    assert (louder.state, louder.severity, louder.acknowledged_by) == ("firing", "error", None)
    take(run, "grace")
    assert message_list(run) == [
        (1, "quiet", "firing"),
        (1, "quiet", "acknowledged"),
        (1, "quiet", "firing"),
        (1, "pager", "firing"),
        (1, "quiet", "acknowledged"),
        (1, "pager", "acknowledged"),
    ]


def take(run: Cycles, by: str) -> None:
    with writing(run.engine) as connection:
        (incident,) = incidents_db.firing(connection, MONITOR)
        occasion = Occasion(at=due_at(9), now=due_at(9), details={})
        assert carry_out(connection, run.policy.audience, acknowledge(incident, by), occasion)
        assert not carry_out(connection, run.policy.audience, acknowledge(incident, by), occasion)


def test_a_drift_that_flaps_is_one_incident(run: Cycles) -> None:
    """With `keep_firing_for` it ends when three windows in a row were well."""
    damped = with_policy(run, incidents=IncidentPolicy(keep_firing_for=timedelta(hours=2)))
    for index, result in enumerate((FAR, HEALTHY, FAR, HEALTHY, TOO_FEW, HEALTHY, HEALTHY)):
        damped.conclude(index, result)
        expected = "resolved" if index == 5 else "firing"
        if index <= 5:
            assert incident_list(run) == [("drift", "error", expected)], index
    assert message_list(run) == [(1, "log", "firing"), (1, "log", "resolved")]


def test_one_process_opens_an_incident_and_the_other_says_nothing(run: Cycles) -> None:
    """Whoever is faster has told; the other's decision is written all the same."""
    with writing(run.engine) as connection:
        incident_id = incidents_db.add(
            connection,
            monitor=MONITOR,
            kind=IncidentKind.DRIFT,
            severity=Severity.ERROR,
            state=IncidentState.FIRING,
            summary="first",
            cycle_id=None,
            job_id=None,
            since=None,
            now=due_at(0),
        )
        again = incidents_db.add(
            connection,
            monitor=MONITOR,
            kind=IncidentKind.DRIFT,
            severity=Severity.ERROR,
            state=IncidentState.FIRING,
            summary="second",
            cycle_id=None,
            job_id=None,
            since=None,
            now=due_at(0),
        )
    assert (incident_id, again) == (1, None)


def test_what_is_raised_while_another_process_resolves_it_opens_anew(postgres_engine: Engine) -> None:
    """It waits for that to be written: otherwise it would find it open still, and nobody would hear of it.

    On SQLite no one else reads between the two.
    """
    audience = make_audience()
    raised, cleared = (
        Signal(kind=IncidentKind.JOB_FAILED, state=state)
        for state in (SignalState.RAISED, SignalState.CLEARED)
    )

    def write(signal: Signal) -> None:
        with writing(postgres_engine) as connection:
            announce(connection, audience, [signal], Occasion(at=due_at(1), now=due_at(1), details={}))

    write(raised)
    with ThreadPoolExecutor(1) as other:
        with writing(postgres_engine) as connection:
            announce(connection, audience, [cleared], Occasion(at=due_at(2), now=due_at(2), details={}))
            late = other.submit(write, raised)
            with pytest.raises(TimeoutError):
                late.result(0.5)
        late.result(10)
    assert [row["state"] for row in stored(postgres_engine, incidents)] == ["resolved", "firing"]
    events = [(row["incident_id"], row["event"]) for row in stored(postgres_engine, deliveries)]
    assert events == [(1, "firing"), (1, "resolved"), (2, "firing")]
