"""The recorded windows of a monitor: the newest, the unfinished and the missing ones."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, select, true

from db.records import ObjectVersion, Slot
from db.states import CycleStatus, VerdictReason
from db.tables import UTCDateTime, cycles, objects

UNFINISHED = (CycleStatus.RUNNING, CycleStatus.FAILED)


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A slot whose last attempt failed, or died with its process."""

    slot: Slot
    status: CycleStatus
    attempt: int
    started_at: datetime
    finished_at: datetime | None  #: None if the process died, or was asked to stop


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A stretch of time between two windows in the ledger that no window covers."""

    start: datetime
    end: datetime


def last_end(connection: Connection, monitor: str, *, now: datetime) -> datetime | None:
    """Return the end of the newest window in the ledger that ended by `now`, or None if there is none.

    The status of the window's cycle does not matter. Later windows were written by a clock that was ahead.
    """
    return connection.scalar(
        select(cycles.c.window_end)
        .where(cycles.c.monitor == monitor, cycles.c.window_end <= now)
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    )


def unfinished(
    connection: Connection, monitor: str, *, since: datetime, ended_by: datetime
) -> tuple[Unfinished, ...]:
    """Return the slots whose last attempt did not succeed and whose windows ended from `since` to `ended_by`.

    Those whose process died are returned whatever their age. The oldest comes first.
    """
    rows = connection.execute(
        select(cycles)
        .where(
            cycles.c.monitor == monitor,
            is_unfinished(),
            (cycles.c.window_end >= since) | (cycles.c.status == CycleStatus.RUNNING),
            cycles.c.window_end <= ended_by,
        )
        .order_by(cycles.c.window_end)
    )
    return tuple(
        Unfinished(
            slot=slot_of(row),
            status=CycleStatus(row.status),
            attempt=row.attempt,
            started_at=row.started_at,
            finished_at=row.finished_at,
        )
        for row in rows
    )


def gaps(connection: Connection, monitor: str, *, since: datetime, now: datetime) -> tuple[Gap, ...]:
    """Return the gaps that end after `since` and before a window that ended by `now`, oldest first.

    A manual run leaves a gap after the windows that are in the ledger already.
    """
    this_monitor = (cycles.c.monitor == monitor) & (cycles.c.window_end <= now)
    newest_before = select(func.max(cycles.c.window_end)).where(this_monitor, cycles.c.window_end <= since)
    previous = func.lag(cycles.c.window_end, type_=UTCDateTime()).over(order_by=cycles.c.window_end)
    windows = (
        select(previous.label("start"), cycles.c.window_start.label("end"))
        .where(this_monitor, cycles.c.window_end >= func.coalesce(newest_before.scalar_subquery(), since))
        .subquery()
    )
    rows = connection.execute(
        select(windows)
        .where(windows.c.start < windows.c.end, windows.c.end > since)
        .order_by(windows.c.start)
    )
    return tuple(Gap(start=row.start, end=row.end) for row in rows)


def consumed(
    connection: Connection, monitor: str, window_end: datetime
) -> tuple[datetime, frozenset[ObjectVersion]] | None:
    """Return the start of the window that ends then, and the objects that its cycle has read.

    None if no such cycle ended with a result, or if it was only counted, as it was quiet to its end.
    """
    row = connection.execute(
        select(cycles).where(
            cycles.c.monitor == monitor,
            cycles.c.window_end == window_end,
            cycles.c.status.in_((CycleStatus.EVALUATED, CycleStatus.INCONCLUSIVE)),
        )
    ).one_or_none()
    if row is None:
        return None
    read = connection.execute(select(objects.c.name, objects.c.version).where(objects.c.cycle_id == row.id))
    found = frozenset(ObjectVersion(name=each.name, version=each.version) for each in read)
    return None if row.quiet_at is not None and not found else (row.window_start, found)


def is_covered(connection: Connection, monitor: str, start: datetime, end: datetime) -> bool:
    """Return whether a recorded window ends after `start` and begins before `end`."""
    following = (
        select(cycles.c.window_start)
        .where(cycles.c.monitor == monitor, cycles.c.window_end > start)
        .order_by(cycles.c.window_end)
        .limit(1)
    )
    found = connection.scalar(following)
    return found is not None and found < end


def slot_of(row: Row[Any]) -> Slot:
    """Return the slot, or the slots, that a row of the ledger covers."""
    return Slot(monitor=row.monitor, window_start=row.window_start, window_end=row.window_end)


def last_conclusive_at(connection: Connection, monitor: str, *, now: datetime) -> datetime | None:
    """Return the last time, by `now`, at which a cycle had a conclusion.

    It judged the student, found the teacher unhealthy, or found that the window was quiet.
    """
    of_monitor = cycles.c.monitor == monitor
    judged_at = connection.scalar(
        select(cycles.c.finished_at)
        .where(of_monitor, _is_conclusive(), cycles.c.finished_at <= now)
        .order_by(cycles.c.finished_at.desc())
        .limit(1)
    )
    quiet_at = connection.scalar(
        select(cycles.c.quiet_at)
        .where(of_monitor, cycles.c.quiet_at.is_not(None), cycles.c.quiet_at <= now)
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    )
    return max(filter(None, (judged_at, quiet_at)), default=None)


def is_retrying_without_result(connection: Connection, monitor: str) -> bool:
    """Return whether a slot is being retried and no later cycle was conclusive.

    A slot is retried after an error, or after its process died.
    """
    newest = (
        select(cycles.c.window_end)
        .where(cycles.c.monitor == monitor, _is_conclusive())
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    )
    again = select(cycles.c.id).where(
        cycles.c.monitor == monitor,
        is_unfinished(),
        cycles.c.status == CycleStatus.RUNNING,
        cycles.c.attempt > 1,
        func.coalesce(cycles.c.window_end > newest.scalar_subquery(), true()),
    )
    return connection.scalar(again.limit(1)) is not None


def is_unfinished() -> ColumnElement[bool]:
    """Return the condition that a row may be claimed again."""
    # Literal values, as in the partial index: with parameters SQLite does not see that it can use the index.
    return cycles.c.status.in_(bindparam("unfinished", UNFINISHED, expanding=True, literal_execute=True))


def _is_conclusive() -> ColumnElement[bool]:
    return (cycles.c.status == CycleStatus.EVALUATED) | (
        cycles.c.verdict_reason == VerdictReason.TEACHER_UNHEALTHY
    )
