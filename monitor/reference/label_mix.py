"""Divergences of the label mix of a window from that of an earlier one.

A divergence that is estimated from counts is never 0: if the mixes are equal, n times the estimate follows a
chi-square distribution with one degree of freedom less than there are labels. The mean of that distribution
is subtracted from the estimate. The interval is that of the matching non-central chi-square distribution,
which is valid at 0 and away from it, while bootstrap percentiles are too high.

Source: Pardo 2006, "Statistical Inference Based on Divergence Measures", chapter 3.
"""

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtr, chndtrinc, xlogy

from db.errors import RedistillError
from db.records import Interval

#: Labels with a smaller expected count in either sample are pooled: a chi-square distribution would not fit.
MIN_EXPECTED = 5
_TAIL = 0.025
_PSEUDOCOUNT = 0.5


class LabelMixError(RedistillError):
    """The label mixes cannot be compared: {problem}. Give shares of the same labels, each mix of at least one
    request and with the sum 1.
    """


@dataclass(frozen=True, kw_only=True)
class LabelMix:
    """The divergences of two label mixes, each with its 95% interval; 0 for equal mixes."""

    psi: Interval  #: Σ (p - q) ln(p / q), in nats, in [0, inf)
    js: Interval  #: the Jensen-Shannon divergence, in nats, in [0, ln 2]


def compare_mixes(then: ArrayLike, now: ArrayLike, *, n_then: float, n_now: float) -> LabelMix:
    """Return the population stability index and the Jensen-Shannon divergence of two label mixes.

    Rare labels are pooled into one (see `MIN_EXPECTED`). The index adds half a request to the count of each
    label, so that a label that is absent on one side does not make it infinite. With one label both values
    are 0, with the interval for two labels.

    Args:
        then: (labels,) shares of the earlier window, which add up to 1.
        now: (labels,) shares of the window.
        n_then: the effective sample size of the earlier window (`Strata.n_effective`).
        n_now: the effective sample size of the window.

    Raises:
        LabelMixError: the mixes are not over the same labels, or one has no requests.

    Sources: Jeffreys 1946, "An invariant form for the prior probability in estimation problems" (the index is
    his divergence); Lin 1991, "Divergence measures based on the Shannon entropy"; Cochran 1954, "Some methods
    for strengthening the common chi-square tests" (rare labels).

    Example:
        >>> mix = compare_mixes([0.5, 0.38, 0.12], [0.42, 0.33, 0.25], n_then=1500, n_now=1500)
        >>> [round(value, 3) for value in (mix.psi.estimate, mix.psi.low, mix.psi.high)]
        [0.113, 0.071, 0.169]
        >>> [round(value, 4) for value in (mix.js.estimate, mix.js.low, mix.js.high)]
        [0.014, 0.0087, 0.0208]
    """
    p, q = _checked(then, now, n_then, n_now)
    p, q = _together(p, q, n_then, n_now)
    freedom = max(p.size - 1, 1)
    scale = 1 / (1 / n_then + 1 / n_now)
    smooth_p, smooth_q = _smoothed(p, n_then), _smoothed(q, n_now)
    psi = float(((smooth_p - smooth_q) * np.log(smooth_p / smooth_q)).sum())
    middle = (p + q) / 2
    js = float(xlogy(p, p / middle).sum() + xlogy(q, q / middle).sum()) / 2
    return LabelMix(
        psi=_interval(psi, scale, freedom, highest=np.inf),
        js=_interval(js, 8 * scale, freedom, highest=log(2)),
    )


def _checked(
    then: ArrayLike, now: ArrayLike, n_then: float, n_now: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p, q = np.asarray(then, dtype=np.float64), np.asarray(now, dtype=np.float64)
    if p.ndim != 1 or p.shape != q.shape:
        raise LabelMixError(problem=f"their shapes are {p.shape} and {q.shape}")
    for shares, n in ((p, n_then), (q, n_now)):
        if not n > 0 or (shares < 0).any() or not np.isclose(shares.sum(), 1):
            raise LabelMixError(problem=f"shares of {n:g} requests add up to {shares.sum():g}")
    return p, q


def _together(
    p: NDArray[np.float64], q: NDArray[np.float64], n_then: float, n_now: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both mixes without labels that neither has, and with the rare ones pooled as the last."""
    expected = (n_then * p + n_now * q) / (n_then + n_now) * min(n_then, n_now)
    is_rare = expected < MIN_EXPECTED
    pooled = [np.append(shares[~is_rare], shares[is_rare].sum()) for shares in (p, q)]
    there = (pooled[0] > 0) | (pooled[1] > 0)
    return pooled[0][there], pooled[1][there]


def _smoothed(shares: NDArray[np.float64], n: float) -> NDArray[np.float64]:
    return np.asarray((n * shares + _PSEUDOCOUNT) / (n + _PSEUDOCOUNT * shares.size))


def _interval(divergence: float, scale: float, freedom: int, *, highest: float) -> Interval:
    """Return the interval of a divergence that has a chi-square distribution if multiplied by `scale`.

    It is at least as long as for equal mixes.
    """
    found = max(divergence, 0.0) * scale
    within_chance = chdtr(freedom, found) <= 1 - _TAIL
    low = 0.0 if within_chance else float(chndtrinc(found, freedom, 1 - _TAIL))
    high = float(chndtrinc(max(found, freedom), freedom, _TAIL))
    return Interval(
        estimate=min(max(found - freedom, 0.0) / scale, highest),
        low=min(low / scale, highest),
        high=min(high / scale, highest),
    )
