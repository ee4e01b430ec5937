"""E-detectors: tests of a level that stay valid when they are read after every cycle.

However often the test is read, the probability of an alarm within t cycles is at most t / A, as long as the
level holds in each of them, however the rate varies below it; and the mean time to a false alarm is at least
A cycles. A is `alarm_threshold`, 1,000 / false_alarm_rate.

A detector's state is one number per bet: its log wealth, -inf at the start. Arrays of log wealth and of log
increments are (..., bets), in the order of `SHARE_BETS` or `MEAN_BETS`; leading axes are other detectors.

Sources: Shin, Ramdas, Rinaldo, arXiv 2203.03532 (e-detectors); Fischer, Ramdas, arXiv 2410.16076 (the boost);
Waudby-Smith, Ramdas, arXiv 2010.09686 (means); Shekhar, Ramdas, arXiv 2309.09111.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

#: The error rates that are bet on, as multiples of the level; rates of 1 or more are left out.
SHARE_BETS: Final = (1.1, 1.2, 1.32, 1.5, 1.8, 2.4, 4.0)
#: The stakes on a mean above its level, as shares of the wealth.
MEAN_BETS: Final = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.3)

_NEWTON_STEPS = 50
_PRECISION = 1e-12
_LARGEST_EXPONENT = 600.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Requests of a sample that represent the same number of requests each."""

    weight: float  #: requests of the window that each represents, relative to the average
    n: int
    errors: int  #: among the n


def statistic(log_wealth: Floats) -> Floats:
    """Return the log of the mean wealth of all bets, (...); an alarm is due from log A on.

    Example:
        >>> round(float(statistic(np.log([0.5, 1.5]))), 6)  # the mean wealth is 1
        0.0
    """
    return np.asarray(np.logaddexp.reduce(log_wealth, axis=-1) - np.log(log_wealth.shape[-1]))


def share_log_increments(strata: Sequence[Stratum], level: float) -> Floats:
    """Return the (bets,) log increments of one cycle's sample against an error rate `level` in (0, 1).

    For one stratum with weight 1 they are the log-likelihood ratios of the rates bet on. In general an
    increment multiplies its stake by at most 1 on average while the window's error rate is at most `level`,
    whatever the error rates of the strata: by the inequality of the arithmetic and geometric means.

    Example:
        >>> sample = [Stratum(weight=1.0, n=1_000, errors=70)]
        >>> share_log_increments(sample, 0.05).round(2).tolist()
        [1.76, 2.92, 3.64, 3.58, 1.14, -9.9, -62.78]
    """
    stakes = (_rates(level) - level) / (1 - level)
    log_increments = np.zeros(stakes.size)
    for each in strata:
        log_increments += each.errors * np.log1p(stakes * (each.weight / level - 1))
        log_increments += (each.n - each.errors) * np.log1p(-stakes)
    return log_increments


def mean_log_increments(values: ArrayLike, level: float, weights: ArrayLike = 1.0) -> Floats:
    """Return the (bets,) log increments of one cycle's sample against a mean `level` > 0 of values >= 0.

    Args:
        values: (n,) one per request.
        level: in the unit of the values.
        weights: (n,) requests of the window that each represents, relative to the average.

    Example:
        >>> mean_log_increments([0.1, 0.2, 0.3], 0.15).round(3).tolist()
        [0.005, 0.01, 0.02, 0.039, 0.076, 0.146, 0.252]
    """
    excess = np.asarray(values, dtype=np.float64) * np.asarray(weights, dtype=np.float64) / level - 1
    return np.asarray(np.log1p(np.array(MEAN_BETS)[:, None] * excess).sum(axis=1))


def start(log_increments: Floats) -> Floats:
    """Return the log wealth before the first cycle: -inf, in the shape of the increments.

    Example:
        >>> start(np.zeros(2)).tolist()
        [-inf, -inf]
    """
    return np.full_like(log_increments, -np.inf)


def add(log_wealth: Floats, log_increments: Floats) -> Floats:
    """Return the log wealth after one more cycle: log((1 + M) · increment) for a wealth of M.

    Example:
        At a level of 5%, 70 errors in 1,000 raise an alarm at A = 5,000 in the third cycle:

        >>> increments = share_log_increments([Stratum(weight=1.0, n=1_000, errors=70)], 0.05)
        >>> log_wealth, found = start(increments), []
        >>> for _ in range(3):
        ...     log_wealth = add(log_wealth, increments)
        ...     found.append(round(float(statistic(log_wealth)), 2))
        >>> found, round(float(np.log(5_000)), 2)
        ([2.67, 6.13, 9.67], 8.52)
    """
    return np.logaddexp(0.0, log_wealth) + log_increments


def share_boost(log_wealth: Floats, n: int, level: float, alarm_threshold: float) -> Floats:
    """Return log b, where b >= 1 multiplies the increments of a uniform sample of n without losing validity.

    Wealth beyond A, the `alarm_threshold`, has no use; b returns it early: E min(A, b · S) = 1 + Σ M / bets
    over samples with the error rate `level`, where S is the next mean wealth. Because S increases with the
    errors, the expectation is not larger at a smaller rate. Valid while the sample is a small part of the
    window.

    Example:
        >>> round(float(share_boost(start(np.zeros(7)), 1_000, 0.05, alarm_threshold=20_000)), 3)
        0.487
    """
    law = _sample_law(n, level)
    stakes = (1 + np.exp(np.minimum(log_wealth, _LARGEST_EXPONENT))) / (
        log_wealth.shape[-1] * alarm_threshold
    )
    part = np.minimum(stakes @ law.ratios.T, 1.0)
    fair = stakes.sum(axis=-1)
    boost = np.ones(fair.shape)
    # E min(A, b · S) is concave in b: Newton's steps from below never overshoot the fair b.
    for _ in range(_NEWTON_STEPS):
        below = boost[..., None] * part < 1
        slope = np.where(below, law.mass * part, 0.0).sum(axis=-1)
        missing = fair - boost * slope - np.where(below, 0.0, law.mass).sum(axis=-1)
        steps = np.divide(missing, slope, out=np.zeros_like(missing), where=slope > 0)
        if (steps <= _PRECISION * boost).all():
            break
        boost += np.maximum(steps, 0.0)
    return np.log(boost)


@dataclass(frozen=True, kw_only=True, eq=False)
class _SampleLaw:
    """The errors of a sample at the level: the probability of each count, and its likelihood ratios."""

    mass: Floats  #: (counts,) the outermost include the rarer counts that are left out
    ratios: Floats  #: (counts, bets)


@lru_cache(maxsize=64)
def _sample_law(n: int, level: float) -> _SampleLaw:
    rare = 1e-16
    counts = np.arange(int(binom.ppf(rare, n, level)), int(binom.isf(rare, n, level)) + 1)
    mass = binom.pmf(counts, n, level)
    mass[0], mass[-1] = binom.cdf(counts[0], n, level), binom.sf(counts[-1] - 1, n, level)
    rates = _rates(level)
    won, lost = np.log(rates / level), np.log((1 - rates) / (1 - level))
    return _SampleLaw(mass=mass, ratios=np.exp(np.outer(counts, won) + np.outer(n - counts, lost)))


def _rates(level: float) -> Floats:
    rates = level * np.array(SHARE_BETS)
    return np.asarray(rates[rates < 1])
