"""What a stratified sample says about the window that it was drawn from.

Source: Cochran 1977, "Sampling Techniques", sections 5.3 (the mean) and 5A.9 (post-stratification).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from db.errors import RedistillError


class StrataError(RedistillError):
    """Strata that do not fit their sample: {problem}."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Strata:
    """How large the strata of a window are, and which one each sampled request is of.

    A stratum of which the sample holds nothing says nothing: its share falls to the others, in
    proportion to theirs.

    Args:
        sizes: (strata,) requests of the window.
        of: (n,) the stratum of each request of the sample, from 0.

    Raises:
        StrataError: a request of a stratum that is not there, or more of one than it has.

    Example:
        >>> strata = Strata(sizes=(900, 100), of=np.array([0, 0, 0, 1, 1]))
        >>> strata.weights.round(3).tolist()
        [1.5, 1.5, 1.5, 0.25, 0.25]
        >>> strata.share(np.array([True, True, False, False, True]))
        Fraction(13, 20)
    """

    sizes: Sequence[int]
    of: NDArray[np.intp]

    def __post_init__(self) -> None:
        if self.of.size and not 0 <= self.of.min() <= self.of.max() < len(self.sizes):
            raise StrataError(problem=f"there are {len(self.sizes)}, and one request is of none of them")
        if (self.n > np.array(self.sizes)).any():
            raise StrataError(problem="the sample holds more of one than the window")

    @classmethod
    def one(cls, n: int) -> "Strata":
        """Of a uniform sample of n."""
        return cls(sizes=(n,), of=np.zeros(n, dtype=np.intp))

    @property
    def n(self) -> NDArray[np.intp]:
        """(strata,) requests of the sample."""
        return np.bincount(self.of, minlength=len(self.sizes))

    @property
    def weights(self) -> NDArray[np.float64]:
        """(n,) how much of the window a request stands for; 1 in the mean, and in a uniform sample."""
        stands_for = (np.array(self.sizes) / np.maximum(self.n, 1))[self.of]
        return np.asarray(stands_for / stands_for.mean()) if self.of.size else stands_for

    @property
    def n_effective(self) -> float:
        """The size of a uniform sample that would be as sure of a share: 1 / Σ W² / n; 0 of no requests."""
        return effective(self.weights)

    def share(self, holds: NDArray[np.bool_]) -> Fraction:
        """The share of the window for whose requests it holds, exactly: Σ W k / n.

        Raises:
            StrataError: there are no requests.
        """
        n, k = self.n, np.bincount(self.of[holds], minlength=len(self.sizes))
        there = np.flatnonzero(n).tolist()
        if not there:
            raise StrataError(problem="a sample of no requests has no share")
        whole = sum(self.sizes[stratum] for stratum in there)
        return sum((Fraction(self.sizes[s] * int(k[s]), int(n[s])) for s in there), Fraction(0)) / whole


def effective(weights: NDArray[np.float64]) -> float:
    """How many equal weights tell as much about a share: (Σ w)² / Σ w²; 0 of none.

    Source: Kish 1965, "Survey Sampling", section 8.2.
    """
    return float(weights.sum() ** 2 / np.square(weights).sum()) if weights.size else 0.0
