"""Slots of little traffic, from the schedule to the conclusion: each moment is judged once, and nobody is
woken.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from bench.quiet_month import simulate
from db.connection.session import connect
from db.errors import RedistillError
from db.records import Claim
from db.states import CycleStatus
from db.tables import cycles, incidents
from monitor.daemon.schedule import make_trigger, slots_between
from monitor.settings import MonitorSection
from monitor.stop import Stopped, StoppedError, never_stopped
from tests.support.records.cycles import MONITOR, stored
from tests.support.world.counted_log import HOUR, CountedLog, Killed, run_due, runner

pytestmark = pytest.mark.usefixtures("logs")

START: Final = datetime(2026, 6, 1, tzinfo=UTC)
LATENESS: Final = timedelta(minutes=10)


def make_log(*per_hour: int, **fields: Any) -> CountedLog:  # noqa: ANN401 - any field of the section
    """A log with so many requests in each hour after START, evenly, for a schedule of hours."""
    usual = {"name": MONITOR, "every": "1h", "lateness": "10m", "catch_up": "24h"}
    hours = [START.timestamp() + 3_600 * (index + np.arange(n) / n) for index, n in enumerate(per_hour) if n]
    times = np.concatenate(hours) if hours else np.array([])
    section = MonitorSection.model_validate({**usual, **fields})
    return CountedLog(times=times, section=section, rng=np.random.default_rng(7))


def run(engine: Engine, log: CountedLog, *hours: int) -> None:
    """Run what is due, at the end of each of these hours."""
    for hour in hours:
        run_due(runner(engine, log), START + (hour + 1) * HOUR + LATENESS)


def windows(engine: Engine) -> list[tuple[int, int, str, int | None]]:
    """First and last hour, reason and requests of each window."""
    return [
        (
            (row["window_start"] - START) // HOUR,
            (row["window_end"] - START) // HOUR - 1,
            row["verdict_reason"] or row["status"],
            row["n_seen"],
        )
        for row in sorted(stored(engine, cycles), key=lambda row: row["window_end"])
    ]


def test_a_quiet_night_is_judged_in_windows_with_enough_requests(engine: Engine, logs: list[Any]) -> None:
    log = make_log(1_900, 700, 500, 300, 400, 1_200)
    run(engine, log, *range(6))
    assert windows(engine) == [
        (0, 0, "within_rules", 1_900),
        (1, 2, "within_rules", 1_200),
        (3, 5, "within_rules", 1_900),
    ]
    assert stored(engine, incidents) == []
    quiet = [each for each in logs if each["event"] == "window is quiet"]
    assert [(each["n_seen"], each["n_slots"]) for each in quiet] == [(700, 1), (300, 1), (700, 2)]


def test_a_window_that_has_reached_its_longest_is_judged_with_what_it_has(engine: Engine) -> None:
    log = make_log(*[100] * 8, max_window="3h")
    run(engine, log, *range(8))
    assert windows(engine) == [
        (0, 2, "too_few_samples", 300),
        (3, 5, "too_few_samples", 300),
        (6, 7, "quiet", 200),
    ]
    (incident,) = stored(engine, incidents)
    assert (incident["kind"], incident["state"]) == ("blind", "firing")


@pytest.mark.parametrize("max_window", ["0s", "1h", "119m"])
def test_a_longest_window_below_two_slots_turns_merging_off(engine: Engine, max_window: str) -> None:
    run(engine, make_log(100, 100, max_window=max_window), 0, 1)
    assert [(first, last) for first, last, *_ in windows(engine)] == [(0, 0), (1, 1)]
    assert {reason for *_, reason, _ in windows(engine)} == {"too_few_samples"}


def test_slots_that_are_longer_than_the_longest_window_are_judged_alone(engine: Engine) -> None:
    run(engine, make_log(*[10] * 96, every="2d"), 47, 95)
    assert [reason for *_, reason, _ in windows(engine)] == ["too_few_samples"] * 2
    assert {last - first for first, last, *_ in windows(engine)} == {47}


def test_after_an_outage_the_missed_slots_extend_the_window_that_waited(engine: Engine) -> None:
    log = make_log(300, 300, 300, 300, 2_000)
    run(engine, log, 0, 4)
    assert windows(engine) == [(0, 3, "within_rules", 1_200), (4, 4, "within_rules", 2_000)]


def test_a_window_that_waited_through_a_long_outage_had_too_few(engine: Engine) -> None:
    log = make_log(*[300] * 60)
    run(engine, log, 0, 59)
    found = windows(engine)
    assert found[0] == (0, 0, "too_few_samples", 300)
    assert {reason for _, last, reason, _ in found if 0 < last < 35} == {"too_old"}
    assert next(each for each in found if each[2] == "within_rules")[1] <= 39


def test_a_slot_before_a_judged_window_does_not_wait(engine: Engine) -> None:
    """Its error went away after the next slot was judged."""
    log = make_log(300, 2_000, 2_000)

    def fail(claim: Claim, _stopped: Stopped) -> None:
        if claim.slot.window_start == START and claim.attempt <= 2:
            raise RedistillError

    log.meanwhile = fail
    run(engine, log, 0)
    run(engine, log, 1, 2)
    assert [(first, last, reason) for first, last, reason, _ in windows(engine)] == [
        (0, 0, "too_few_samples"),
        (1, 1, "within_rules"),
        (2, 2, "within_rules"),
    ]


def test_a_stop_leaves_the_quiet_window_and_the_next_process_goes_on(engine: Engine) -> None:
    log = make_log(300, 300, 600)
    run(engine, log, 0)
    before = stored(engine, cycles)

    def stop(_claim: Claim, _stopped: Stopped) -> None:
        raise StoppedError

    log.meanwhile = stop
    run(engine, log, 1)
    assert stored(engine, cycles) == before
    log.meanwhile = lambda _claim, _stopped: None
    run(engine, log, 1, 2)
    assert windows(engine) == [(0, 2, "within_rules", 1_200)]


def test_old_windows_that_are_backfilled_merge_among_themselves(engine: Engine) -> None:
    """The last of them is judged with what it has: nobody attempts the next slot any more."""
    log = make_log(600, 600, 600)
    slots = slots_between(make_trigger(log.section), MONITOR, START, START + 3 * HOUR)
    assert runner(engine, log).run(slots, never_stopped) == 3
    assert windows(engine) == [(0, 1, "within_rules", 1_200), (2, 2, "too_few_samples", 600)]


# --- whatever happens --------------------------------------------------------------------------------------


@contextmanager
def fresh(template: Path) -> Iterator[Engine]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "redistill.db"
        shutil.copyfile(template, path)
        engine = connect(f"sqlite:///{path}")
        try:
            yield engine
        finally:
            engine.dispose()


class OutageError(RedistillError):
    """The log was away."""


def _die(_claim: Claim, _stopped: Stopped) -> None:
    raise Killed


def _fail(_claim: Claim, _stopped: Stopped) -> None:
    raise OutageError


def _stop(_claim: Claim, _stopped: Stopped) -> None:
    raise StoppedError


def _go_on(_claim: Claim, _stopped: Stopped) -> None:
    return


ENDS: Final[tuple[Callable[[Claim, Stopped], None], ...]] = (_go_on, _go_on, _go_on, _die, _fail, _stop)
SCHEDULES: Final = ("1h", "30m", "2h", "3h")
#: What happens at one time: the hours since the last, how attempts end, the schedule, the longest window.
STEPS: Final = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(ENDS),
        st.sampled_from(SCHEDULES),
        st.sampled_from(("24h", "4h", "0s")),
    ),
    min_size=4,
    max_size=10,
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, per_hour=st.lists(st.sampled_from([0, 90, 400, 700, 1_500]), min_size=40, max_size=40))
def test_each_moment_is_in_one_window_whatever_ends_attempts_or_changes_the_schedule(
    sqlite_template: Path, steps: list[tuple[int, Any, str, str]], per_hour: list[int]
) -> None:
    with fresh(sqlite_template) as engine:
        hour = 0
        for waited, end, every, max_window in steps:
            hour += waited
            log = make_log(*per_hour, every=every, max_window=max_window)
            log.meanwhile = end
            with suppress(Killed):
                run(engine, log, hour)
        hour += 4
        log = make_log(*per_hour)
        for minutes in (0, 5, 15):  # attempts that failed are due again by then
            now = START + (hour + 1) * HOUR + LATENESS + timedelta(minutes=minutes)
            run_due(runner(engine, log), now)
        found = sorted(stored(engine, cycles), key=lambda row: row["window_end"])
        assert found[-1]["window_end"] == START + (hour + 1) * HOUR
        for before, after in pairwise(found):
            assert before["window_end"] == after["window_start"]
        for row in found:
            assert row["n_seen"] == log.count(row["window_start"], row["window_end"])
        for row in found[:-1]:
            assert row["verdict_reason"] != "quiet"
            assert row["status"] in {CycleStatus.EVALUATED, CycleStatus.INCONCLUSIVE}
        assert all(row["window_end"] - row["window_start"] <= timedelta(hours=24) for row in found)


@pytest.mark.slow
def test_a_month_by_day_and_night_wakes_nobody_and_finds_the_drift_of_a_night(
    sqlite_url: str,
) -> None:
    engine = connect(sqlite_url)
    found = simulate(engine, days=30, drift_hour=1.0, max_window=timedelta(hours=24))
    assert (found.blind, found.hours_not_once, found.requests_not_once) == (0, 0, 0)
    assert 0.25 < found.short_hours < 0.35
    assert found.windows_to_alarm is not None
    assert found.windows_to_alarm <= 2
    engine.dispose()
