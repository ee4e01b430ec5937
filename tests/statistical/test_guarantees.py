"""What a sequential rule guarantees, over 2,000 streams: false alarms within the budget, whatever the path.

The budgets are larger than the default, so that alarms come often enough to be counted.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from triggers.rules.sequential import MEAN_BETS, add, share_boost, share_log_increments, statistic
from triggers.rules.sequential import Stratum as Part

Floats = NDArray[np.float64]

STREAMS = 2_000
LEVEL = 0.05

pytestmark = pytest.mark.slow


def alarmed(log_increments: Iterator[Floats], alarm_threshold: float, *, n: int | None) -> float:
    """The share of streams with an alarm, given the (streams, bets) gains of each cycle."""
    log_wealth, alarms = np.full((STREAMS, 7), -np.inf), np.zeros(STREAMS, dtype=bool)
    for each in log_increments:
        boost = 0.0 if n is None else share_boost(log_wealth, n, LEVEL, alarm_threshold)[:, None]
        log_wealth = add(log_wealth, each + boost)
        alarms |= statistic(log_wealth) >= np.log(alarm_threshold)
        log_wealth[alarms] = -np.inf  # what comes after an alarm plays no part
    return float(alarms.mean())


def assert_within(share: float, budget: float) -> None:
    """Not more than the budget by chance, and not so few that the count says nothing."""
    assert budget / 20 < share <= budget + 3 * np.sqrt(budget * (1 - budget) / STREAMS)


RATES = {
    "exactly the level": lambda _rng, cycles: np.full(cycles, LEVEL),
    "healthy rates that vary": lambda rng, cycles: np.minimum(LEVEL, rng.normal(0.049, 0.002, cycles)),
    "long calms, then the level": lambda _rng, cycles: np.where(np.arange(cycles) % 100 < 50, 0.03, LEVEL),
}


@pytest.mark.parametrize("path", RATES)
@pytest.mark.parametrize("n", [1_000, 5_500])
def test_agreement(path: str, n: int) -> None:
    """1,000 cycles at A = 4,000: at most 25% alarm."""
    rng = np.random.default_rng(2025)
    by_count = np.array(
        [share_log_increments([Part(weight=1.0, n=n, errors=k)], LEVEL) for k in range(n + 1)]
    )
    rates = RATES[path](rng, 1_000)
    counts = (rng.binomial(n, rate, size=STREAMS) for rate in rates)
    share = alarmed((by_count[each] for each in counts), 4_000, n=n)
    if path == "exactly the level":
        assert_within(share, 0.25)
    else:
        assert share <= 0.25


def test_a_stratified_sample() -> None:
    """A label of 2% of the window that is a fifth of the sample, and errs in 40%: A = 800, 200 cycles."""
    rng = np.random.default_rng(2026)
    shares, sizes = np.array([0.98, 0.02]), np.array([800, 200])
    rates = np.array([(LEVEL - 0.02 * 0.4) / 0.98, 0.4])
    weights = shares * sizes.sum() / sizes
    one = [
        np.array([share_log_increments([Part(weight=w, n=int(n), errors=k)], LEVEL) for k in range(n + 1)])
        for w, n in zip(weights, sizes, strict=True)
    ]

    def log_increments() -> Iterator[Floats]:
        for _ in range(200):
            counts = [rng.binomial(n, p, size=STREAMS) for n, p in zip(sizes, rates, strict=True)]
            yield one[0][counts[0]] + one[1][counts[1]]

    assert alarmed(log_increments(), 800, n=None) <= 0.25


LAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Floats]] = {
    "as skewed as KL": lambda rng, shape: rng.gamma(0.16, 0.15 / 0.16, shape),
    "two values": lambda rng, shape: np.where(rng.random(shape) < 0.05, 3.0, 0.0),
}


@pytest.mark.parametrize("law", LAWS)
def test_a_mean(law: str) -> None:
    """Values whose mean is the level, 200 a cycle: A = 400, 100 cycles, at most 25% alarm."""
    rng = np.random.default_rng(2027)

    def log_increments() -> Iterator[Floats]:
        for _ in range(100):
            excess = LAWS[law](rng, (STREAMS, 200)) / 0.15 - 1
            yield np.stack([np.log1p(bet * excess).sum(axis=1) for bet in MEAN_BETS], axis=1)

    assert_within(alarmed(log_increments(), 400, n=None), 0.25)
