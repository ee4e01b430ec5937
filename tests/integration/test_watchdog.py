"""No cycle is evaluated any more, and none ends to tell of it."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import Engine

from db.tables import deliveries, incidents
from monitor.settings import MonitorSection
from monitor.watchdog import Watchdog
from tests.conclusions import TOO_FEW
from tests.cycles import MONITOR, Cycles, due_at, make_audience, stored, taken
from tests.factories import START, make_slot

MINUTE = timedelta(minutes=1)
SECTION = MonitorSection(name=MONITOR, every=timedelta(hours=1), lateness=timedelta(minutes=10))


@pytest.fixture
def run(engine: Engine) -> Cycles:
    return Cycles(engine=engine, lease=taken(engine))


def watchdog(run: Cycles, *, started_at: datetime = START) -> Watchdog:
    return Watchdog(run.engine, SECTION, make_audience(), calibrate_every=None, started_at=started_at)


def told(run: Cycles) -> list[tuple[str, str]]:
    return [(row["kind"], row["state"]) for row in stored(run.engine, incidents)]


def test_three_slots_without_an_evaluated_cycle_make_the_monitor_blind(run: Cycles) -> None:
    """By the clock alone: a cycle that hangs says nothing. It is told once; an evaluated cycle ends it."""
    run.conclude(0)
    run.claim(1)
    dog = watchdog(run)
    assert not dog.look(due_at(2))
    assert not dog.look(due_at(3) - MINUTE)
    assert told(run) == []
    assert dog.look(due_at(3))
    assert dog.look(due_at(4))
    assert told(run) == [("blind", "firing")]
    (message,) = stored(run.engine, deliveries)
    assert "no cycle was evaluated for 3 slots, since 2026-11-24 11:10 UTC" in message["payload"]
    run.conclude(4)
    assert told(run) == [("blind", "resolved")]


def test_a_daemon_that_has_just_begun_waits_for_its_own_slots(run: Cycles) -> None:
    """After a night without one there is enough to catch up with, and nobody is woken for it."""
    run.conclude(0)
    dog = watchdog(run, started_at=make_slot(20).window_end)
    assert not dog.look(due_at(22) - MINUTE)
    assert dog.look(due_at(22))


def test_a_long_catch_up_is_not_blind(run: Cycles) -> None:
    """What counts is when a cycle ended, not which window it was about."""
    dog = watchdog(run, started_at=make_slot(20).window_end)
    run.conclude_claim(run.claim(1), now=due_at(22))
    assert not dog.look(due_at(24))


def test_cycles_without_evidence_are_told_once(run: Cycles) -> None:
    """By the third of them, or by the clock: whoever is first."""
    for index in range(3):
        run.conclude(index, TOO_FEW)
    assert watchdog(run).look(due_at(5))
    assert told(run) == [("blind", "firing")]
    assert len(stored(run.engine, deliveries)) == 1
