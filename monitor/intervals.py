"""Confidence intervals of estimates from a sample.

`confidence` is the two-sided coverage, in (0, 1). The bootstrap intervals are percentile intervals, which
leave out (1 - confidence) / 2 of the bootstrap distribution on either side. Where that distribution is known,
it is computed instead of drawn, so the result has no Monte Carlo noise. For n = 0, estimate and bounds are
NaN.

Source: Efron, Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrik

from db.errors import RedistillError
from db.records import Interval
from monitor.strata import Strata
from triggers.wilson import NOTHING, one_tail, score_interval

#: Maps the counts of resamples, (resamples, cells), to the statistic of each, (resamples,).
Statistic = Callable[[NDArray[np.int64]], NDArray[np.float64]]

_LATTICE = 2**14  #: points; for larger samples the number grows with √n, so that the step stays fine
_LATTICE_SPAN = 20.0  #: standard deviations of the sum; the mass beyond them, below 1e-7, is misplaced
_FEW = 40  #: successes or failures; with fewer, a bootstrap interval of the share covers it in less than 94%
_BLOCK = 2**22  #: numbers drawn at a time


class CountError(RedistillError):
    """{successes} of {n} is not a count of successes: give 0 <= successes <= n."""


class SampleValuesError(RedistillError):
    """The values have no mean that could be estimated: {problem}. Give finite values, (n,)."""


def wilson(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Return the score interval of a share, in [0, 1]; its length is never 0.

    Raises:
        CountError: not 0 <= successes <= n.
        ConfidenceError: not 0 < confidence < 1.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Example:
        >>> share = wilson(950, 1000)
        >>> (share.estimate, round(share.low, 4), round(share.high, 4))
        (0.95, 0.9347, 0.9619)
    """
    _check_count(successes, n)
    return score_interval(successes / n if n else math.nan, n, confidence=confidence)


def binomial_bootstrap(successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Return the exact bootstrap interval of a share: resampled counts follow Binomial(n, successes / n).

    With fewer than 40 successes or failures it returns `wilson`, because bootstrap intervals are then too
    short, even of length 0 if all resamples are equal. Errors as for `wilson`.

    Example:
        >>> share = binomial_bootstrap(5357, 5500)
        >>> (share.estimate, round(share.low, 4), round(share.high, 4))
        (0.974, 0.9696, 0.9782)
    """
    _check_count(successes, n)
    tail = one_tail(confidence)
    if min(successes, n - successes) < _FEW:
        return wilson(successes, n, confidence=confidence)
    share = successes / n
    return Interval(
        estimate=share,
        low=_binomial_quantile(tail, n, share) / n,
        high=_binomial_quantile(1 - tail, n, share) / n,
    )


def bootstrap_mean(values: ArrayLike, *, strata: Strata | None = None, confidence: float = 0.95) -> Interval:
    """Return the bootstrap interval of the mean of (n,) values, in their unit, without drawing resamples.

    The sum of a resample follows the n-fold convolution of the empirical distribution, which is computed by
    FFT on a lattice. A value between two lattice points is split over both so that its mean is kept; the
    smallest and the largest value are lattice points, so two-valued samples are exact. Quantiles are accurate
    to about 0.002 standard errors. If all values are equal (also for n = 1), the interval has length 0.

    With `strata`, the mean is that of the window, and resamples are drawn within each stratum. If whole
    clusters were drawn, resamples are of the clusters' `Strata.linearised` values, whatever their strata, and
    the bounds are kept within the values.

    Raises:
        SampleValuesError: the values are not one-dimensional, one is not finite, or the strata are for
            another number of values.
        ConfidenceError: not 0 < confidence < 1.

    Example:
        >>> rng = np.random.default_rng(2025)
        >>> kl = bootstrap_mean(rng.exponential(0.083, size=5500))
        >>> (round(kl.estimate, 4), round(kl.low, 4), round(kl.high, 4))
        (0.0835, 0.0813, 0.0857)
    """
    sample = _checked_values(values)
    tail = one_tail(confidence)
    if sample.size == 0:
        return NOTHING
    if strata is not None and strata.clusters is not None:
        _check_strata(sample, strata)
        of_clusters = bootstrap_mean(strata.linearised(sample), confidence=confidence)
        low, high = np.clip((of_clusters.low, of_clusters.high), sample.min(), sample.max()).tolist()
        return Interval(estimate=of_clusters.estimate, low=low, high=high)
    groups = [sample] if strata is None else _weighted(sample, strata)
    least = math.fsum(group.size / sample.size * float(group.min()) for group in groups)
    spread = max(float(np.ptp(group)) for group in groups)
    if spread == 0:
        return Interval(estimate=least, low=least, high=least)
    mean = float(sum(group.sum() for group in groups)) / sample.size
    low, high = _unit_mean_quantiles([(group - group.min()) / spread for group in groups], (tail, 1 - tail))
    return Interval(estimate=mean, low=least + spread * low, high=least + spread * high)


def multinomial_bootstrap(
    cells: ArrayLike,
    statistics: Sequence[Statistic],
    *,
    rng: np.random.Generator,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> tuple[Interval, ...]:
    """Return bootstrap intervals of several statistics of one table of counts, from the same resamples.

    Resampling n rows and counting them by cell is the same as one multinomial draw over the cells, so the
    rows themselves are not needed.

    Args:
        cells: (m,) counts of the cells of the table, in any order, without empty cells.
        statistics: functions of (b, m) counts, in the order of `cells`, that return (b,) values.
        rng: the generator of the resamples.
        resamples: the number of resamples.
        confidence: the coverage of each interval.

    Returns:
        One interval per statistic; its estimate is the statistic of `cells` itself.

    Raises:
        ConfidenceError: not 0 < confidence < 1.

    Example:
        >>> hits_misses = [905, 95]
        >>> def accuracy(counts):
        ...     return counts[:, 0] / counts.sum(axis=1)
        >>> rng = np.random.default_rng(2025)
        >>> share, = multinomial_bootstrap(hits_misses, [accuracy], rng=rng)
        >>> (share.estimate, round(share.low, 3), round(share.high, 3))
        (0.905, 0.887, 0.923)
    """
    one_tail(confidence)
    counts = np.asarray(cells, dtype=np.int64)
    if counts.sum() == 0:
        return (NOTHING,) * len(statistics)
    blocks = [[statistic(block) for statistic in statistics] for block in _resampled(counts, rng, resamples)]
    return tuple(
        percentile_interval(float(statistic(counts[None])[0]), np.concatenate(values), confidence=confidence)
        for statistic, *values in zip(statistics, *blocks, strict=True)
    )


def percentile_interval(estimate: float, resampled: ArrayLike, *, confidence: float = 0.95) -> Interval:
    """Return the percentile interval of an estimate, from its values in (b,) resamples.

    Raises:
        ConfidenceError: not 0 < confidence < 1.

    Example:
        >>> percentile_interval(4, range(9), confidence=0.5)
        Interval(estimate=4, low=2.0, high=6.0)
    """
    tail = one_tail(confidence)
    low, high = np.quantile(np.asarray(resampled), [tail, 1 - tail])
    return Interval(estimate=estimate, low=float(low), high=float(high))


def _check_count(successes: int, n: int) -> None:
    if not 0 <= successes <= n:
        raise CountError(successes=successes, n=n)


def _checked_values(values: ArrayLike) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1:
        raise SampleValuesError(problem=f"their shape is {sample.shape}")
    if not np.isfinite(sample).all():
        raise SampleValuesError(problem=f"number {int(np.isfinite(sample).argmin())} is not finite")
    return sample


def _binomial_quantile(level: float, n: int, share: float) -> float:
    """Return the smallest k with P(Binomial(n, share) <= k) >= level."""
    k = math.ceil(bdtrik(level, n, share))
    return k - 1 if k > 0 and bdtr(k - 1, n, share) >= level else k


def _check_strata(sample: NDArray[np.float64], strata: Strata) -> None:
    if strata.of.size != sample.size:
        raise SampleValuesError(problem=f"there are {sample.size}, and the strata are for {strata.of.size}")


def _weighted(sample: NDArray[np.float64], strata: Strata) -> list[NDArray[np.float64]]:
    """Return the values by stratum, scaled so that their unweighted mean is the window's."""
    _check_strata(sample, strata)
    scaled = sample * strata.weights
    return [scaled[strata.of == stratum] for stratum in np.unique(strata.of)]


def _unit_mean_quantiles(
    groups: Sequence[NDArray[np.float64]], levels: tuple[float, float]
) -> tuple[float, float]:
    """Return quantiles of the mean of a resample, with each group resampled separately.

    The smallest value of each group must be 0, and the largest value of all groups 1.
    """
    n = sum(group.size for group in groups)
    deviation = math.sqrt(sum(group.size * float(group.var()) for group in groups))
    size = max(_LATTICE, 2 ** math.ceil(math.log2(128 * math.sqrt(n))))
    steps = int((size - 1) // min(float(n), _LATTICE_SPAN * deviation))
    spectrum = np.prod(
        [np.fft.rfft(_lattice_law(group * steps, size)) ** group.size for group in groups], axis=0
    )
    law_of_sum = np.fft.irfft(spectrum, size)
    # The distribution of the sum is modulo `size`: unroll it around its mean, within the possible values.
    centred = int(sum(group.sum() for group in groups) * steps) - size // 2
    first = min(max(centred, 0), max(0, n * steps + 1 - size))
    cumulative = np.cumsum(np.roll(law_of_sum, -first))
    low, high = ((first + int((cumulative >= level).argmax())) / (steps * n) for level in levels)
    return low, high


def _lattice_law(positions: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the empirical distribution of `positions` on 0 … size - 1, each split over two neighbours."""
    below = np.floor(positions).astype(np.int64)
    part_above = positions - below
    law = np.bincount(below, 1 - part_above, size) + np.bincount(below + 1, part_above, size)
    return np.asarray(law / positions.size)


def _resampled(
    counts: NDArray[np.int64], rng: np.random.Generator, resamples: int
) -> Iterator[NDArray[np.int64]]:
    n = int(counts.sum())
    block = max(1, _BLOCK // counts.size)
    for start in range(0, resamples, block):
        yield rng.multinomial(n, counts / n, size=min(block, resamples - start))
