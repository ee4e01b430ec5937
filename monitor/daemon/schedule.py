"""The schedule of a monitor: its slots, and which of them are due.

A slot starts at one fire time of the monitor's trigger and ends at the next. So the slots of a trigger cover
time without gaps or overlaps, and the end of a slot identifies it. After a change of the trigger, the first
slot starts where the recorded windows end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from db.cycles.windows import Unfinished
from db.errors import RedistillError
from db.records import Slot
from db.states import CycleStatus
from monitor.settings import MonitorSection

#: A Monday midnight, so that hours begin on the hour, days at midnight and weeks on Monday, all in UTC.
_ANCHOR = datetime(1970, 1, 5, tzinfo=UTC)
_DEFAULT_EVERY = timedelta(hours=1)
#: The spans in which the previous fire time is searched for. The longest gap of a cron line is the one
#: between two 29ths of February around 1900 or 2100.
_SEARCH_SPANS = tuple(timedelta(minutes=4**power) for power in range(13))
_CRON_FIELDS = 5
_LONGEST_WAIT = 6  #: as a power of two, in minutes


class ScheduleError(RedistillError):
    """[monitor] {key} = {value!r} is not a schedule: {problem}."""

    exit_code = 2


class NoSlotError(RedistillError):
    """The schedule has no window at {time:%Y-%m-%d %H:%M} UTC: give a later time or a shorter interval."""


@dataclass(frozen=True, kw_only=True)
class Due:
    """The complete slots that are not in the ledger yet, oldest first."""

    run: tuple[Slot, ...]
    skipped: tuple[Slot, ...]  #: ended longer ago than `catch_up`


def make_trigger(section: MonitorSection) -> BaseTrigger:
    """Return the trigger of `every` (an hour by default) or `cron`, in UTC.

    `every` is counted from a Monday midnight in 1970. Weekdays are written mon-sun, since cron's numbers
    start on Sunday and APScheduler's on Monday. A day of the month together with a weekday is refused, since
    cron fires on either and APScheduler on days that are both.

    Raises:
        ScheduleError: `cron` does not have five fields, has a value out of range, a numeric weekday, or both
            a day of the month and a weekday, or never fires.
    """
    if section.cron is not None:
        return _cron_trigger(section.cron)
    every = section.every or _DEFAULT_EVERY
    return IntervalTrigger(seconds=int(every.total_seconds()), start_date=_ANCHOR, timezone=UTC)


def newest_complete_slot(trigger: BaseTrigger, monitor: str, *, now: datetime, lateness: timedelta) -> Slot:
    """Return the last slot with window_end + lateness <= now."""
    end = _last_fire(trigger, now - lateness)
    return slot_at(trigger, monitor, end - timedelta(microseconds=1))


def slot_at(trigger: BaseTrigger, monitor: str, time: datetime) -> Slot:
    """Return the slot with window_start <= time < window_end, complete or not."""
    return Slot(monitor=monitor, window_start=_last_fire(trigger, time), window_end=_next_fire(trigger, time))


def longest_window(trigger: BaseTrigger, slot: Slot, max_window: timedelta) -> datetime:
    """Return the end of the longest window from the slot's start whose length is within `max_window`.

    It ends with a slot of the trigger; it is the slot's own end if that slot is longer.
    """
    return max(slot.window_end, _last_fire(trigger, slot.window_start + max_window))


def slots_between(trigger: BaseTrigger, monitor: str, start: datetime, end: datetime) -> tuple[Slot, ...]:
    """Return the slots that are entirely within [start, end], complete or not, oldest first."""
    ending = _slots_ending(trigger, monitor, start, end)
    return tuple(slot for slot in ending if slot.window_start >= start)


def slots_after(trigger: BaseTrigger, monitor: str, last_end: datetime, until: datetime) -> tuple[Slot, ...]:
    """Return the slots that end after `last_end`, the end of a recorded window, and by `until`, oldest first.

    The first starts at `last_end`, which is within a slot if an earlier trigger has recorded that window.
    """
    ending = _slots_ending(trigger, monitor, last_end, until)
    return tuple(replace(slot, window_start=max(slot.window_start, last_end)) for slot in ending)


def due_slots(
    trigger: BaseTrigger,
    monitor: str,
    *,
    last_end: datetime | None,
    now: datetime,
    lateness: timedelta,
    catch_up: timedelta,
) -> Due:
    """Return the complete slots after `last_end`, the end of the newest slot in the ledger.

    A slot is due at window_end + lateness. Slots that were due more than `catch_up` ago are to be skipped,
    the others to be run. If the ledger is empty, only the newest complete slot is due, however old.
    """
    if last_end is None:
        return Due(run=(newest_complete_slot(trigger, monitor, now=now, lateness=lateness),), skipped=())
    complete = slots_after(trigger, monitor, last_end, now - lateness)
    too_old = sum(slot.window_end + lateness < now - catch_up for slot in complete)
    return Due(run=complete[too_old:], skipped=complete[:too_old])


def is_due_again(unfinished: Unfinished, now: datetime, catch_up: timedelta) -> bool:
    """Return whether to retry a slot that did not end; never if it is older than `catch_up`.

    A slot is retried at once if its process was asked to stop, and 1, 2, 4, … minutes after an error, at most
    64. If its process died, it is retried at once the first time, then 1, 2, 4, … minutes after the attempt
    began, so that a slot that kills its process does not block the others. A time in the future was written
    before the clock was set back: it is ignored, and the slot is due.
    """
    if unfinished.slot.window_end < now - catch_up:
        return False
    if unfinished.status is CycleStatus.RUNNING:
        since, failures = unfinished.started_at, unfinished.attempt - 1
    else:
        since, failures = unfinished.finished_at or now, unfinished.attempt if unfinished.finished_at else 0
    return now < since or now >= since + _wait_after(failures)


def _wait_after(failures: int) -> timedelta:
    return timedelta(minutes=2 ** min(failures - 1, _LONGEST_WAIT)) if failures else timedelta(0)


def _cron_trigger(line: str) -> BaseTrigger:
    fields = line.split()
    if len(fields) == _CRON_FIELDS:
        _refuse_ambiguous(line, day=fields[2], weekday=fields[4])
    try:
        trigger = CronTrigger.from_crontab(line, timezone=UTC)
    except ValueError as error:
        problem = f"{error}; give minute, hour, day, month and weekday, such as '0 * * * *'"
        raise ScheduleError(key="cron", value=line, problem=problem) from error
    if trigger.get_next_fire_time(None, _ANCHOR) is None:
        raise ScheduleError(key="cron", value=line, problem="no such day exists, so it never fires")
    return trigger


def _refuse_ambiguous(line: str, *, day: str, weekday: str) -> None:
    if any(character.isdigit() for character in weekday):
        problem = "write weekdays as mon-sun: programs disagree on their numbers"
        raise ScheduleError(key="cron", value=line, problem=problem)
    if day != "*" and weekday != "*":
        raise ScheduleError(key="cron", value=line, problem="give a day of the month or a weekday, not both")


def _slots_ending(trigger: BaseTrigger, monitor: str, after: datetime, until: datetime) -> Iterator[Slot]:
    """Yield the slots with after < window_end <= until."""
    end = _next_fire(trigger, after)
    if end > until:
        return
    start = _last_fire(trigger, after)
    while end <= until:
        yield Slot(monitor=monitor, window_start=start, window_end=end)
        start, end = end, _next_fire(trigger, end)


def _next_fire(trigger: BaseTrigger, time: datetime) -> datetime:
    """Return the first fire time after `time`."""
    fire: datetime = trigger.get_next_fire_time(None, time)
    if fire == time:
        fire = trigger.get_next_fire_time(time, time)
    return fire


def _last_fire(trigger: BaseTrigger, time: datetime) -> datetime:
    """Return the last fire time at or before `time`.

    Raises:
        NoSlotError: the trigger has no such time.
    """
    for span in _SEARCH_SPANS:
        last, fire = None, _next_fire(trigger, time - span)
        while fire <= time:
            last, fire = fire, _next_fire(trigger, fire)
        if last is not None:
            return last
    raise NoSlotError(time=time)
