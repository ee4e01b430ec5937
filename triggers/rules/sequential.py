"""Evidence that a level is broken, which may be looked at after every cycle: e-detectors.

However often one looks, an alarm comes within t cycles with probability t / A at most, as long as the level
holds in each of them, whatever path it takes below; and the mean time to a false alarm is A cycles at least.
A is `alarm_threshold`, 1,000 / false_alarm_rate.

A detector remembers one number a bet: the log of what it has won so far, -inf at the start. Arrays of wins
and gains are (..., bets), in the order of `SHARE_BETS` or `MEAN_BETS`; leading axes are other detectors.

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

#: Rates of error that are bet on, as multiples of the level's; a rate of 1 or more is left out.
SHARE_BETS: Final = (1.1, 1.2, 1.32, 1.5, 1.8, 2.4, 4.0)
#: What is staked on a mean above its level, as shares of what was won.
MEAN_BETS: Final = (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.3)

_NEWTON_STEPS = 50
_PRECISION = 1e-12
_LARGEST_EXPONENT = 600.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """Requests of a sample that stand for equally much."""

    weight: float  #: how much of the window each stands for; 1 in the mean over the sample
    n: int
    errors: int  #: of the n


def statistic(log_wealth: Floats) -> Floats:
    """The log of what all bets have won in the mean; an alarm is due from log A on.

    Example:
        >>> round(float(statistic(np.log([0.5, 1.5]))), 6)  # on average 1
        0.0
    """
    return np.asarray(np.logaddexp.reduce(log_wealth, axis=-1) - np.log(log_wealth.shape[-1]))


def share_log_increments(strata: Sequence[Stratum], level: float) -> Floats:
    """(bets,) log-gains of one cycle's sample on an error rate above `level`, which is in (0, 1).

    Of one stratum with weight 1 they are the log-likelihood ratios of the rates bet on. Otherwise a gain
    multiplies its stake by 1 in the mean, or by less, as long as the window's error rate is at most `level`,
    whatever the strata's own rates: by the inequality of the means.

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
    """(bets,) log-gains of one cycle's sample on a mean of values >= 0 above `level` > 0.

    Args:
        values: (n,) one a request.
        level: in their unit.
        weights: (n,) how much of the window each stands for; 1 in the mean.

    Example:
        >>> mean_log_increments([0.1, 0.2, 0.3], 0.15).round(3).tolist()
        [0.005, 0.01, 0.02, 0.039, 0.076, 0.146, 0.252]
    """
    excess = np.asarray(values, dtype=np.float64) * np.asarray(weights, dtype=np.float64) / level - 1
    return np.asarray(np.log1p(np.array(MEAN_BETS)[:, None] * excess).sum(axis=1))


def start(log_increments: Floats) -> Floats:
    """What the bets have won before the first cycle.

    Example:
        >>> start(np.zeros(2)).tolist()
        [-inf, -inf]
    """
    return np.full_like(log_increments, -np.inf)


def add(log_wealth: Floats, log_increments: Floats) -> Floats:
    """What the bets have won after one cycle more: (1 + M) · gain, in logs.

    Example:
        Three cycles with 70 errors of 1,000, at 50 allowed: the third one brings the alarm at A = 5,000.

        >>> gains = share_log_increments([Stratum(weight=1.0, n=1_000, errors=70)], 0.05)
        >>> log_wealth, found = start(gains), []
        >>> for _ in range(3):
        ...     log_wealth = add(log_wealth, gains)
        ...     found.append(round(float(statistic(log_wealth)), 2))
        >>> found, round(float(np.log(5_000)), 2)
        ([2.67, 6.13, 9.67], 8.52)
    """
    return np.logaddexp(0.0, log_wealth) + log_increments


def share_boost(log_wealth: Floats, n: int, level: float, alarm_threshold: float) -> Floats:
    """The log of b >= 1 by which the gains of a uniform sample of n may be multiplied, for nothing.

    Wealth beyond A, the `alarm_threshold`, is of no use; b returns it early: E min(A, b · S) = 1 + Σ M / bets
    over samples with the error rate `level`, where S is what the next statistic would be. As S grows with
    the errors, the mean is no larger at any smaller rate. Valid while a small part of the window is sampled.

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
    # E min(A, b · S) is concave in b: from below, Newton's steps never pass the fair b.
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
    """The errors of a sample at the level: the probability of each count, and what it would win."""

    mass: Floats  #: (counts,) those so rare that they are left out are counted with the outermost
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
