"""The ledger of cycles, which records the claims of slots and their ends."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from db.cycles import rule_states
from db.cycles.windows import UNFINISHED, is_covered, is_unfinished, slot_of
from db.errors import RedistillError
from db.records import Claim, QuietWindow, Slot, Traffic
from db.states import CycleStatus, Verdict, VerdictReason
from db.tables import cycles
from db.telemetry import counts
from db.telemetry.counts import count


class AttemptEndedError(RedistillError):
    """Attempt {attempt} at cycle {cycle_id} has ended already: nothing more was written."""


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
    return Claim(cycle_id=row.id, slot=slot_of(row), attempt=attempt, started_at=now, n_slots=row.n_slots)


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


def _window_before(connection: Connection, slot: Slot) -> Row[Any] | None:
    """Return the recorded window that is the last to end before the slot does."""
    return connection.execute(
        select(cycles)
        .where(cycles.c.monitor == slot.monitor, cycles.c.window_end < slot.window_end)
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    ).one_or_none()


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


def abandon(connection: Connection, monitor: str, *, ended_before: datetime, now: datetime) -> None:
    """Record as skipped the slots whose process died and whose windows are too old to be retried."""
    died = (
        (cycles.c.monitor == monitor)
        & is_unfinished()
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
