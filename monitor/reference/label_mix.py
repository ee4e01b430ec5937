"""How far the mix of a window's labels has moved from that of an earlier window.

A divergence that is estimated from counts is never 0: by chance alone, times n, it follows a chi-square law
with a degree of freedom less than there are labels. What that gives in the mean is taken off the estimate,
and the interval is that of the non-central chi-square law which fits: it holds at 0 and away from it, where
percentiles of a bootstrap lie above the truth.

Source: Pardo 2006, "Statistical Inference Based on Divergence Measures", chapter 3.
"""

from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtr, chndtrinc, xlogy

from db.errors import RedistillError
from db.records import Interval

#: Labels of which fewer are expected in either sample are counted together: their law is no chi-square.
MIN_EXPECTED = 5
_TAIL = 0.025
_PSEUDOCOUNT = 0.5


class LabelMixError(RedistillError):
    """Two mixes of labels cannot be compared: {problem}."""


@dataclass(frozen=True, kw_only=True)
class LabelMix:
    """How far two mixes of labels lie apart, each with its 95% interval; 0 is the same mix."""

    psi: Interval  #: Σ (p - q) ln(p / q), in nats, in [0, inf)
    js: Interval  #: the Jensen-Shannon divergence, in nats, in [0, ln 2]


def compare_mixes(then: ArrayLike, now: ArrayLike, *, n_then: float, n_now: float) -> LabelMix:
    """The population stability index and the Jensen-Shannon divergence of two mixes of the same labels.

    Labels that are rare in both count as one (see `MIN_EXPECTED`). In the index each label has half a
    request more than was counted, so that one which is absent on a side does not make it infinite. With one
    label both are 0, with the interval that two labels would have.

    Args:
        then: (labels,) shares of the earlier window, which add up to 1.
        now: (labels,) shares of the window.
        n_then: how many requests of a uniform sample would be as sure of the shares (`Strata.n_effective`).
        n_now: the same of the window.

    Raises:
        LabelMixError: not two mixes of the same labels, or one of no requests.

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
    """Both mixes without labels that neither has, and with the rare ones as one, the last."""
    expected = (n_then * p + n_now * q) / (n_then + n_now) * min(n_then, n_now)
    is_rare = expected < MIN_EXPECTED
    pooled = [np.append(shares[~is_rare], shares[is_rare].sum()) for shares in (p, q)]
    there = (pooled[0] > 0) | (pooled[1] > 0)
    return pooled[0][there], pooled[1][there]


def _smoothed(shares: NDArray[np.float64], n: float) -> NDArray[np.float64]:
    return np.asarray((n * shares + _PSEUDOCOUNT) / (n + _PSEUDOCOUNT * shares.size))


def _interval(divergence: float, scale: float, freedom: int, *, highest: float) -> Interval:
    """Of a divergence that, times `scale`, follows the law. No shorter than chance alone makes it."""
    found = max(divergence, 0.0) * scale
    within_chance = chdtr(freedom, found) <= 1 - _TAIL
    low = 0.0 if within_chance else float(chndtrinc(found, freedom, 1 - _TAIL))
    high = float(chndtrinc(max(found, freedom), freedom, _TAIL))
    return Interval(
        estimate=min(max(found - freedom, 0.0) / scale, highest),
        low=min(low / scale, highest),
        high=min(high / scale, highest),
    )
