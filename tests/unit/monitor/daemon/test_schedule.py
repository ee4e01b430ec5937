"""Slots tile time, whoever asks and whenever; what is due follows from the ledger's end."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import Slot
from monitor.daemon.schedule import (
    Due,
    NoSlotError,
    ScheduleError,
    due_slots,
    make_trigger,
    newest_complete_slot,
    slot_at,
    slots_between,
)
from monitor.settings import MonitorSection

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TIMES = st.datetimes(datetime(1985, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is given
INTERVALS = st.integers(1, 40 * 86_400).map(lambda seconds: {"every": timedelta(seconds=seconds)})
CRONS = st.sampled_from(
    [
        "* * * * *",
        "*/7 3,15 * * *",
        "0 * * * *",
        "30 6 * * mon-fri",
        "0 0 * * sun",
        "0 0 last * *",
        "15 4 31 * *",
        "0 0 29 2 *",
    ]
).map(lambda cron: {"cron": cron})
SCHEDULES = INTERVALS | CRONS


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def trigger(**schedule: object) -> object:
    return make_trigger(MonitorSection.model_validate(schedule))


def slot(start: str, end: str) -> Slot:
    return Slot(monitor="m", window_start=at(start), window_end=at(end))


def due(last_end: str | None, now: str, *, catch_up: timedelta = DAY) -> Due:
    return due_slots(
        trigger(),
        "m",
        last_end=at(last_end) if last_end else None,
        now=at(now),
        lateness=timedelta(minutes=10),
        catch_up=catch_up,
    )


@pytest.mark.parametrize(
    ("schedule", "time", "start", "end"),
    [
        ({}, "2026-11-24T10:30", "2026-11-24T10:00", "2026-11-24T11:00"),
        ({}, "2026-11-24T10:00", "2026-11-24T10:00", "2026-11-24T11:00"),
        ({}, "2026-11-24T10:59:59.999999", "2026-11-24T10:00", "2026-11-24T11:00"),
        ({"every": "15m"}, "2026-11-24T10:31", "2026-11-24T10:30", "2026-11-24T10:45"),
        ({"every": "24h"}, "2026-11-24T10:30", "2026-11-24T00:00", "2026-11-25T00:00"),
        ({"every": "7d"}, "2026-11-24T10:30", "2026-11-23T00:00", "2026-11-30T00:00"),
        ({"cron": "0 * * * *"}, "2026-11-24T10:00", "2026-11-24T10:00", "2026-11-24T11:00"),
        ({"cron": "0 6 * * mon"}, "2026-11-24T10:30", "2026-11-23T06:00", "2026-11-30T06:00"),
        ({"cron": "0 6 * * mon-fri"}, "2026-11-28T10:30", "2026-11-27T06:00", "2026-11-30T06:00"),
        ({"cron": "0 0 29 2 *"}, "2099-01-01", "2096-02-29", "2104-02-29"),
    ],
)
def test_a_window_lies_between_two_fire_times(
    schedule: dict[str, str], time: str, start: str, end: str
) -> None:
    """Whole hours, days from midnight, weeks from Monday; its start belongs to it, its end does not."""
    assert slot_at(trigger(**schedule), "m", at(time)) == slot(start, end)


@given(SCHEDULES, TIMES)
def test_slots_tile_time_without_gap_or_overlap(schedule: dict[str, object], time: datetime) -> None:
    """Each begins where the one before ends, and any time inside leads to the same slot."""
    fires = trigger(**schedule)
    first = slot_at(fires, "m", time)
    assert first.window_start <= time < first.window_end
    second = slot_at(fires, "m", first.window_end)
    assert second.window_start == first.window_end
    assert slot_at(fires, "m", first.window_start) == first
    assert slot_at(fires, "m", first.window_end - timedelta(microseconds=1)) == first
    assert slots_between(fires, "m", first.window_start, second.window_end) == (first, second)


@given(SCHEDULES, TIMES, st.integers(0, 300))
def test_the_newest_complete_slot_is_the_last_that_ended_before_the_lateness(
    schedule: dict[str, object], now: datetime, late_minutes: int
) -> None:
    fires, lateness = trigger(**schedule), timedelta(minutes=late_minutes)
    newest = newest_complete_slot(fires, "m", now=now, lateness=lateness)
    assert newest.window_end + lateness <= now < slot_at(fires, "m", newest.window_end).window_end + lateness


@given(SCHEDULES, TIMES, st.integers(1, 5), st.integers(0, 5), st.integers(0, 120))
def test_every_slot_after_the_ledger_is_due_once(
    schedule: dict[str, object], time: datetime, n: int, n_caught_up: int, late_minutes: int
) -> None:
    """However long the daemon was away, skipped and due slots together are all of them, oldest first."""
    fires, lateness = trigger(**schedule), timedelta(minutes=late_minutes)
    slots = [slot_at(fires, "m", time)]
    while len(slots) <= n:
        slots.append(slot_at(fires, "m", slots[-1].window_end))
    now = slots[-1].window_end + lateness
    catch_up = now - lateness - slots[max(0, n - n_caught_up)].window_end
    found = due_slots(fires, "m", last_end=slots[0].window_end, now=now, lateness=lateness, catch_up=catch_up)
    assert (*found.skipped, *found.run) == tuple(slots[1:])
    assert len(found.run) == min(n, n_caught_up + 1)


@pytest.mark.parametrize(
    ("last_end", "now", "run", "skipped"),
    [
        ("2026-11-24T10:00", "2026-11-24T11:09:59", 0, 0),
        ("2026-11-24T10:00", "2026-11-24T11:10", 1, 0),
        ("2026-11-24T10:00", "2026-11-24T14:30", 4, 0),
        ("2026-11-20T10:00", "2026-11-24T14:10", 25, 75),
        ("2026-11-20T10:00", "2026-11-24T14:11", 24, 76),
        ("2026-11-24T18:00", "2026-11-24T11:10", 0, 0),
        (None, "2026-11-24T11:10", 1, 0),
    ],
)
def test_a_slot_falls_due_after_the_lateness_and_is_skipped_after_the_catch_up(
    last_end: str | None, now: str, run: int, skipped: int
) -> None:
    found = due(last_end, now)
    assert (len(found.run), len(found.skipped)) == (run, skipped)


def test_without_a_ledger_only_the_newest_complete_slot_is_due() -> None:
    assert due(None, "2026-11-24T14:05", catch_up=timedelta(0)) == Due(
        run=(slot("2026-11-24T12:00", "2026-11-24T13:00"),), skipped=()
    )


@given(SCHEDULES, SCHEDULES, TIMES, st.integers(1, 5))
def test_after_a_change_of_the_schedule_no_time_is_measured_twice_or_left_out(
    before: dict[str, object], after: dict[str, object], time: datetime, n: int
) -> None:
    """The first slot of the new schedule starts where the last one of the earlier schedule ended."""
    last_end = slot_at(trigger(**before), "m", time).window_end
    until = last_end
    for _ in range(n):
        until = slot_at(trigger(**after), "m", until).window_end
    found = due_slots(
        trigger(**after), "m", last_end=last_end, now=until, lateness=timedelta(0), catch_up=DAY
    )
    slots = (*found.skipped, *found.run)
    assert [each.window_start for each in slots] == [last_end, *(each.window_end for each in slots[:-1])]
    assert slots[-1].window_end == until


def test_asking_twice_gives_the_same_answer() -> None:
    assert due("2026-11-20T10:00", "2026-11-24T14:10") == due("2026-11-20T10:00", "2026-11-24T14:10")


@pytest.mark.parametrize(
    ("start", "end", "n"),
    [
        ("2026-11-24T00:00", "2026-11-25T00:00", 24),
        ("2026-11-24T00:00", "2026-11-24T23:59", 23),
        ("2026-11-24T00:01", "2026-11-25T00:00", 23),
        ("2026-11-24T00:10", "2026-11-24T00:50", 0),
        ("2026-11-25T00:00", "2026-11-24T00:00", 0),
    ],
)
def test_between_two_times_lie_the_slots_that_are_wholly_inside(start: str, end: str, n: int) -> None:
    found = slots_between(trigger(), "m", at(start), at(end))
    assert len(found) == n
    assert all(at(start) <= each.window_start < each.window_end <= at(end) for each in found)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"cron": "0 0 * * 1"}, "write weekdays as mon-sun"),
        ({"cron": "0 0 * * 1-5"}, "write weekdays as mon-sun"),
        ({"cron": "0 0 * * */2"}, "write weekdays as mon-sun"),
        ({"cron": "0 0 13 * fri"}, "not both"),
        ({"cron": "0 0 31 2 *"}, "never fires"),
        ({"cron": "60 * * * *"}, "maximum value (59)"),
        ({"cron": "0 0 * * sun-tue"}, "'0 * * * *'"),
        ({"cron": "0 0 * * funday"}, "'0 * * * *'"),
        ({"cron": "0 0 * *"}, "expected 5"),
        ({"cron": "@daily"}, "expected 5"),
        ({"cron": ""}, "expected 5"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_with_its_key(schedule: dict[str, object], said: str) -> None:
    with pytest.raises(ScheduleError, match=r"^\[monitor\] (cron|every) = ") as refused:
        trigger(**schedule)
    assert said in str(refused.value)
    assert refused.value.exit_code == 2


@given(st.text(alphabet="0123456789*/,-? lmonLW#\n{}", max_size=20))
def test_any_other_cron_line_is_refused_and_raises_nothing_else(line: str) -> None:
    try:
        trigger(cron=line)
    except ScheduleError:
        return
    assert len(line.split()) == 5


def test_before_the_first_fire_time_there_is_no_slot() -> None:
    with pytest.raises(NoSlotError, match="1970-01-04"):
        slot_at(trigger(), "m", at("1970-01-04"))
