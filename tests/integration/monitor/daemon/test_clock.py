"""Clocks that are set forward and back: no slot is lost or run before its time, and no message and no lease
waits for a time that is far away.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import apscheduler.schedulers.base
import pytest
from sqlalchemy import Engine, insert, select, update
from structlog.testing import capture_logs

from db import leases, outbox
from db.connection.session import reading, writing
from db.cycles import ledger
from db.errors import RedistillError
from db.records import Claim, CycleResult
from db.states import IncidentState, Severity
from db.tables import cycles, deliveries, incidents, rule_outcomes
from monitor.daemon.loop import Daemon
from monitor.daemon.schedule import make_trigger, slot_at
from monitor.daemon.slot_runner import SlotRunner
from monitor.daemon.watchdog import Watchdog
from monitor.settings import MonitorSection
from monitor.stop import Stopped, never_stopped
from redistill.process.readiness import checks
from tests.support.processes.clocks import Clocks, at, settable
from tests.support.processes.ticking import NO_CHANNELS
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import (
    MONITOR,
    UNCALIBRATED,
    Cycles,
    make_audience,
    make_policy,
    stored,
    taken,
)
from tests.support.records.factories import (
    HOUR,
    START,
    make_empty_result,
    make_measurement,
    make_result,
    make_slot,
)
from tests.support.world.installation import now
from triggers.settings import DEFAULT_RULES

HALF = 0.5  #: an hour's middle, where the clocks stand


@pytest.fixture
def clocks(database_url: str) -> Iterator[Clocks]:
    with settable(database_url) as found:
        found.set(at(HALF))
        yield found


class GoneError(RedistillError):
    """The log is gone."""


@dataclass(kw_only=True)
class Traffic:
    """A log in which the requests are that have come so far."""

    true: float = HALF  #: the hour that it really is
    fails: bool = False
    measured: list[float] = field(default_factory=list)

    def __call__(self, claim: Claim, _stopped: Stopped) -> CycleResult:
        end = hour(claim.slot.window_end)
        self.measured.append(end)
        if self.fails:
            raise GoneError
        if end <= self.true:
            return make_result()
        if end - 1 < self.true:
            return make_result(measurement=make_measurement(n=500))
        return make_empty_result()


def hour(time: datetime) -> float:
    return (time - at(0)) / HOUR


def runner(clocks: Clocks, traffic: Traffic, *, catch_up: str = "6h") -> SlotRunner:
    section = MonitorSection.model_validate(
        {"name": MONITOR, "every": "1h", "lateness": "0s", "catch_up": catch_up}
    )
    return SlotRunner(clocks.engine, section, traffic, make_policy(alerts=()))


def ledger_of(clocks: Clocks, *statuses: str) -> list[float]:
    """The ends of the windows in these states, in hours."""
    rows = stored(clocks.engine, cycles)
    return sorted(hour(row["window_end"]) for row in rows if row["status"] in statuses)


def hour_by_hour(clocks: Clocks, found: SlotRunner, traffic: Traffic, hours: range) -> None:
    for number in hours:
        traffic.true = number + HALF
        clocks.set(at(traffic.true))
        found.run_due(never_stopped)


# --- slots -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [5, 3 * 24])
def test_a_clock_that_was_ahead_for_a_while_costs_no_slot(clocks: Clocks, ahead: int) -> None:
    """It has run windows of which nothing was there, or skipped them, and some that are over, too."""
    traffic = Traffic()
    found = runner(clocks, traffic)
    hour_by_hour(clocks, found, traffic, range(3))
    traffic.true = 4 + HALF  # an hour was missed
    clocks.set(at(traffic.true + ahead))
    with capture_logs() as logs:
        found.run_due(never_stopped)
        assert max(ledger_of(clocks, "inconclusive")) == 4 + ahead
        before = len(traffic.measured)
        hour_by_hour(clocks, found, traffic, range(4, 9))
    assert [entry["event"] for entry in logs].count("clock was ahead") == 1
    assert set(range(9)) <= set(ledger_of(clocks, "evaluated"))
    late = [each for each in traffic.measured[before:] if each <= 4]
    assert late == ([3, 4] if ahead > 6 else [3])  # what was too old by it is not
    assert traffic.measured[before:][len(late) :] == [5, 6, 7, 8]
    all_of_it = runner(clocks, traffic, catch_up="2400h")
    hour_by_hour(clocks, all_of_it, traffic, range(ahead + 6, ahead + 7))
    rows = stored(clocks.engine, cycles)
    assert sorted(hour(row["window_end"]) for row in rows) == list(range(ahead + 7))
    assert {(row["status"], row["attempt"]) for row in rows} == {("evaluated", 1)}
    with reading(clocks.engine) as connection:
        told = connection.execute(select(rule_outcomes.c.cycle_id)).scalars().all()
    assert len(told) == len(DEFAULT_RULES) * len(rows)


def test_a_clock_that_is_ahead_of_the_databases_makes_nothing_due(clocks: Clocks) -> None:
    """It is told once; and the times that are written are the database's."""
    traffic = Traffic()
    found = runner(clocks, traffic)
    hour_by_hour(clocks, found, traffic, range(2))
    with capture_logs() as logs:
        for true in (1.6, 1.7, 2.5):
            traffic.true = true
            clocks.set_database(at(true))
            clocks.set_daemon(at(true + 30))
            found.run_due(never_stopped)
    assert traffic.measured == [0, 1, 2]
    assert ledger_of(clocks, "evaluated") == [0, 1, 2]
    assert [entry["seconds"] for entry in logs if entry["event"] == "clock is ahead"] == [30 * 3_600]
    assert max(row["finished_at"] for row in stored(clocks.engine, cycles)) < at(2.6)


def test_a_person_runs_a_cycle_on_a_machine_whose_clock_is_ahead(clocks: Clocks) -> None:
    """What is stored has the database's time, as with the daemon."""
    traffic = Traffic(true=1.5)
    clocks.set_database(at(1.5))
    clocks.set_daemon(at(31.5))
    assert runner(clocks, traffic).run([make_slot(0)], never_stopped) == 1
    (row,) = stored(clocks.engine, cycles)
    assert at(1.4) < row["started_at"] < row["finished_at"] < at(1.6)


def test_while_a_clock_is_behind_slots_wait_and_none_is_run_twice(clocks: Clocks) -> None:
    traffic = Traffic()
    found = runner(clocks, traffic, catch_up="72h")
    hour_by_hour(clocks, found, traffic, range(3))
    for behind in (2, 1):
        clocks.set(at(3 + HALF - behind))
        assert found.run_due(never_stopped) == 0
    hour_by_hour(clocks, found, traffic, range(4, 6))
    assert traffic.measured == [0, 1, 2, 3, 4, 5]
    assert ledger_of(clocks, "evaluated") == [0, 1, 2, 3, 4, 5]


def test_an_installation_that_was_begun_by_a_clock_that_was_ahead_begins_again(clocks: Clocks) -> None:
    traffic = Traffic()
    found = runner(clocks, traffic)
    clocks.set(at(3 + HALF))
    found.run_due(never_stopped)
    assert ledger_of(clocks, "inconclusive") == [3]
    hour_by_hour(clocks, found, traffic, range(5))
    assert traffic.measured == [3, 0, 1, 2, 3, 4]
    assert ledger_of(clocks, "evaluated") == [0, 1, 2, 3, 4]


def test_a_slot_that_failed_ahead_of_its_time_is_run_when_its_window_is_over(clocks: Clocks) -> None:
    traffic = Traffic()
    found = runner(clocks, traffic)
    hour_by_hour(clocks, found, traffic, range(1))
    traffic.fails = True
    clocks.set(at(2 + HALF))
    found.run_due(never_stopped)
    assert ledger_of(clocks, "failed") == [1, 2]
    traffic.fails = False
    clocks.set(at(HALF))
    assert found.run_due(never_stopped) == 0
    hour_by_hour(clocks, found, traffic, range(1, 4))
    assert traffic.measured == [0, 1, 2, 1, 2, 3]
    assert ledger_of(clocks, "evaluated") == [0, 1, 2, 3]


def test_what_was_seen_of_a_window_that_is_over_is_not_asked_again(clocks: Clocks) -> None:
    """An erased cycle neither, nor one that really was empty."""
    traffic = Traffic(true=-10)
    found = runner(clocks, traffic)
    found.run_due(never_stopped)
    assert ledger_of(clocks, "inconclusive") == [0]
    for _ in range(2):
        clocks.set(at(HALF))
        assert found.run_due(never_stopped) == 0
    assert traffic.measured == [0]


# --- a daemon that runs ----------------------------------------------------------------------------------

SECONDS = MonitorSection.model_validate({"name": MONITOR, "every": "1s", "lateness": "0s"})


def test_a_running_daemon_goes_on_when_its_clock_is_set_back_and_forward(
    clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ticks were to come at times that are now far away."""

    class Shifted(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]  # noqa: ANN401 - as the standard library's
            del tz
            return clocks.daemon()

    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Shifted)
    clocks.set(now())
    begun = make_trigger(SECONDS)
    with writing(clocks.engine) as connection:  # a ledger that is older than what the clock is set back
        ledger.skip(connection, [slot_at(begun, MONITOR, now() - timedelta(seconds=30))], now())
    calls: list[float] = []
    ended = threading.Event()

    def call(_now: datetime) -> int:
        calls.append(time.monotonic())
        return 0

    measure = Traffic(true=1e9)
    found = SlotRunner(clocks.engine, SECONDS, measure, make_policy(alerts=()))
    watchdog = Watchdog(
        clocks.engine,
        SECONDS,
        make_audience(),
        calibration=UNCALIBRATED,
        started_at=clocks.daemon(),
    )
    daemon = Daemon(found, watchdog, NO_CHANNELS, call, tick=timedelta(seconds=0.1))

    def reschedule() -> None:
        while not ended.wait(0.2):
            daemon.reschedule_after_clock_change()

    keeper = threading.Thread(target=reschedule)
    with capture_logs() as logs:
        daemon.start()
        keeper.start()
        try:
            wait_until(lambda: len(measure.measured) >= 30, "thirty cycles", timeout=30)
            clocks.set(now() - timedelta(seconds=20))
            since = time.monotonic()
            wait_until(
                lambda: any(each > since + 0.5 for each in calls), "a tick after the change", timeout=30
            )
            so_far = len(measure.measured)
            clocks.set(now())
            wait_until(lambda: len(measure.measured) >= so_far + 2, "two more cycles", timeout=30)
        finally:
            ended.set()
            keeper.join()
            assert daemon.stop()
    assert "clock set back" in [entry["event"] for entry in logs]
    ends = [row["window_end"] for row in stored(clocks.engine, cycles)]
    assert ends == [ends[0] + index * timedelta(seconds=1) for index in range(len(ends))]
    assert len(measure.measured) == len(set(measure.measured)) == len(ends) - 1


# --- what waits for a time -------------------------------------------------------------------------------


def acquire(engine: Engine, *, owner: str) -> object:
    with writing(engine) as connection:
        return leases.acquire(connection, "monitor:a", owner=owner, seconds=30)


def test_the_lease_of_a_dead_process_is_no_longer_held_when_the_databases_clock_is_set_back(
    clocks: Clocks,
) -> None:
    assert acquire(clocks.engine, owner="dead")
    assert not acquire(clocks.engine, owner="next")
    clocks.set(at(HALF - 1))
    with reading(clocks.engine) as connection:
        assert not leases.is_held(connection, "monitor:a")
    assert acquire(clocks.engine, owner="next")


def test_a_process_that_lives_keeps_its_lease_when_the_clock_is_set_back(clocks: Clocks) -> None:
    lease = taken(clocks.engine, "monitor:a", seconds=30)
    clocks.set(at(HALF - 1))
    with writing(clocks.engine) as connection:
        leases.renew(connection, lease, seconds=30)
    assert not acquire(clocks.engine, owner="next")


@pytest.mark.parametrize(("wait", "is_due"), [(0.99, False), (1.01, True), (30, True)])
def test_a_message_waits_for_no_more_than_an_hour(engine: Engine, *, wait: float, is_due: bool) -> None:
    """One that is to wait for longer was written before the clock was set back."""
    values: dict[str, Any] = {
        "monitor": MONITOR,
        "kind": "drift",
        "severity": "error",
        "state": "firing",
        "summary": "",
        "opened_at": START,
    }
    with writing(engine) as connection:
        (number,) = connection.execute(insert(incidents).values(values)).inserted_primary_key or (0,)
        outbox.add(
            connection,
            incident_id=number,
            channel="pager",
            event=IncidentState.FIRING,
            severity=Severity.ERROR,
            dedup_key="a",
            payload="{}",
            now=START,
        )
        connection.execute(update(deliveries).values(next_attempt_at=START + wait * HOUR))
        found = outbox.take_due(connection, MONITOR, "pager", START, hold=timedelta(minutes=2))
    assert (found is not None) is is_due


# --- who looks at the clock ------------------------------------------------------------------------------

SECTION = MonitorSection(name=MONITOR, every=HOUR, lateness=timedelta(minutes=10))


def look(dog: Watchdog, clocks: Clocks, time: datetime) -> bool:
    clocks.set_database(time)
    return dog.check(time)


def test_the_dead_mans_switch_is_not_put_off_by_a_clock_that_was_ahead(clocks: Clocks) -> None:
    """Neither by when the process began by it, nor by a cycle that ended by it."""
    run = Cycles(engine=clocks.engine, lease=taken(clocks.engine))
    far = START + 1_000 * HOUR
    dog = Watchdog(clocks.engine, SECTION, make_audience(), calibration=UNCALIBRATED, started_at=far)
    run.conclude_claim(run.claim(0), now=far)
    assert not look(dog, clocks, make_slot(1).window_end)
    assert not look(dog, clocks, make_slot(3).window_end)
    assert look(dog, clocks, make_slot(6).window_end)


def test_a_clock_that_is_ahead_wakes_nobody(clocks: Clocks) -> None:
    run = Cycles(engine=clocks.engine, lease=taken(clocks.engine))
    run.conclude(0)
    dog = Watchdog(clocks.engine, SECTION, make_audience(), calibration=UNCALIBRATED, started_at=START)
    clocks.set_database(make_slot(1).window_end)
    assert not dog.check(make_slot(9).window_end)
    found = checks(clocks.engine, SECTION, "running", make_slot(9).window_end)
    assert all(check.ok for check in found)


def test_a_window_of_a_clock_that_was_ahead_does_not_hide_that_a_slot_is_overdue(clocks: Clocks) -> None:
    run = Cycles(engine=clocks.engine, lease=taken(clocks.engine))
    run.conclude(0)
    run.conclude(40)
    overdue = make_slot(1).window_end + SECTION.lateness + timedelta(minutes=6)
    clocks.set_database(overdue)
    assert {c.name: c.ok for c in checks(clocks.engine, SECTION, "running", overdue)}["slots"] is False
