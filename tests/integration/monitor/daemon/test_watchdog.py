"""No cycle is evaluated any more, and none ends to tell of it."""

from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from db import outbox
from db.connection.session import writing
from db.cycles import ledger
from db.records import Delivery, QuietResult
from db.tables import deliveries, incidents
from monitor.daemon.watchdog import Watchdog
from monitor.settings import MonitorSection
from tests.support.records.conclusions import FAR, TOO_FEW
from tests.support.records.cycles import (
    MONITOR,
    UNCALIBRATED,
    Cycles,
    due_at,
    make_audience,
    make_policy,
    stored,
)
from tests.support.records.factories import (
    START,
    make_measurement,
    make_result,
    make_slot,
    make_teacher,
    make_traffic,
)
from triggers.alert_settings import LogAlert
from triggers.conclude_quiet import conclude_quiet
from triggers.incidents.undelivered import report_undelivered
from triggers.settings import DEFAULT_RULES, IncidentPolicy

MINUTE = timedelta(minutes=1)
SECTION = MonitorSection(name=MONITOR, every=timedelta(hours=1), lateness=timedelta(minutes=10))


def watchdog(run: Cycles, *, started_at: datetime = START) -> Watchdog:
    return Watchdog(run.engine, SECTION, make_audience(), calibration=UNCALIBRATED, started_at=started_at)


def told(run: Cycles) -> list[tuple[str, str]]:
    return [(row["kind"], row["state"]) for row in stored(run.engine, incidents)]


def test_three_slots_without_an_evaluated_cycle_make_the_monitor_blind(run: Cycles) -> None:
    """By the clock alone: a cycle that hangs says nothing. It is told once; an evaluated cycle ends it."""
    run.conclude(0)
    run.claim(1)
    dog = watchdog(run)
    assert not dog.check(due_at(2))
    assert not dog.check(due_at(3) - MINUTE)
    assert told(run) == []
    assert dog.check(due_at(3))
    assert dog.check(due_at(4))
    assert told(run) == [("blind", "firing")]
    (message,) = stored(run.engine, deliveries)
    assert "no cycle was evaluated for 3 slots, since 2026-11-24 11:10 UTC" in message["payload"]
    run.conclude(4)
    assert told(run) == [("blind", "resolved")]


def test_a_daemon_that_has_just_begun_waits_for_its_own_slots(run: Cycles) -> None:
    """After a night without one there is enough to catch up with, and nobody is woken for it."""
    run.conclude(0)
    dog = watchdog(run, started_at=make_slot(20).window_end)
    assert not dog.check(due_at(22) - MINUTE)
    assert dog.check(due_at(22))


def test_a_long_catch_up_is_not_blind(run: Cycles) -> None:
    """What counts is when a cycle ended, not which window it was about."""
    dog = watchdog(run, started_at=make_slot(20).window_end)
    run.conclude_claim(run.claim(1), now=due_at(22))
    assert not dog.check(due_at(24))


def test_a_quiet_night_is_not_blind_and_a_hang_in_it_is(run: Cycles) -> None:
    """Ten slots are counted and wait; in the eleventh the process hangs."""
    run.conclude(0)
    dog = watchdog(run)
    for index in range(1, 11):
        with writing(run.engine) as connection:
            claim = ledger.claim(connection, make_slot(index), due_at(index), max_window=timedelta(hours=24))
        assert claim is not None
        assert not dog.check(due_at(index) + MINUTE)
        result = QuietResult(traffic=make_traffic(n_seen=90 * index, n_sampled=90 * index))
        now = due_at(index) + 2 * MINUTE
        conclude_quiet(run.engine, run.lease, claim, result, make_audience(), now=now)
        assert not dog.check(now + MINUTE)
    assert told(run) == []
    with writing(run.engine) as connection:
        ledger.claim(connection, make_slot(11), due_at(11), max_window=timedelta(hours=24))
    assert not dog.check(due_at(13) - MINUTE)
    assert dog.check(due_at(13))
    assert told(run) == [("blind", "firing")]


def test_a_process_that_dies_with_every_cycle_is_told(run: Cycles) -> None:
    """It is restarted and dies, time after time, as where a model does not fit into its memory."""
    run.conclude(0)
    run.claim(1)
    assert not watchdog(run, started_at=due_at(1)).check(due_at(1))
    assert told(run) == []
    for minutes in range(0, 180, 20):
        again = due_at(1) + (5 + minutes) * MINUTE
        run.claim(1)
        assert not watchdog(run, started_at=again).check(again + MINUTE)
    assert told(run) == [("blind", "pending")]
    dog = watchdog(run, started_at=due_at(4) + MINUTE)
    assert dog.check(due_at(4) + 2 * MINUTE)
    assert told(run) == [("blind", "firing")]
    (message,) = stored(run.engine, deliveries)
    assert "no cycle was evaluated for 3 slots, since 2026-11-24 12:16 UTC" in message["payload"]
    run.conclude(4)
    assert told(run) == [("blind", "resolved")]


def test_one_death_is_no_matter(run: Cycles) -> None:
    """The next attempt comes to an end: nothing is left of it. Nor is an old slot that is tried again."""
    run.claim(0)
    run.claim(0)
    watchdog(run).check(due_at(0))
    assert told(run) == [("blind", "pending")]
    run.conclude(1)
    run.claim(0)
    watchdog(run).check(due_at(1))
    assert told(run) == []


def test_an_unhealthy_teacher_is_told_as_such(run: Cycles) -> None:
    """No cycle is evaluated as long as it is, and everybody knows why."""
    lost = make_result(measurement=make_measurement(teacher=make_teacher(confidence=0.5)))
    for index in range(3):
        run.conclude(index)
    for index in range(3, 7):
        run.conclude(index, lost)
        assert not watchdog(run).check(due_at(index))
    assert told(run) == [("teacher-unhealthy", "firing")]


def test_a_channel_that_works_again_ends_its_incident_also_when_nothing_more_is_sent(run: Cycles) -> None:
    """It is damped, and no message comes for so long."""
    policy = IncidentPolicy(keep_firing_for=timedelta(hours=2))
    audience = make_audience((LogAlert(name="pager"), LogAlert(name="chat")), policy)
    run = replace(run, policy=make_policy(audience=audience, rules=DEFAULT_RULES[1:]))
    dog = Watchdog(run.engine, SECTION, audience, calibration=UNCALIBRATED, started_at=START)
    run.conclude(0, FAR)
    for index in range(1, 4):
        run.conclude(index)
    with writing(run.engine) as connection:
        first, second = settle(connection, "pager"), settle(connection, "pager", accepts=True)
        assert (first.event, second.event) == ("firing", "resolved")
        report_undelivered(connection, audience, first, "HTTP 401", due_at(1))
    dog.check(due_at(4))
    dog.check(due_at(6) - MINUTE)
    assert ("alerts-undelivered", "firing") in told(run)
    dog.check(due_at(6))
    assert ("alerts-undelivered", "resolved") in told(run)


def settle(connection: Connection, channel: str, *, accepts: bool = False) -> Delivery:
    delivery = outbox.take_due(connection, MONITOR, channel, due_at(9), hold=timedelta(0))
    assert delivery is not None
    if accepts:
        outbox.mark_delivered(connection, delivery.delivery_id, due_at(9))
    else:
        outbox.mark_dead(connection, delivery.delivery_id, "HTTP 401")
    return delivery


def test_cycles_without_evidence_are_told_once(run: Cycles) -> None:
    """By the third of them, or by the clock: whoever is first."""
    for index in range(3):
        run.conclude(index, TOO_FEW)
    assert watchdog(run).check(due_at(5))
    assert told(run) == [("blind", "firing")]
    assert len(stored(run.engine, deliveries)) == 1
