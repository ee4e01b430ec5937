"""The difference of two models' accuracy on the same requests."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from db.records import Interval
from monitor.strata import Strata
from triggers.wilson import NOTHING, one_tail


def paired_difference(
    first: NDArray[np.bool_], second: NDArray[np.bool_], strata: Strata, *, confidence: float = 0.95
) -> Interval:
    """Return the share of the window that the first model gets right, minus that of the second.

    The arrays (n,) say which of the same requests each model gets right. Only requests that one of the two
    gets right count for the interval, which is Bonett and Price's adjusted Wald interval for paired shares
    at the effective number of requests. The result is in [-1, 1], and NaN for n = 0.

    Source: Bonett, Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data", Journal of Educational and Behavioral Statistics 37 (4).

    Raises:
        ConfidenceError: not 0 < confidence < 1.

    Example:
        >>> first, second = np.arange(100) < 90, np.arange(100) < 80
        >>> gain = paired_difference(first, second, Strata.one(100))
        >>> (gain.estimate, round(gain.low, 3), round(gain.high, 3))
        (0.1, 0.034, 0.162)
    """
    one_tail(confidence)
    if first.size == 0:
        return NOTHING
    only_first, only_second = (float(strata.share(each)) for each in (first & ~second, second & ~first))
    found = adjusted_wald(only_first, only_second, strata.n_effective, confidence=confidence)
    return replace(found, estimate=float(strata.share(first) - strata.share(second)))


def adjusted_wald(only_first: float, only_second: float, n: float, *, confidence: float = 0.95) -> Interval:
    """Return the first share minus the second, of n rows with one or the other, in [-1, 1].

    Source: as for `paired_difference`.

    Raises:
        ConfidenceError: not 0 < confidence < 1.

    Example:
        >>> gain = adjusted_wald(0.02, 0.004, 5_500)
        >>> (round(gain.estimate, 4), round(gain.low, 4), round(gain.high, 4))
        (0.016, 0.0119, 0.0201)
    """
    z = -float(ndtri(one_tail(confidence)))
    gained, lost = ((n * share + 1) / (n + 2) for share in (only_first, only_second))
    centre = gained - lost
    half_width = z * math.sqrt((gained + lost - centre**2) / (n + 2))
    return Interval(
        estimate=only_first - only_second,
        low=max(centre - half_width, -1.0),
        high=min(centre + half_width, 1.0),
    )
