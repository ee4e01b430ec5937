"""Simulated shadows of candidates, decided by the product's own functions."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import numpy as np

from bench.simulated_candidates import SEED
from db.records import Shadow, ShadowTotals
from db.states import ShadowReason
from triggers.shadow.decision import ShadowStep

TEXTS: Final = 60  #: discordant ones in a cycle
_SHADOW: Final = Shadow(
    shadow_id=1,
    monitor="simulated",
    job_id=1,
    candidate_version="candidate",
    incumbent_version="incumbent",
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
)


def ends(won: float, n: int, *, cycles: int, texts: int = TEXTS) -> list[tuple[ShadowReason, int]]:
    """Return the reason and the cycle of the ends of n shadows whose candidate wins that share of texts.

    The number of discordant texts varies from cycle to cycle, by a Poisson distribution.
    """
    rng = np.random.default_rng(SEED)
    drawn = rng.poisson((won * texts, (1 - won) * texts), (n, cycles, 2)).cumsum(axis=1)
    return [_end(each, cycles) for each in drawn.tolist()]


def _end(sums: list[list[int]], cycles: int) -> tuple[ShadowReason, int]:
    for cycle, (won, lost) in enumerate(sums, start=1):
        reason = _reason(cycle, won, lost, cycles)
        if reason is not None:
            return reason, cycle
    raise AssertionError("a shadow ends with its last cycle")


@lru_cache(maxsize=1_000_000)
def _reason(cycle: int, won: int, lost: int, cycles: int) -> ShadowReason | None:
    totals = ShadowTotals(n_cycles=cycle, n_candidate_only=won, n_incumbent_only=lost)
    return ShadowStep(shadow=_SHADOW, totals=totals, shadow_cycles=cycles).reason
