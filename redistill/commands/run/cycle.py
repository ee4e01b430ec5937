"""`redistill cycle`: one cycle now, the cycles of a range, or those of a range that had no verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

import typer
from sqlalchemy import Engine, select

from db.connection.session import reading
from db.cycles.rejudging import windows as recorded_windows
from db.errors import RedistillError
from db.records import Slot
from db.states import CycleStatus
from db.tables import cycles
from db.views import rows
from monitor.clock import utc_now
from monitor.daemon.schedule import make_trigger, newest_complete_slot, slot_at, slots_between
from monitor.settings import MonitorSection
from redistill.commands.inspect.history import print_table, teacher_health, with_accuracy
from redistill.commands.options import Config, Json, command, configured, examples
from redistill.database import migrated, translated_errors
from redistill.display import show
from redistill.display.progress import bars
from redistill.display.times import moment
from redistill.process import logs
from redistill.process.stop_signals import INTERRUPTED, loading, stop_on_signals

app = command()

#: The most time from SIGTERM to the exit.
_STOP_SECONDS: Final = 20.0

_At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="Run the window at this time: a time, or a duration back from now (24h).",
        show_default="the newest complete window",
    ),
]
_Backfill = Annotated[
    tuple[str, str] | None,
    typer.Option("--backfill", metavar="FROM TO", help="Run every window between two times, oldest first."),
]
_Rejudge = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--rejudge",
        metavar="FROM TO",
        help="Judge again the windows between two times that have no verdict, once the cause is fixed.",
    ),
]


class NotCompleteError(RedistillError):
    """The window from {slot.window_start:%Y-%m-%d %H:%M} to {slot.window_end:%Y-%m-%d %H:%M} UTC is not
    complete: wait until {complete_at:%Y-%m-%d %H:%M} UTC, when [monitor] lateness has passed.
    """


class NoWindowError(RedistillError):
    """No complete window is between {start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC: give a longer range,
    or wait until [monitor] lateness has passed.
    """


class NoRecordedWindowError(RedistillError):
    """The history has no window between {start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC: run the windows
    with --backfill.
    """


class CyclesFailedError(RedistillError):
    """{n} of {total} cycles failed; the first error: {error}"""


class NotRejudgedError(RedistillError):
    """{n} of {total} windows could not be judged again and are unchanged; the first reason: {error}"""


@dataclass(frozen=True, kw_only=True)
class _Rejudging:
    """The windows of --rejudge."""

    recorded: tuple[Slot, ...]  #: all of the range
    without_verdict: tuple[Slot, ...]


@app.command(
    epilog=examples(
        "redistill cycle",
        "redistill cycle --at 2026-11-24T10:00:00Z",
        "redistill cycle --backfill 2026-11-01 2026-11-24",
        "redistill cycle --rejudge 2026-11-23 2026-11-24",
    )
)
def cycle(
    ctx: typer.Context,
    *,
    at: _At = None,
    backfill: _Backfill = None,
    rejudge: _Rejudge = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run one cycle now, or the cycles of a range, and exit. Windows that were judged before are skipped.

    With --rejudge, the windows of a range that have no verdict are measured and judged again, with the
    current models, configuration and log.
    """
    if sum(given is not None for given in (at, backfill, rejudge)) > 1:
        raise typer.BadParameter("give at most one of --at, --backfill and --rejudge")
    settings = configured(ctx, config)
    slots = () if rejudge else _slots(settings.monitor, at, backfill, utc_now())
    logs.configure()
    with loading():
        from redistill import assembly  # noqa: PLC0415 - takes seconds, in which a signal ends the process

    stopping = stop_on_signals(within_seconds=_STOP_SECONDS, exit_code=INTERRUPTED)
    with stopping as stop, migrated(settings) as engine, translated_errors(engine):
        rejudging = _rejudging(engine, settings.monitor, rejudge, utc_now()) if rejudge else None
        slots = rejudging.recorded if rejudging else slots
        with bars() as progress:
            runner = assembly.slot_runner(settings, engine, progress)
            if rejudging:
                n_run = runner.rejudge(rejudging.without_verdict, stop.is_set)
            else:
                n_run = runner.run(slots, stop.is_set)
        assembly.outbox(settings, engine).deliver_due(utc_now())
        if stop.is_set():
            raise KeyboardInterrupt
        skipped = "have a verdict" if rejudging else "were judged before"
        _print(engine, slots, n_run, skipped=skipped, unchanged=runner.unchanged, as_json=as_json)


def _slots(
    monitor: MonitorSection, at: str | None, backfill: tuple[str, str] | None, now: datetime
) -> tuple[Slot, ...]:
    trigger, name = make_trigger(monitor), monitor.name
    if backfill is not None:
        start, end = _range("--backfill", backfill, now)
        slots = slots_between(trigger, name, start, min(end, now - monitor.lateness))
        if not slots:
            raise NoWindowError(start=start, end=end)
        return slots
    if at is None:
        return (newest_complete_slot(trigger, name, now=now, lateness=monitor.lateness),)
    slot = slot_at(trigger, name, moment("--at", at, now))
    if slot.window_end + monitor.lateness > now:
        raise NotCompleteError(slot=slot, complete_at=slot.window_end + monitor.lateness)
    return (slot,)


def _range(option: str, given: tuple[str, str], now: datetime) -> tuple[datetime, datetime]:
    start, end = (moment(option, text, now) for text in given)
    if start >= end:
        raise typer.BadParameter(f"{option} FROM TO: FROM must be before TO")
    return start, end


def _rejudging(
    engine: Engine, monitor: MonitorSection, rejudge: tuple[str, str], now: datetime
) -> _Rejudging:
    start, end = _range("--rejudge", rejudge, now)
    with reading(engine) as connection:
        windows = recorded_windows(connection, monitor.name, start=start, end=end)
    if not windows:
        raise NoRecordedWindowError(start=start, end=end)
    return _Rejudging(
        recorded=tuple(each.slot for each in windows),
        without_verdict=tuple(each.slot for each in windows if not each.has_verdict),
    )


def _print(
    engine: Engine,
    slots: Sequence[Slot],
    n_run: int,
    *,
    skipped: str,
    unchanged: Mapping[datetime, str],
    as_json: bool,
) -> None:
    ends = {slot.window_end for slot in slots}
    with reading(engine) as connection:
        history = rows(
            connection,
            "cycle_history",
            monitor=slots[0].monitor,
            order_by="window_end",
            since=min(ends),
        )
        found = [row for row in history if any(_ends_in(row, end) for end in ends)]
        ids = [row["cycle_id"] for row in found if row["status"] == CycleStatus.FAILED]
        health = teacher_health(connection, found)
        documents = with_accuracy(connection, found) if as_json else []
        errors = connection.scalars(select(cycles.c.error).where(cycles.c.id.in_(ids))).all()
    if as_json:
        show.print_json(documents)
    else:
        print_table(found, health)
        if n_run < len(slots):
            show.say(f"{len(slots) - n_run} of {len(slots)} windows were skipped: they {skipped}.")
        for end, why in unchanged.items():
            show.say(f"{show.time(end)}: unchanged: {why}")
    if unchanged:
        raise NotRejudgedError(n=len(unchanged), total=len(slots), error=next(iter(unchanged.values())))
    if errors:
        raise CyclesFailedError(n=len(errors), total=len(slots), error=errors[0])


def _ends_in(row: show.Row, end: datetime) -> bool:
    """Return whether a slot with that end is in the window of the cycle, which may have several slots."""
    start, until = row["window_start"], row["window_end"]
    return isinstance(start, datetime) and isinstance(until, datetime) and start < end <= until
