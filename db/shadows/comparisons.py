"""The cycles of a shadow, each of which compares the candidate with the student in service."""

import math
from typing import Final

from sqlalchemy import Connection, insert, select, update

from db.records import Claim, Shadow, ShadowScores, ShadowTotals
from db.tables import cycles, shadow_cycles

#: After this many attempts that died, the candidate is not scored: it may be what kills them.
_DEATHS: Final = 2
#: The largest e-value that is stored.
_LARGEST: Final = 1e300


def totals(connection: Connection, shadow: Shadow) -> ShadowTotals:
    """Return the sums over the cycles of a shadow."""
    rows = connection.execute(
        select(shadow_cycles)
        .join(cycles, cycles.c.id == shadow_cycles.c.cycle_id)
        .where(shadow_cycles.c.shadow_id == shadow.shadow_id)
        .order_by(cycles.c.window_end)
    ).all()
    scored = [row for row in rows if row.error is None]
    last_scored = max((number for number, row in enumerate(rows, 1) if row.error is None), default=0)
    return ShadowTotals(
        n_cycles=len(scored),
        n_candidate_only=sum(row.n_candidate_only for row in scored),
        n_incumbent_only=sum(row.n_incumbent_only for row in scored),
        n_errors_in_a_row=len(rows) - last_scored,
    )


def attempts_died(connection: Connection, claim: Claim) -> bool:
    """Return whether the process died in at least two earlier attempts at the cycle, and none failed."""
    error = connection.scalar(select(cycles.c.error).where(cycles.c.id == claim.cycle_id))
    return claim.attempt > _DEATHS and error is None and claim.earlier is None


def newest_error(connection: Connection, shadow: Shadow) -> str | None:
    """Return the reason why the shadow's newest cycle could not score the candidate, or None if it could."""
    newest = (
        select(shadow_cycles.c.error)
        .join(cycles, cycles.c.id == shadow_cycles.c.cycle_id)
        .where(shadow_cycles.c.shadow_id == shadow.shadow_id)
        .order_by(cycles.c.window_end.desc())
    )
    return connection.scalar(newest.limit(1))


def add_cycle(connection: Connection, cycle_id: int, scores: ShadowScores) -> None:
    """Store what an evaluated cycle measured. A cycle belongs to a shadow once, which the key ensures."""
    numbers = scores.numbers
    connection.execute(
        insert(shadow_cycles).values(
            shadow_id=scores.shadow_id,
            cycle_id=cycle_id,
            error=scores.error,
            **({} if numbers is None else vars(numbers)),
        )
    )


def set_e_values(
    connection: Connection, shadow: Shadow, cycle_id: int, *, log_better: float, log_worse: float
) -> None:
    """Store the two e-values over the cycles up to this one, from their logarithms."""
    this = (shadow_cycles.c.shadow_id == shadow.shadow_id, shadow_cycles.c.cycle_id == cycle_id)
    better, worse = (math.exp(min(each, math.log(_LARGEST))) for each in (log_better, log_worse))
    connection.execute(update(shadow_cycles).where(*this).values(e_better=better, e_worse=worse))
