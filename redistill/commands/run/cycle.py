"""`redistill cycle`: one cycle now, those of a range, or those of a range that had no verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

import typer
from sqlalchemy import Engine, select

from db.connection.session import reading
from db.cycles import rejudging
from db.errors import RedistillError
from db.records import Slot
from db.states import CycleStatus
from db.tables import cycles
from db.views import rows
from monitor.clock import utc_now
from monitor.daemon.schedule import make_trigger, newest_complete_slot, slot_at, slots_between
from monitor.settings import MonitorSection
from redistill.commands.inspect.history import print_table, teachers_health
from redistill.commands.options import Config, Json, command, configured, examples
from redistill.database import migrated, telling
from redistill.display import show
from redistill.display.progress import bars
from redistill.display.times import moment
from redistill.process import logs
from redistill.process.stop_signals import stop_on_signals

app = command()

_At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="The window that this time lies in, or a duration back.",
        show_default="the newest complete one",
    ),
]
_Backfill = Annotated[
    tuple[str, str] | None,
    typer.Option("--backfill", metavar="FROM TO", help="Every window between two times, oldest first."),
]


_Rejudge = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--rejudge",
        metavar="FROM TO",
        help="Every window between two times that has no verdict, oldest first; fix the cause before.",
    ),
]


class NotCompleteError(RedistillError):
    """The window from {slot.window_start:%Y-%m-%d %H:%M} to {slot.window_end:%Y-%m-%d %H:%M} UTC is not
    complete: its traffic may still arrive, for [monitor] lateness, until {complete_at:%Y-%m-%d %H:%M}.
    """


class NoWindowError(RedistillError):
    """Between {start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC there is no whole and complete window."""


class NothingKnownError(RedistillError):
    """Between {start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M} UTC there is no window in the history: run new
    ones with --backfill.
    """


class CyclesFailedError(RedistillError):
    """{n} of {total} cycles failed; the first: {error}"""


class NotRejudgedError(RedistillError):
    """{n} of {total} windows could not be judged again and stay as they were; the first: {error}"""


@dataclass(frozen=True, kw_only=True)
class _Again:
    """The windows of --rejudge."""

    known: tuple[Slot, ...]  #: all of the range, also those with a verdict
    slots: tuple[Slot, ...]  #: those without


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
    """Run one cycle now, or those of a range, and exit; a window that was judged before is left as it is.

    With --rejudge the windows of a range that have no verdict are measured and judged anew, by the models,
    the configuration and the log of now.
    """
    from redistill import assembly  # noqa: PLC0415 - torch takes seconds to load

    if sum(given is not None for given in (at, backfill, rejudge)) > 1:
        raise typer.BadParameter("give --at or --backfill or --rejudge, not more than one")
    settings = configured(ctx, config)
    slots = () if rejudge else _slots(settings.monitor, at, backfill, utc_now())
    logs.configure()
    with migrated(settings) as engine, telling(engine), stop_on_signals() as stop:
        again = _without_verdict(engine, settings.monitor, rejudge, utc_now()) if rejudge else None
        slots = again.known if again else slots
        with bars() as progress:
            runner = assembly.slot_runner(settings, engine, progress)
            n_run = runner.rejudge(again.slots, stop.is_set) if again else runner.run(slots, stop.is_set)
        assembly.outbox(settings, engine).deliver_due(utc_now())
        if stop.is_set():
            raise KeyboardInterrupt
        left = "a verdict" if again else "been judged"
        _print(engine, slots, n_run, left=left, unchanged=runner.unchanged, as_json=as_json)


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


def _without_verdict(
    engine: Engine, monitor: MonitorSection, rejudge: tuple[str, str], now: datetime
) -> _Again:
    start, end = _range("--rejudge", rejudge, now)
    with reading(engine) as connection:
        found = rejudging.windows(connection, monitor.name, start=start, end=end)
    if not found:
        raise NothingKnownError(start=start, end=end)
    return _Again(
        known=tuple(each.slot for each in found),
        slots=tuple(each.slot for each in found if not each.has_verdict),
    )


def _print(
    engine: Engine,
    slots: Sequence[Slot],
    n_run: int,
    *,
    left: str,
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
        found = [row for row in history if row["window_end"] in ends]
        ids = [row["cycle_id"] for row in found if row["status"] == CycleStatus.FAILED]
        health = teachers_health(connection, found)
        errors = connection.scalars(select(cycles.c.error).where(cycles.c.id.in_(ids))).all()
    if as_json:
        show.print_json(found)
    else:
        print_table(found, health)
        if n_run < len(slots):
            show.say(f"{len(slots) - n_run} of {len(slots)} windows had {left} before, and were left.")
        for end, why in unchanged.items():
            show.say(f"{show.time(end)}: left as it was: {why}")
    if unchanged:
        raise NotRejudgedError(n=len(unchanged), total=len(slots), error=next(iter(unchanged.values())))
    if errors:
        raise CyclesFailedError(n=len(errors), total=len(slots), error=errors[0])
