"""Statuses, verdicts, label shares, slices and input drift of ended cycles."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from sqlalchemy import Connection, case, func, or_, select

from db.cycles.rows import slice_of
from db.records import InputDrift, Interval, Slice, Slot
from db.states import CycleStatus, Verdict, VerdictReason
from db.tables import class_metrics, cycles, input_drift, slices

_PAGE: Final = 100


def newest_statuses(
    connection: Connection, monitor: str, limit: int, *, until: datetime
) -> tuple[CycleStatus, ...]:
    """Return the statuses of the last ended cycles with window_end <= until, newest first, at most `limit`.

    A window that had too few requests counts as all its slots, and a quiet one as its slots at the end
    without a record.
    """
    reason = cycles.c.verdict_reason
    counts = case(
        (reason == VerdictReason.QUIET, cycles.c.n_empty),
        (reason == VerdictReason.TOO_FEW_SAMPLES, cycles.c.n_slots),
        else_=1,
    )
    query = (
        select(cycles.c.status, counts)
        .where(
            cycles.c.monitor == monitor,
            cycles.c.status != CycleStatus.RUNNING,
            cycles.c.window_end <= until,
            counts > 0,
        )
        .order_by(cycles.c.window_end.desc())
        .limit(limit)
    )
    found = (CycleStatus(status) for status, n in connection.execute(query) for _ in range(n))
    return tuple(islice(found, limit))


def verdict_counts(connection: Connection, monitor: str, student: str, *, since: datetime) -> tuple[int, int]:
    """Count the student's cycles that started at `since` or later: those evaluated, and those healthy."""
    row = connection.execute(
        select(func.count(), func.count().filter(cycles.c.verdict == Verdict.HEALTHY)).where(
            cycles.c.monitor == monitor,
            cycles.c.student_version == student,
            cycles.c.status == CycleStatus.EVALUATED,
            cycles.c.started_at >= since,
        )
    ).one()
    return int(row[0]), int(row[1])


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """A run of healthy cycles."""

    window_end: datetime  #: of its newest window
    finished_at: datetime | None  #: when the cycle of that window ended


def newest_recovery(
    connection: Connection, monitor: str, *, n: int, until: datetime | None = None
) -> Recovery | None:
    """Return the newest run of `n` healthy cycles in a row, to its last window; None if there is none.

    Only evaluated cycles count, and with `until` only those with window_end < until.
    """
    newest: Recovery | None = None
    n_healthy = 0
    for recovery, verdict in _newest_verdicts(connection, monitor, until):
        is_healthy = verdict == Verdict.HEALTHY
        newest = (newest or recovery) if is_healthy else None
        n_healthy = n_healthy + 1 if is_healthy else 0
        if n_healthy == n:
            return newest
    return None


def _newest_verdicts(
    connection: Connection, monitor: str, until: datetime | None
) -> Iterator[tuple[Recovery, Verdict]]:
    """Yield window, end and verdict of evaluated cycles, newest first, read page by page."""
    query = (
        select(cycles.c.window_end, cycles.c.finished_at, cycles.c.verdict)
        .where(cycles.c.monitor == monitor, cycles.c.status == CycleStatus.EVALUATED)
        .order_by(cycles.c.window_end.desc())
        .limit(_PAGE)
    )
    while page := connection.execute(
        query if until is None else query.where(cycles.c.window_end < until)
    ).all():
        for row in page:
            yield Recovery(window_end=row.window_end, finished_at=row.finished_at), row.verdict
        until = page[-1].window_end


def has_later_result(connection: Connection, slot: Slot, *, or_unjudged: bool = False) -> bool:
    """Return whether a cycle of a later window has been evaluated already.

    With `or_unjudged`, a cycle that waits to be judged again counts too, but not one with too few requests.
    """
    waits = (cycles.c.status == CycleStatus.INCONCLUSIVE) & cycles.c.verdict_reason.not_in(
        (VerdictReason.TOO_FEW_SAMPLES, VerdictReason.QUIET)
    )
    is_evaluated = cycles.c.status == CycleStatus.EVALUATED
    return (
        connection.scalar(
            select(cycles.c.id)
            .where(
                cycles.c.monitor == slot.monitor,
                or_(is_evaluated, waits) if or_unjudged else is_evaluated,
                cycles.c.window_end > slot.window_end,
            )
            .limit(1)
        )
        is not None
    )


def label_shares(connection: Connection, cycle_id: int) -> Mapping[str, float]:
    """Return each label's share of the cycle's window, by the teacher; empty if nothing was measured."""
    rows = connection.execute(
        select(class_metrics.c.label, class_metrics.c.share).where(class_metrics.c.cycle_id == cycle_id)
    )
    return {row.label: row.share for row in rows}


def slices_of(connection: Connection, cycle_id: int) -> tuple[Slice, ...]:
    """Return the stored slices of a cycle, the one whose excess has grown most first."""
    query = select(slices).where(slices.c.cycle_id == cycle_id).order_by(slices.c.rank)
    return tuple(map(slice_of, connection.execute(query)))


def input_drift_of(connection: Connection, cycle_id: int) -> InputDrift | None:
    """Return the measured difference of the cycle's requests from its reference's, or None."""
    query = select(input_drift).where(input_drift.c.cycle_id == cycle_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return InputDrift(
        reference_cycle_id=row.reference_cycle_id,
        n=row.n,
        n_reference=row.n_reference,
        accuracy=row.accuracy,
        p_value=row.p_value,
        psi=Interval(estimate=row.psi, low=row.psi_low, high=row.psi_high),
        js=Interval(estimate=row.js, low=row.js_low, high=row.js_high),
    )
