"""The ledger of cycles, which records the claims of slots and their ends."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, insert, select, true, update

from db.cycles import rule_states
from db.errors import RedistillError
from db.records import Claim, ObjectVersion, QuietWindow, Slot, Traffic
from db.states import CycleStatus, Verdict, VerdictReason
from db.tables import UTCDateTime, cycles, objects
from db.telemetry import counts
from db.telemetry.counts import count

UNFINISHED = (CycleStatus.RUNNING, CycleStatus.FAILED)


class AttemptEndedError(RedistillError):
    """Attempt {attempt} at cycle {cycle_id} has ended already: nothing more was written."""


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
            _is_unfinished(),
            (cycles.c.window_end >= since) | (cycles.c.status == CycleStatus.RUNNING),
            cycles.c.window_end <= ended_by,
        )
        .order_by(cycles.c.window_end)
    )
    return tuple(
        Unfinished(
            slot=_slot_of(row),
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


def claim(
    connection: Connection, slot: Slot, now: datetime, *, max_window: timedelta = timedelta(0)
) -> Claim | None:
    """Start an attempt at the slot, or return None if its cycle has ended already.

    Windows never overlap: after a change of the schedule, a new slot starts where the recorded window before
    its end ends, and there is no claim if a recorded window contains its end. If the window before it is
    quiet, the slot extends it, in the same row, unless it would be longer than `max_window`.

    The caller holds the monitor's lease and has called `leases.guard` in this transaction.
    """
    this_slot = (cycles.c.monitor == slot.monitor, cycles.c.window_end == slot.window_end)
    row = connection.execute(select(cycles).where(*this_slot)).one_or_none()
    if row is not None:
        return _claim_again(connection, row, now) if row.status in UNFINISHED else None
    if is_covered(connection, slot.monitor, slot.window_end, slot.window_end):
        return None
    rule_states.forget_from(connection, slot.monitor, slot.window_end)
    before = _window_before(connection, slot)
    if before is not None and before.window_end >= slot.window_start:
        if before.verdict_reason == VerdictReason.QUIET:
            if slot.window_end - before.window_start <= max_window:
                return _extend(connection, before, slot, now)
            end_quiet(connection, slot.monitor, before.window_end)
        slot = replace(slot, window_start=before.window_end)
    new = insert(cycles).values(**asdict(slot), status=CycleStatus.RUNNING, attempt=1, started_at=now)
    cycle_id = connection.execute(new.returning(cycles.c.id)).scalar_one()
    return Claim(cycle_id=cycle_id, slot=slot, attempt=1, started_at=now)


def _claim_again(connection: Connection, row: Row[Any], now: datetime) -> Claim:
    rule_states.forget_from(connection, row.monitor, row.window_end)
    attempt = row.attempt + 1
    connection.execute(update(cycles).where(cycles.c.id == row.id).values(_started(attempt, now)))
    return Claim(cycle_id=row.id, slot=_slot_of(row), attempt=attempt, started_at=now, n_slots=row.n_slots)


def _extend(connection: Connection, row: Row[Any], slot: Slot, now: datetime) -> Claim:
    n_slots = row.n_slots + 1
    longer = {"window_end": slot.window_end, "n_slots": n_slots}
    connection.execute(update(cycles).where(cycles.c.id == row.id).values(_started(1, now) | longer))
    return Claim(
        cycle_id=row.id,
        slot=replace(slot, window_start=row.window_start),
        attempt=1,
        started_at=now,
        n_slots=n_slots,
        extended=QuietWindow(
            window_end=row.window_end,
            attempt=row.attempt,
            started_at=row.started_at,
            finished_at=row.finished_at,
        ),
    )


def _started(attempt: int, now: datetime) -> dict[str, object]:
    return {
        "status": CycleStatus.RUNNING,
        "verdict": None,
        "verdict_reason": None,
        "attempt": attempt,
        "started_at": now,
        "finished_at": None,
    }


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


def _window_before(connection: Connection, slot: Slot) -> Row[Any] | None:
    """Return the recorded window that is the last to end before the slot does."""
    return connection.execute(
        select(cycles)
        .where(cycles.c.monitor == slot.monitor, cycles.c.window_end < slot.window_end)
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    ).one_or_none()


def _slot_of(row: Row[Any]) -> Slot:
    return Slot(monitor=row.monitor, window_start=row.window_start, window_end=row.window_end)


def wait(connection: Connection, claim: Claim, traffic: Traffic, now: datetime) -> int:
    """Record that the window has too few requests so far; return the slots without a record at its end.

    The last slot is empty if the window has no more records than before it was extended.
    """
    row = connection.execute(select(cycles).where(cycles.c.id == claim.cycle_id)).one()
    n_before = (row.n_seen or 0) + (row.n_rejected or 0) if row.quiet_at is not None else 0
    is_empty = traffic.n_seen + traffic.n_rejected <= n_before
    n_empty = min(row.n_empty + 1, row.n_slots) if is_empty else 0
    connection.execute(
        update(cycles)
        .where(cycles.c.id == claim.cycle_id)
        .values(
            status=CycleStatus.INCONCLUSIVE,
            verdict=Verdict.INCONCLUSIVE,
            verdict_reason=VerdictReason.QUIET,
            error=None,
            finished_at=now,
            quiet_at=now,
            n_empty=n_empty,
            n_seen=traffic.n_seen,
            n_sampled=0,
            n_scored=0,
            n_rejected=traffic.n_rejected,
        )
    )
    return n_empty


def end_quiet(connection: Connection, monitor: str, window_end: datetime) -> None:
    """Record that no slot extends the window that ends then: if it is quiet, it had too few requests."""
    ended = connection.execute(
        update(cycles)
        .where(
            cycles.c.monitor == monitor,
            cycles.c.window_end == window_end,
            cycles.c.verdict_reason == VerdictReason.QUIET,
        )
        .values(verdict_reason=VerdictReason.TOO_FEW_SAMPLES)
    )
    if ended.rowcount:
        counts.add(connection, monitor, [count("cycles_total", verdict=Verdict.INCONCLUSIVE)])


def lock_for_write(connection: Connection, claim: Claim) -> None:
    """Check that the attempt has not ended: it may have, in a commit whose answer was lost.

    The caller holds the monitor's lease and has called `leases.guard` in this transaction.

    Raises:
        AttemptEndedError: the attempt has ended.
    """
    row = connection.execute(
        select(cycles.c.status, cycles.c.attempt, cycles.c.window_end).where(cycles.c.id == claim.cycle_id)
    ).one_or_none()
    claimed = (CycleStatus.RUNNING, claim.attempt, claim.slot.window_end)
    if row is None or (row.status, row.attempt, row.window_end) != claimed:
        raise AttemptEndedError(attempt=claim.attempt, cycle_id=claim.cycle_id)


def skip(connection: Connection, slots: Iterable[Slot], now: datetime) -> None:
    """Record slots of one monitor that were too old to run, so that the ledger has no gap.

    A quiet window before them is not extended any more.
    """
    slots = tuple(slots)
    if slots:
        oldest = min(slots, key=attrgetter("window_end"))
        rule_states.forget_from(connection, oldest.monitor, oldest.window_end)
        end_quiet(connection, oldest.monitor, oldest.window_start)
    rows = [
        {
            **asdict(slot),
            "status": CycleStatus.SKIPPED,
            "verdict": Verdict.INCONCLUSIVE,
            "verdict_reason": VerdictReason.TOO_OLD,
            "attempt": 0,
            "finished_at": now,
        }
        for slot in slots
    ]
    if rows:
        connection.execute(insert(cycles), rows)
        skipped = count("cycles_total", len(rows), verdict=Verdict.INCONCLUSIVE)
        counts.add(connection, slots[0].monitor, [skipped])


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
        _is_unfinished(),
        cycles.c.status == CycleStatus.RUNNING,
        cycles.c.attempt > 1,
        func.coalesce(cycles.c.window_end > newest.scalar_subquery(), true()),
    )
    return connection.scalar(again.limit(1)) is not None


def _is_unfinished() -> ColumnElement[bool]:
    # Literal values, as in the partial index: with parameters SQLite does not see that it can use the index.
    return cycles.c.status.in_(bindparam("unfinished", UNFINISHED, expanding=True, literal_execute=True))


def _is_conclusive() -> ColumnElement[bool]:
    return (cycles.c.status == CycleStatus.EVALUATED) | (
        cycles.c.verdict_reason == VerdictReason.TEACHER_UNHEALTHY
    )


def abandon(connection: Connection, monitor: str, *, ended_before: datetime, now: datetime) -> None:
    """Record as skipped the slots whose process died and whose windows are too old to be retried."""
    died = (
        (cycles.c.monitor == monitor)
        & _is_unfinished()
        & (cycles.c.status == CycleStatus.RUNNING)
        & (cycles.c.window_end < ended_before)
    )
    oldest = connection.scalar(select(func.min(cycles.c.window_end)).where(died))
    if oldest is None:
        return
    rule_states.forget_from(connection, monitor, oldest)
    abandoned = connection.execute(
        update(cycles)
        .where(died)
        .values(
            status=CycleStatus.SKIPPED,
            verdict=Verdict.INCONCLUSIVE,
            verdict_reason=VerdictReason.TOO_OLD,
            finished_at=now,
        )
    )
    ended = count("cycles_total", abandoned.rowcount, verdict=Verdict.INCONCLUSIVE)
    counts.add(connection, monitor, [ended])


def fail(connection: Connection, claim: Claim, error: str, now: datetime) -> None:
    """Record that this attempt ended in an error; the slot may be claimed again."""
    connection.execute(
        update(cycles)
        .where(cycles.c.id == claim.cycle_id)
        .values(
            status=CycleStatus.FAILED,
            verdict=Verdict.FAILED,
            verdict_reason=VerdictReason.ERROR,
            error=error,
            finished_at=now,
        )
    )
    counts.add(connection, claim.slot.monitor, [count("cycles_total", verdict=Verdict.FAILED)])


def give_back(connection: Connection, claim: Claim) -> None:
    """Undo a claim whose attempt was stopped on request: the attempt does not count."""
    if claim.extended is not None:
        connection.execute(
            update(cycles)
            .where(cycles.c.id == claim.cycle_id)
            .values(
                **vars(claim.extended),
                n_slots=claim.n_slots - 1,
                status=CycleStatus.INCONCLUSIVE,
                verdict=Verdict.INCONCLUSIVE,
                verdict_reason=VerdictReason.QUIET,
            )
        )
    elif claim.attempt == 1:
        connection.execute(cycles.delete().where(cycles.c.id == claim.cycle_id))
    else:
        connection.execute(
            update(cycles)
            .where(cycles.c.id == claim.cycle_id)
            .values(
                status=CycleStatus.FAILED,
                verdict=Verdict.FAILED,
                verdict_reason=VerdictReason.ERROR,
                attempt=claim.attempt - 1,
            )
        )
