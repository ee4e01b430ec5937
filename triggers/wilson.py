"""The confidence interval of a share.

Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
"""

import math

from scipy.special import ndtri

from db.errors import RedistillError
from db.records import Interval

#: The interval without any observation.
NOTHING = Interval(estimate=math.nan, low=math.nan, high=math.nan)


class ConfidenceError(RedistillError):
    """The confidence of an interval is {confidence!r}: give a number between 0 and 1."""


def score_interval(share: float, n: float, *, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a share that was estimated from n observations.

    The interval lies within [0, 1] and never has length 0; all three numbers are NaN for n = 0. For a
    stratified sample n is `Strata.n_effective`, which need not be whole.

    Raises:
        ConfidenceError: not 0 < confidence < 1.

    Example:
        >>> share = score_interval(0.95, 812.5)
        >>> (share.estimate, round(share.low, 4), round(share.high, 4))
        (0.95, 0.9328, 0.963)
    """
    z = -float(ndtri(one_tail(confidence)))
    if n == 0:
        return NOTHING
    centre = share + z * z / (2 * n)
    half_width = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    shrink = 1 + z * z / n
    return Interval(
        estimate=share,
        low=(centre - half_width) / shrink if share > 0 else 0.0,
        high=(centre + half_width) / shrink if share < 1 else 1.0,
    )


def one_tail(confidence: float) -> float:
    """Return the probability on either side of an interval: (1 - confidence) / 2.

    Raises:
        ConfidenceError: not 0 < confidence < 1.

    Example:
        >>> one_tail(0.5)
        0.25
    """
    if not 0 < confidence < 1:
        raise ConfidenceError(confidence=confidence)
    return (1 - confidence) / 2
