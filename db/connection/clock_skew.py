"""Cycles that were ended by a clock that was ahead, and whose ends are in the future once it is set back."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, select, update

from db.cycles import results, rule_states
from db.states import CycleStatus, Verdict, VerdictReason
from db.tables import cycles, erasures, labels

#: The clocks of several machines differ by less than this.
SKEW: Final = timedelta(minutes=1)

#: The tables that refer to a cycle, without `erasures`: a cycle with an erasure is left as it is.
_PARTS: Final = (*results.PARTS, labels)


def reopen(connection: Connection, monitor: str, *, now: datetime, since: datetime) -> int:
    """Reopen cycles that ended without a verdict at a time later than `now`; return their number.

    `now` is the database's time; only windows that ended at `since` or later count. Such a slot was skipped,
    its window was empty, or its window was not over. A slot that was skipped without an attempt loses its
    row; any other is to be retried. Evaluated cycles stay as they are.
    """
    nothing_seen = (cycles.c.n_seen == 0) & (cycles.c.n_rejected == 0)
    too_soon = cycles.c.window_end > now
    found = connection.execute(
        select(cycles.c.id, cycles.c.window_end, cycles.c.attempt)
        .where(
            cycles.c.monitor == monitor,
            cycles.c.window_end >= since,
            cycles.c.finished_at > now + SKEW,
            (cycles.c.status == CycleStatus.SKIPPED)
            | ((cycles.c.status == CycleStatus.INCONCLUSIVE) & (nothing_seen | too_soon)),
            cycles.c.id.not_in(select(erasures.c.cycle_id)),
        )
        .order_by(cycles.c.window_end)
    ).all()
    if not found:
        return 0
    rule_states.forget_from(connection, monitor, found[0].window_end)
    attempted = [row.id for row in found if row.attempt]
    for part in _PARTS:
        connection.execute(delete(part).where(part.c.cycle_id.in_(attempted)))
    connection.execute(
        update(cycles)
        .where(cycles.c.id.in_(attempted))
        .values(
            {
                **dict.fromkeys(results.CONCLUDED),
                "status": CycleStatus.FAILED,
                "verdict": Verdict.FAILED,
                "verdict_reason": VerdictReason.ERROR,
                "attempt": cycles.c.attempt - 1,
                "error": "the attempt was ended by a clock that was ahead",
            }
        )
    )
    connection.execute(delete(cycles).where(cycles.c.id.in_([row.id for row in found if not row.attempt])))
    return len(found)
