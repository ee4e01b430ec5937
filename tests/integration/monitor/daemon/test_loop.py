"""The daemon: every due slot once, whatever fails, stops or dies, and a loop that nothing ends but a stop."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update
from structlog.testing import capture_logs

from db.connection.session import writing
from db.cycles import ledger
from db.errors import RedistillError
from db.records import Claim, CycleResult, Lease, Slot
from db.states import Verdict
from db.tables import cycles, leases
from monitor.clock import utc_now
from monitor.daemon import slot_runner
from monitor.daemon.delivery_threads import Clock, Deliver, Deliveries
from monitor.daemon.loop import Daemon
from monitor.daemon.schedule import make_trigger, newest_complete_slot, slot_at
from monitor.daemon.slot_runner import MonitorBusyError, SlotRunner
from monitor.daemon.watchdog import Watchdog
from monitor.settings import MonitorSection
from monitor.stop import Stopped, StoppedError, never_stopped
from tests.support.processes.races import in_threads
from tests.support.processes.waiting import comes_true
from tests.support.records.cycles import (
    MONITOR,
    UNCALIBRATED,
    make_audience,
    make_policy,
    seized,
    stored,
    taken,
)
from tests.support.records.factories import make_measurement, make_result
from tests.support.records.tables import rename_table
from triggers.conclude import conclude

pytestmark = pytest.mark.usefixtures("logs")

DAY = timedelta(days=1)
TICK = timedelta(milliseconds=100)
BREACH = make_result(measurement=make_measurement(disagreements=600))

Measure = Callable[[Claim, Stopped], CycleResult]


class TrafficGoneError(RedistillError):
    """The folder {folder} is gone."""


def make_section(**fields: Any) -> MonitorSection:  # noqa: ANN401 - any field of the section
    """A slot a day, so that no test runs across the end of one, and no lateness."""
    usual = {"name": MONITOR, "every": "24h", "lateness": "0s", "catch_up": "720h"}
    return MonitorSection.model_validate({**usual, **fields})


def make_runner(engine: Engine, measure: Measure | None = None, **fields: Any) -> SlotRunner:  # noqa: ANN401
    section = make_section(**fields)
    return SlotRunner(engine, section, measure or Recorder(), make_policy(alerts=()))


@dataclass
class Recorder:
    """Measures every slot as healthy; what else happens meanwhile is its test's."""

    meanwhile: Callable[[Claim, Stopped], object] = lambda _claim, _stopped: None
    measured: list[int] = field(default_factory=list)

    def __call__(self, claim: Claim, stopped: Stopped) -> CycleResult:
        self.measured.append(age(claim.slot.window_end))
        self.meanwhile(claim, stopped)
        return make_result()

    def has_done(self, count: int) -> Stopped:
        return lambda: len(self.measured) >= count


def slot(days_ago: int, **fields: Any) -> Slot:  # noqa: ANN401 - any field of the section
    """The slot that ended so many midnights before the last one."""
    trigger = make_trigger(make_section(**fields))
    newest = newest_complete_slot(trigger, MONITOR, now=utc_now(), lateness=timedelta(0))
    return slot_at(trigger, MONITOR, newest.window_start - days_ago * DAY)


def age(window_end: datetime) -> int:
    """How many midnights before the last one."""
    return (slot(0).window_end - window_end) // DAY


def ended_within(catch_up: str) -> list[int]:
    """The ages of the slots that are not too old, oldest first; which they are is a matter of the hour."""
    since = utc_now() - make_section(catch_up=catch_up).catch_up
    return [days for days in range(9, -1, -1) if slot(days).window_end >= since]


def seed(engine: Engine, days_ago: int) -> None:
    """A ledger whose newest slot is that one."""
    with writing(engine) as connection:
        ledger.skip(connection, [slot(days_ago)], utc_now())


def written(engine: Engine) -> dict[int, str]:
    """The state of each slot by its age, oldest first."""
    rows = sorted(stored(engine, cycles), key=lambda row: row["window_end"])
    return {age(row["window_end"]): row["status"] for row in rows}


def row(engine: Engine, days_ago: int) -> dict[str, Any]:
    (found,) = (row for row in stored(engine, cycles) if age(row["window_end"]) == days_ago)
    return found


def back_date(engine: Engine, **times: timedelta) -> None:
    """Moves these times of all cycles into the past."""
    with writing(engine) as connection:
        for name, by in times.items():
            connection.execute(
                update(cycles).where(cycles.c[name].is_not(None)).values({name: utc_now() - by})
            )


def leave_running(engine: Engine, days_ago: int, *, attempts: int = 1) -> None:
    """The trace of a process that died with the slot so often."""
    with writing(engine) as connection:
        for _ in range(attempts):
            ledger.claim(connection, slot(days_ago), utc_now())


# --- which slots -----------------------------------------------------------------------------------------


def test_the_first_run_takes_the_newest_complete_slot(engine: Engine) -> None:
    runner = make_runner(engine, recorder := Recorder())
    assert runner.run_due(never_stopped) == 1
    assert recorder.measured == [0]
    assert written(engine) == {0: "evaluated"}
    assert runner.run_due(never_stopped) == 0
    assert recorder.measured == [0]


def test_what_was_missed_is_caught_up_oldest_first(engine: Engine) -> None:
    seed(engine, 5)
    runner = make_runner(engine, recorder := Recorder())
    assert runner.run_due(never_stopped) == 5
    assert recorder.measured == [4, 3, 2, 1, 0]


def test_what_is_older_than_catch_up_is_skipped_and_recorded(engine: Engine) -> None:
    seed(engine, 5)
    runner = make_runner(engine, recorder := Recorder(), catch_up="60h")
    due = ended_within("60h")
    assert runner.run_due(never_stopped) == len(due)
    assert recorder.measured == due
    expected = {days: "evaluated" if days in due else "skipped" for days in range(5, -1, -1)}
    assert written(engine) == expected
    assert row(engine, 4)["verdict_reason"] == "too_old"


def test_what_a_run_by_hand_has_left_out_is_caught_up(engine: Engine) -> None:
    """An operator runs the newest slot while the daemon is down; the ones before it are not forgotten.

    They are judged, but they speak of the past: they order nothing.
    """
    seed(engine, 5)
    runner = make_runner(engine, recorder := Recorder())
    assert runner.run([slot(1)], never_stopped) == 1
    assert runner.run_due(never_stopped) == 4
    assert recorder.measured == [1, 4, 3, 2, 0]
    assert set(written(engine).values()) == {"skipped", "evaluated"}
    assert runner.run_due(never_stopped) == 0


def test_what_a_run_by_hand_has_left_out_long_ago_stays_out(engine: Engine) -> None:
    seed(engine, 20)
    runner = make_runner(engine, recorder := Recorder(), catch_up="60h")
    runner.run([slot(0)], never_stopped)
    runner.run_due(never_stopped)
    assert recorder.measured == [0, *ended_within("60h")[:-1]]
    assert set(written(engine)) == {20, *recorder.measured}


def test_after_a_change_of_every_windows_never_overlap(engine: Engine) -> None:
    """Three-day windows begin where the last day ended, also those that a person runs."""
    make_runner(engine, Recorder()).run([slot(days) for days in (8, 7, 6)], never_stopped)
    runner = make_runner(engine, recorder := Recorder(), every="3d")
    runner.run([slot(days, every="3d") for days in (6, 3, 0)], never_stopped)
    runner.run_due(never_stopped)
    assert recorder.measured
    rows = sorted(stored(engine, cycles), key=lambda row: row["window_end"])
    starts, ends = [row["window_start"] for row in rows], [row["window_end"] for row in rows]
    assert all(start >= end for start, end in zip(starts[1:], ends, strict=False))
    assert starts[3] == ends[2]


def test_slots_by_hand_run_in_the_given_order_and_never_twice(engine: Engine) -> None:
    runner = make_runner(engine, recorder := Recorder())
    assert runner.run([slot(1), slot(3)], never_stopped) == 2
    assert runner.run([slot(3), slot(2), slot(1)], never_stopped) == 1
    assert recorder.measured == [1, 3, 2]


# --- failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (TrafficGoneError(folder="logs/"), "The folder logs/ is gone."),
        (ValueError("two\n  lines"), "ValueError: two lines"),
    ],
)
def test_a_slot_that_fails_says_why_and_holds_up_no_other(
    engine: Engine, error: Exception, line: str
) -> None:
    def fail_once(claim: Claim, _stopped: Stopped) -> None:
        if age(claim.slot.window_end) == 1 and claim.attempt == 1:
            raise error

    seed(engine, 3)
    runner = make_runner(engine, recorder := Recorder(fail_once))
    with capture_logs() as logs:
        assert runner.run_due(never_stopped) == 3
    (told,) = [entry for entry in logs if entry["event"] == "cycle failed"]
    is_expected = isinstance(error, RedistillError)  # its message says what to do, and needs no traceback
    assert (told["error"], told["expected"], told["exc_info"]) == (line, is_expected, not is_expected)
    assert written(engine) == {3: "skipped", 2: "evaluated", 1: "failed", 0: "evaluated"}
    failed = row(engine, 1)
    assert (failed["error"], failed["verdict"], failed["attempt"]) == (line, "failed", 1)
    assert recorder.measured == [2, 1, 0]


def test_a_slot_that_failed_is_tried_again_after_its_wait_and_not_before(engine: Engine) -> None:
    def fail_twice(claim: Claim, _stopped: Stopped) -> None:
        if claim.attempt <= 2:
            raise TrafficGoneError(folder="logs/")

    runner = make_runner(engine, recorder := Recorder(fail_twice))
    expected = [("failed", 1), ("failed", 1), ("failed", 2), ("failed", 2), ("evaluated", 3)]
    waits = [0, 59, 61, 119, 121]
    for (status, attempt), seconds in zip(expected, waits, strict=True):
        back_date(engine, finished_at=timedelta(seconds=seconds))
        runner.run_due(never_stopped)
        found = row(engine, 0)
        assert (found["status"], found["attempt"]) == (status, attempt)
    assert found["error"] is None
    assert recorder.measured == [0, 0, 0]


def test_a_result_that_the_database_refuses_fails_the_slot(engine: Engine) -> None:
    """Two rules of one name are one row; the error is the database's, without the statement."""
    rule = make_policy().rules[0]
    policy = make_policy(rules=(rule, rule), alerts=())
    SlotRunner(engine, make_section(), Recorder(), policy).run_due(never_stopped)
    failed = row(engine, 0)
    assert (failed["status"], failed["n_scored"]) == ("failed", None)
    assert failed["error"].startswith("IntegrityError: ")
    assert "INSERT" not in failed["error"]


def test_each_end_of_a_cycle_is_heard_with_its_verdict(engine: Engine) -> None:
    heard: list[tuple[int, str, bool]] = []

    def hear(claim: Claim, verdict: Verdict, result: CycleResult | None) -> None:
        heard.append((claim.cycle_id, verdict, result is None))

    section, broken = make_section(), Recorder(meanwhile=lambda _claim, _stopped: 1 / 0)
    SlotRunner(engine, section, broken, make_policy(alerts=()), hear).run_due(never_stopped)
    cycle_id = heard[0][0]
    SlotRunner(engine, section, Recorder(), make_policy(alerts=()), hear).run([slot(0)], never_stopped)
    assert heard == [(cycle_id, "failed", True), (cycle_id, "healthy", False)]


def test_a_slot_whose_process_died_is_run_again(engine: Engine) -> None:
    leave_running(engine, 0)
    assert make_runner(engine).run_due(never_stopped) == 1
    found = row(engine, 0)
    assert (found["status"], found["attempt"]) == ("evaluated", 2)


def test_a_slot_that_kills_its_process_does_not_hold_up_the_others(engine: Engine) -> None:
    """After the second death it waits, and the later ones are run."""
    leave_running(engine, 2, attempts=2)
    runner = make_runner(engine, recorder := Recorder())
    assert runner.run_due(never_stopped) == 2
    assert written(engine) == {2: "running", 1: "evaluated", 0: "evaluated"}
    back_date(engine, started_at=timedelta(seconds=61))
    assert runner.run_due(never_stopped) == 1
    assert recorder.measured == [1, 0, 2]


def test_a_slot_whose_process_died_too_long_ago_is_recorded_as_skipped(engine: Engine) -> None:
    leave_running(engine, 9)
    seed(engine, 5)
    make_runner(engine, recorder := Recorder(), catch_up="60h").run_due(never_stopped)
    assert recorder.measured == ended_within("60h")
    found = row(engine, 9)
    assert (found["status"], found["verdict"], found["verdict_reason"]) == (
        "skipped",
        "inconclusive",
        "too_old",
    )


# --- stops -----------------------------------------------------------------------------------------------


def stop_at(days_ago: int, stop: threading.Event) -> Callable[[Claim, Stopped], None]:
    """The process is asked to stop while it measures that slot, and the measurement finds out."""

    def meanwhile(claim: Claim, stopped: Stopped) -> None:
        assert not stopped()
        if age(claim.slot.window_end) == days_ago:
            stop.set()
            assert stopped()
            raise StoppedError

    return meanwhile


def test_a_stopped_slot_is_given_back_and_the_next_run_does_it(engine: Engine) -> None:
    seed(engine, 4)
    stop = threading.Event()
    runner = make_runner(engine, recorder := Recorder(stop_at(2, stop)))
    assert runner.run_due(stop.is_set) == 1
    assert written(engine) == {4: "skipped", 3: "evaluated"}
    again = make_runner(engine, recorder_2 := Recorder())
    assert again.run_due(never_stopped) == 3
    assert (recorder.measured, recorder_2.measured) == ([3, 2], [2, 1, 0])
    assert row(engine, 2)["attempt"] == 1


def test_a_stopped_later_attempt_does_not_count_and_is_done_at_once(engine: Engine) -> None:
    leave_running(engine, 0)
    stop = threading.Event()
    make_runner(engine, Recorder(stop_at(0, stop))).run_due(stop.is_set)
    found = row(engine, 0)
    assert (found["status"], found["attempt"]) == ("failed", 1)
    assert make_runner(engine).run_due(never_stopped) == 1
    found = row(engine, 0)
    assert (found["status"], found["attempt"]) == ("evaluated", 2)


def test_no_slot_is_begun_after_the_stop(engine: Engine) -> None:
    seed(engine, 3)
    stop = threading.Event()
    runner = make_runner(engine, recorder := Recorder(lambda _claim, _stopped: stop.set()))
    assert runner.run_due(stop.is_set) == 1
    assert recorder.measured == [2]
    assert written(engine) == {3: "skipped", 2: "evaluated"}


# --- two processes ---------------------------------------------------------------------------------------


def test_a_monitor_that_another_process_runs_is_left_alone(engine: Engine) -> None:
    taken(engine)
    runner = make_runner(engine, recorder := Recorder())
    assert runner.run_due(never_stopped) == 0
    with pytest.raises(MonitorBusyError, match="Another process is running the monitor 'mangaassist'"):
        runner.run([slot(0)], never_stopped)
    assert recorder.measured == []
    assert written(engine) == {}


def interrupt(_claim: Claim, _stopped: Stopped) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("meanwhile", [lambda _claim, _stopped: None, interrupt])
def test_the_lease_is_given_back_however_the_run_ends(engine: Engine, meanwhile: Measure) -> None:
    runner = make_runner(engine, Recorder(meanwhile))
    with suppress(KeyboardInterrupt):
        runner.run_due(never_stopped)
    assert taken(engine).token == 2


def test_two_runners_do_each_of_thirty_slots_once(engine: Engine) -> None:
    """They take turns, each stopped again and again after a few slots, so that the lease goes to and fro."""
    seed(engine, 30)
    everyone: list[int] = []

    def has_more_than(count: int) -> Callable[[], bool]:
        return lambda: len(everyone) > count or count == 30

    def work(number: int) -> int:
        total = 0
        while len(everyone) < 30:
            total += make_runner(engine, recorder := Recorder()).run_due(recorder.has_done(2 + number))
            everyone.extend(recorder.measured)
            if recorder.measured:
                comes_true(has_more_than(len(everyone)), seconds=0.5)  # the other one's turn
        return total

    shares = in_threads(2, work)
    assert sum(shares) == 30
    assert min(shares) > 0
    assert sorted(everyone) == list(range(30))
    assert [row["attempt"] for row in stored(engine, cycles)] == [0] + [1] * 30
    assert set(written(engine).values()) == {"skipped", "evaluated"}


def take_over(engine: Engine, *, result: CycleResult = BREACH) -> Callable[[Claim, Stopped], Lease]:
    """Another process takes the monitor and does the slot, while this one believes that it has it."""

    def meanwhile(claim: Claim, _stopped: Stopped) -> Lease:
        (held,) = stored(engine, leases)
        lease = seized(engine, Lease(name=held["name"], owner=held["owner"], token=held["token"]))
        with writing(engine) as connection:
            again = ledger.claim(connection, claim.slot, utc_now())
        assert again is not None
        conclude(engine, lease, again, result, make_policy(alerts=()), now=utc_now())
        return lease

    return meanwhile


@pytest.mark.parametrize("end", [None, ValueError("broken"), StoppedError()])
def test_a_process_that_lost_the_monitor_writes_nothing_however_its_cycle_ends(
    engine: Engine, end: Exception | None
) -> None:
    """The other process's result stands, later slots are left to it, and its lease too."""
    seed(engine, 2)
    other = take_over(engine)

    def meanwhile(claim: Claim, stopped: Stopped) -> None:
        other(claim, stopped)
        if end is not None:
            raise end

    runner = make_runner(engine, recorder := Recorder(meanwhile))
    assert runner.run_due(never_stopped) == 0
    assert recorder.measured == [1]
    found = row(engine, 1)
    assert (found["status"], found["verdict"], found["attempt"]) == ("evaluated", "breached", 2)
    assert found["error"] is None
    assert set(written(engine)) == {2, 1}
    assert make_runner(engine).run_due(never_stopped) == 0


def test_a_process_that_lost_the_monitor_between_two_slots_claims_no_more(engine: Engine) -> None:
    asked = iter([False, True])

    def lose_it_before_the_second() -> bool:
        if next(asked):
            (held,) = stored(engine, leases)
            seized(engine, Lease(name=held["name"], owner=held["owner"], token=held["token"]))
        return False

    runner = make_runner(engine, recorder := Recorder())
    assert runner.run([slot(1), slot(0)], lose_it_before_the_second) == 1
    assert recorder.measured == [1]
    assert written(engine) == {1: "evaluated"}


def test_a_process_without_the_monitor_skips_no_slot(engine: Engine) -> None:
    """Slots are skipped in the transaction that takes the lease."""
    seed(engine, 9)
    taken(engine)
    assert make_runner(engine, catch_up="60h").run_due(never_stopped) == 0
    assert written(engine) == {9: "skipped"}


def test_a_cycle_finds_out_that_its_monitor_is_lost(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked to stop, as soon as the heartbeat knows."""
    monkeypatch.setattr(slot_runner, "LEASE_SECONDS", 1.5)
    found_out: list[bool] = []

    def meanwhile(claim: Claim, stopped: Stopped) -> None:
        take_over(engine)(claim, stopped)
        found_out.append(comes_true(stopped, seconds=5))
        raise StoppedError

    with capture_logs() as logs:
        assert make_runner(engine, Recorder(meanwhile)).run_due(never_stopped) == 0
    assert found_out == [True]
    assert [entry["event"] for entry in logs] == ["cycle started", "cycle left to another process"]
    assert row(engine, 0)["verdict"] == "breached"


# --- the loop --------------------------------------------------------------------------------------------


def no_messages(_clock: Clock, _stop: threading.Event) -> None:
    """There are none."""


def nothing_due(_now: datetime) -> int:
    return 0


def nothing_left(_stopped: Stopped) -> bool:
    return False


@contextmanager
def running(
    engine: Engine,
    *,
    measure: Measure | None = None,
    deliver: Deliver = no_messages,
    call_workers: Callable[[datetime], int] = nothing_due,
    clean_up: Callable[[Stopped], bool] = nothing_left,
) -> Iterator[Daemon]:
    section = MonitorSection(name="another", every=timedelta(days=1))
    watchdog = Watchdog(engine, section, make_audience(), calibration=UNCALIBRATED, started_at=utc_now())
    runner = make_runner(engine, measure, every="1s")
    found = Daemon(
        runner,
        watchdog,
        Deliveries(channels={"pager": deliver}, due=lambda _now: {"pager"}),
        call_workers,
        tick=TICK,
        clean_up=clean_up,
    )
    found.start()
    try:
        yield found
    finally:
        if found.is_running:
            found.stop()


def ends(engine: Engine, status: str = "evaluated") -> list[datetime]:
    return [row["window_end"] for row in stored(engine, cycles) if row["status"] == status]


def test_the_daemon_runs_slots_as_they_fall_due_and_stops_when_asked(sqlite_engine: Engine) -> None:
    engine = sqlite_engine
    with running(engine) as found:
        was_running = found.is_running
        assert comes_true(lambda: len(ends(engine)) >= 2)
        began = time.monotonic()
        found.stop()
        assert time.monotonic() - began < 2
    assert (was_running, found.is_running) == (True, False)
    done = ends(engine)
    assert done == [done[0] + index * timedelta(seconds=1) for index in range(len(done))]
    time.sleep(1.1)  # the next slot has fallen due
    assert ends(engine) == done


def test_a_daemon_that_is_stopped_during_a_cycle_gives_its_slot_back(engine: Engine) -> None:
    began = threading.Event()

    def wait_for_the_stop(_claim: Claim, stopped: Stopped) -> None:
        began.set()
        while not stopped():
            time.sleep(0.01)
        raise StoppedError

    with running(engine, measure=Recorder(wait_for_the_stop)) as found:
        assert began.wait(10)
        asked = time.monotonic()
        found.stop()
        assert time.monotonic() - asked < 2
    assert stored(engine, cycles) == []
    assert taken(engine)


def test_the_daemon_cleans_up_while_no_slot_is_due_and_continues_at_the_next_tick(
    sqlite_engine: Engine,
) -> None:
    """As long as something is left; then it looks no more often than for slots."""
    is_measuring = threading.Event()
    times: list[float] = []

    def measure(claim: Claim, stopped: Stopped) -> CycleResult:
        is_measuring.set()
        time.sleep(0.3)
        is_measuring.clear()
        return Recorder()(claim, stopped)

    def clean_up(_stopped: Stopped) -> bool:
        assert not is_measuring.is_set()
        times.append(time.monotonic())
        return len(times) < 4

    with running(sqlite_engine, measure=measure, clean_up=clean_up):
        assert comes_true(lambda: len(times) >= 4 and len(ends(sqlite_engine)) >= 2)
    assert times[3] - times[0] < 2


def test_messages_are_sent_while_a_cycle_runs(sqlite_engine: Engine) -> None:
    began, sent = threading.Event(), threading.Event()

    def deliver(clock: Clock, _stop: threading.Event) -> None:
        assert abs(clock() - utc_now()) < timedelta(seconds=1)
        if began.is_set():
            sent.set()

    def wait_for_a_message(_claim: Claim, _stopped: Stopped) -> None:
        began.set()
        assert sent.wait(10)

    with running(sqlite_engine, measure=Recorder(wait_for_a_message), deliver=deliver):
        assert sent.wait(10)
        assert comes_true(lambda: len(ends(sqlite_engine)) >= 1)


def test_a_tick_that_fails_is_logged_and_is_not_the_last(engine: Engine, logs: list[Any]) -> None:
    """Whatever it met: a bug in a channel, or a database without its tables for a while."""
    failures = iter(range(2))
    delivered = threading.Event()

    def deliver(_clock: Clock, _stop: threading.Event) -> None:
        if next(failures, None) is not None:
            raise RuntimeError
        delivered.set()

    rename_table(engine, "leases", "away")
    with running(engine, deliver=deliver) as found:
        assert delivered.wait(10)
        assert comes_true(lambda: failed_ticks(logs, "slots") >= 2)
        assert failed_ticks(logs, "outbox") == 2
        rename_table(engine, "away", "leases")
        assert comes_true(lambda: len(ends(engine)) >= 1)
        assert found.is_running


def failed_ticks(logs: Sequence[Any], name: str) -> int:
    return sum(entry["event"] == "tick failed" and entry["tick"] == name for entry in logs)


def test_two_daemons_at_once_do_each_slot_once(engine: Engine) -> None:
    """As during a rolling deploy; when the first stops, the second goes on."""
    first, second = Recorder(), Recorder()
    with running(engine, measure=first) as one, running(engine, measure=second):
        assert comes_true(lambda: len(ends(engine)) >= 2)
        one.stop()
        count = len(ends(engine))
        assert comes_true(lambda: len(ends(engine)) > count)
    assert {row["attempt"] for row in stored(engine, cycles)} == {1}
    done = ends(engine)
    assert done == [done[0] + index * timedelta(seconds=1) for index in range(len(done))]
    assert len(first.measured) + len(second.measured) == len(done)
