"""Which windows a monitor looks at, and which of them are due.

A slot ends at a fire time of the monitor's trigger and starts at the fire time before. So the slots of
one trigger tile time, and each is known by its end, whoever asks and whenever.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from db.cycles.ledger import Unfinished
from db.errors import RedistillError
from db.records import Slot
from db.states import CycleStatus
from monitor.settings import MonitorSection

#: A Monday: an hour begins on the hour, a day at midnight and a week on Monday, all in UTC.
_ANCHOR = datetime(1970, 1, 5, tzinfo=UTC)
_DEFAULT_EVERY = timedelta(hours=1)
#: How far back the fire time before another one is looked for. The longest gap of a cron line is that
#: between two 29ths of February around 1900 or 2100.
_SEARCH_SPANS = tuple(timedelta(minutes=4**power) for power in range(13))
_CRON_FIELDS = 5
_LONGEST_WAIT = 6  #: as a power of two, in minutes


class ScheduleError(RedistillError):
    """[monitor] {key} = {value!r} cannot be a schedule: {problem}."""

    exit_code = 2


class NoSlotError(RedistillError):
    """The schedule has no window at {time:%Y-%m-%d %H:%M}: give a later time or a shorter schedule."""


@dataclass(frozen=True, kw_only=True)
class Due:
    """Slots that are complete and not in the ledger yet, each oldest first."""

    run: tuple[Slot, ...]
    skipped: tuple[Slot, ...]  #: ended longer ago than `catch_up`


def make_trigger(section: MonitorSection) -> BaseTrigger:
    """The fire times of `every` (by default an hour) or `cron`, in UTC.

    `every` is counted from a Monday midnight long ago. Weekdays are written mon-sun: cron's own
    numbers start on Sunday and APScheduler's on Monday. A day of the month together with a weekday
    is refused: cron takes either, APScheduler both.

    Raises:
        ScheduleError: not five fields, a value out of range, a numeric weekday, a day of the month
            and a weekday, a line that never fires, or an `every` that is not in whole seconds.
    """
    if section.cron is not None:
        return _cron_trigger(section.cron)
    every = section.every or _DEFAULT_EVERY
    if every % timedelta(seconds=1):
        raise ScheduleError(key="every", value=str(every), problem="give whole seconds")
    return IntervalTrigger(seconds=int(every.total_seconds()), start_date=_ANCHOR, timezone=UTC)


def newest_complete_slot(trigger: BaseTrigger, monitor: str, *, now: datetime, lateness: timedelta) -> Slot:
    """The last slot with window_end + lateness <= now."""
    end = _last_fire(trigger, now - lateness)
    return slot_at(trigger, monitor, end - timedelta(microseconds=1))


def slot_at(trigger: BaseTrigger, monitor: str, time: datetime) -> Slot:
    """The slot with window_start <= time < window_end, complete or not."""
    return Slot(monitor=monitor, window_start=_last_fire(trigger, time), window_end=_next_fire(trigger, time))


def slots_between(trigger: BaseTrigger, monitor: str, start: datetime, end: datetime) -> tuple[Slot, ...]:
    """The slots that lie wholly within [start, end], complete or not, oldest first."""
    ending = _slots_ending(trigger, monitor, start, end)
    return tuple(slot for slot in ending if slot.window_start >= start)


def due_slots(
    trigger: BaseTrigger,
    monitor: str,
    *,
    last_end: datetime | None,
    now: datetime,
    lateness: timedelta,
    catch_up: timedelta,
) -> Due:
    """What is complete after `last_end`, the end of the newest slot in the ledger.

    A slot falls due at window_end + lateness. One that fell due more than `catch_up` ago is to be
    skipped, the others to be run. Without a ledger only the newest complete slot is due, however old.
    """
    if last_end is None:
        return Due(run=(newest_complete_slot(trigger, monitor, now=now, lateness=lateness),), skipped=())
    complete = tuple(_slots_ending(trigger, monitor, last_end, now - lateness))
    too_old = sum(slot.window_end + lateness < now - catch_up for slot in complete)
    return Due(run=complete[too_old:], skipped=complete[:too_old])


def is_due_again(unfinished: Unfinished, now: datetime, catch_up: timedelta) -> bool:
    """Whether a slot that did not end is tried again, as long as it is not older than `catch_up`.

    At once if its process was asked to stop; 1, 2, 4, … minutes after an error, 64 at most; and if the
    process died, at once the first time, and then 1, 2, 4, … minutes after the attempt began: so a slot
    that kills its process does not hold up the others. A time that is still to come was written before the
    clock was set back: it says nothing, and the slot is due.
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
        raise ScheduleError(key="cron", value=line, problem="there is no such day, so it never fires")
    return trigger


def _refuse_ambiguous(line: str, *, day: str, weekday: str) -> None:
    if any(character.isdigit() for character in weekday):
        problem = "write weekdays as mon-sun, since their numbers mean different days to different programs"
        raise ScheduleError(key="cron", value=line, problem=problem)
    if day != "*" and weekday != "*":
        raise ScheduleError(key="cron", value=line, problem="give a day of the month or a weekday, not both")


def _slots_ending(trigger: BaseTrigger, monitor: str, after: datetime, until: datetime) -> Iterator[Slot]:
    """Slots with after < window_end <= until."""
    end = _next_fire(trigger, after)
    if end > until:
        return
    start = _last_fire(trigger, after)
    while end <= until:
        yield Slot(monitor=monitor, window_start=start, window_end=end)
        start, end = end, _next_fire(trigger, end)


def _next_fire(trigger: BaseTrigger, time: datetime) -> datetime:
    """The first fire time after `time`."""
    fire: datetime = trigger.get_next_fire_time(None, time)
    if fire == time:
        fire = trigger.get_next_fire_time(time, time)
    return fire


def _last_fire(trigger: BaseTrigger, time: datetime) -> datetime:
    """The last fire time at or before `time`.

    Raises:
        NoSlotError: there is none.
    """
    for span in _SEARCH_SPANS:
        last, fire = None, _next_fire(trigger, time - span)
        while fire <= time:
            last, fire = fire, _next_fire(trigger, fire)
        if last is not None:
            return last
    raise NoSlotError(time=time)
