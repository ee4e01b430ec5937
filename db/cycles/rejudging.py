"""Rejudging: new attempts at windows that ended without a verdict.

The row of such a cycle, and all rows that refer to it, stay as they are until the transaction of the new
conclusion: an attempt that fails, is stopped or dies with its process leaves no trace in SQL.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, func, select

from db.cycles import labels, ledger, results, rule_states
from db.cycles.ledger import AttemptEndedError
from db.errors import RedistillError
from db.records import Archive, Claim, EarlierResult, Slot
from db.states import CycleStatus
from db.tables import cycles, erasures

#: The statuses of cycles that ended without a verdict. A failed cycle is claimed again, as a running one is.
WITHOUT_VERDICT: Final = (CycleStatus.INCONCLUSIVE, CycleStatus.SKIPPED)


class CycleChangedError(RedistillError):
    """The labels or the archive of cycle {cycle_id} changed while its window was judged again: run the
    command again.
    """


class ErasureUnfinishedError(RedistillError):
    """An erasure from the archive of cycle {cycle_id} is unfinished: run `redistill archive erase` again,
    then this command.
    """


@dataclass(frozen=True, kw_only=True)
class KnownWindow:
    """A window that is in the ledger."""

    slot: Slot
    has_verdict: bool  #: healthy or breached


def windows(
    connection: Connection, monitor: str, *, start: datetime, end: datetime
) -> tuple[KnownWindow, ...]:
    """Return the windows in the ledger that are completely within [start, end], oldest first."""
    rows = connection.execute(
        select(cycles.c.window_start, cycles.c.window_end, cycles.c.status)
        .where(cycles.c.monitor == monitor, cycles.c.window_start >= start, cycles.c.window_end <= end)
        .order_by(cycles.c.window_end)
    )
    return tuple(
        KnownWindow(
            slot=Slot(monitor=monitor, window_start=row.window_start, window_end=row.window_end),
            has_verdict=row.status == CycleStatus.EVALUATED,
        )
        for row in rows
    )


def claim(connection: Connection, slot: Slot, now: datetime) -> Claim | None:
    """Start another attempt at a slot without a verdict.

    Return None if the slot has a verdict or is not in the ledger.

    The caller holds the monitor's lease and has called `leases.guard` in this transaction.
    """
    this_slot = (cycles.c.monitor == slot.monitor, cycles.c.window_end == slot.window_end)
    row = connection.execute(select(cycles).where(*this_slot)).one_or_none()
    if row is None:
        return None
    if row.status not in WITHOUT_VERDICT:
        return ledger.claim(connection, slot, now)
    return Claim(
        cycle_id=row.id,
        slot=slot,
        attempt=row.attempt + 1,
        started_at=now,
        n_slots=row.n_slots,
        earlier=_earlier(connection, row),
    )


def replace(connection: Connection, claim: Claim) -> None:
    """Delete the earlier result of the cycle: the new one is written in this transaction.

    Imported labels and the records of erasures stay. The cycle's row is locked first, so that neither an
    import of labels nor an erasure changes them meanwhile.

    Raises:
        AttemptEndedError: the attempt has ended, in a commit whose answer was lost.
        CycleChangedError: labels were imported or requests erased since the claim.
        ErasureUnfinishedError: an erasure is running, or its process died.
    """
    query = select(cycles).where(cycles.c.id == claim.cycle_id).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None or row.status not in WITHOUT_VERDICT or row.attempt != claim.attempt - 1:
        raise AttemptEndedError(attempt=claim.attempt, cycle_id=claim.cycle_id)
    if _erasures(connection, claim.cycle_id, unfinished=True):
        raise ErasureUnfinishedError(cycle_id=claim.cycle_id)
    if _earlier(connection, row) != claim.earlier:
        raise CycleChangedError(cycle_id=claim.cycle_id)
    rule_states.forget_from(connection, claim.slot.monitor, claim.slot.window_end)
    results.discard(connection, claim)


def archive_of(connection: Connection, cycle_id: int) -> str | None:
    """Return the URI of the cycle's archive as stored in SQL, or None."""
    uri: str | None = connection.scalar(select(cycles.c.archive).where(cycles.c.id == cycle_id))
    return uri


def _earlier(connection: Connection, row: Row[tuple[object, ...]]) -> EarlierResult:
    return EarlierResult(
        archive=None if row.archive is None else Archive(uri=row.archive, sha256=row.archive_sha256),
        n_records=(row.n_seen or 0) + (row.n_rejected or 0),
        n_erasures=_erasures(connection, row.id),
        late=labels.of_cycle(connection, row.id),
    )


def _erasures(connection: Connection, cycle_id: int, *, unfinished: bool = False) -> int:
    query = select(func.count()).select_from(erasures).where(erasures.c.cycle_id == cycle_id)
    if unfinished:
        query = query.where(erasures.c.finished_at.is_(None))
    return connection.scalar(query) or 0
