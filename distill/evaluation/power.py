"""The power of a test set: how often it shows that a candidate is within the margin, if it is as good."""

import math
from typing import Final

from scipy.special import ndtr, ndtri

from triggers.wilson import one_tail

_Z: Final = -float(ndtri(one_tail(0.95)))
#: The power that a test set should have.
WANTED: Final = 0.9
#: The share of rows that exactly one of two students gets right, where no job has measured it yet.
USUAL_DISCORDANCE: Final = 0.05


def half_width(discordant: float, n: int) -> float:
    """Return half the width of the 95% interval of a paired difference of accuracies near 0.

    `discordant` is the share of the n rows that exactly one of the two students gets right.

    Example:
        >>> round(half_width(0.05, 5_500), 4)
        0.0059
    """
    return _Z * math.sqrt(discordant / n)


def power(half: float, margin: float) -> float:
    """Return the probability that the interval of an equal candidate is within the margin.

    `half` is half the width of that interval, in the unit of the margin.

    Source: Liu, Hsueh, Hsieh, Chen 2002, "Tests for equivalence or non-inferiority for paired binary data",
    Statistics in Medicine 21, here for a normal estimate.

    Example:
        >>> round(power(half_width(0.05, 5_500), 0.01), 2), round(power(half_width(0.05, 300), 0.01), 2)
        (0.91, 0.12)
    """
    if half == 0:
        return 1.0
    return float(ndtr(_Z * (margin / half - 1)))


def rows_needed(n: int, half: float, margin: float) -> int | None:
    """Return the number of rows with the power `WANTED`, if n rows give an interval of that half width.

    None if no number of rows has it, because the margin is 0.

    Example:
        >>> rows_needed(300, half_width(0.05, 300), 0.01)
        5254
        >>> rows_needed(5_500, half_width(0.05, 5_500), 0.005)
        21015
    """
    if margin == 0:
        return None
    return math.ceil(n * ((1 + float(ndtri(WANTED)) / _Z) * half / margin) ** 2)
