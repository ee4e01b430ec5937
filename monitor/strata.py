"""Estimates for a window from a stratified sample of it.

Source: Cochran 1977, "Sampling Techniques", sections 5.3 (the mean) and 5A.9 (post-stratification).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from db.errors import RedistillError


class StrataError(RedistillError):
    """The strata do not fit their sample: {problem}."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Strata:
    """The sizes of the strata of a window, and the stratum of each sampled request.

    If the sample has no request of a stratum, the share of that stratum is distributed over the others, in
    proportion to their sizes.

    Args:
        sizes: (strata,) the number of requests in the window.
        of: (n,) the stratum of each sampled request, counted from 0.
        clusters: (n,) the cluster of each sampled request, counted from 0, if whole clusters were drawn, such
            as all requests with the same text; None: each request was drawn by itself.

    Raises:
        StrataError: a request is in an unknown stratum, or the sample has more requests of a stratum than the
            window.

    Example:
        >>> strata = Strata(sizes=(900, 100), of=np.array([0, 0, 0, 1, 1]))
        >>> strata.weights.round(3).tolist()
        [1.5, 1.5, 1.5, 0.25, 0.25]
        >>> strata.share(np.array([True, True, False, False, True]))
        Fraction(13, 20)
    """

    sizes: Sequence[int]
    of: NDArray[np.intp]
    clusters: NDArray[np.intp] | None = None

    def __post_init__(self) -> None:
        if self.of.size and not 0 <= self.of.min() <= self.of.max() < len(self.sizes):
            raise StrataError(problem=f"there are {len(self.sizes)}, and one request is in none of them")
        if (self.n > np.array(self.sizes)).any():
            raise StrataError(problem="the sample has more requests of one than the window")
        if self.clusters is not None and self.clusters.shape != self.of.shape:
            raise StrataError(problem=f"{self.clusters.size} of {self.of.size} requests have a cluster")

    @classmethod
    def one(cls, n: int) -> "Strata":
        """Return the single stratum of a uniform sample of n."""
        return cls(sizes=(n,), of=np.zeros(n, dtype=np.intp))

    def at(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Strata":
        """Return the strata of some of the requests, which then stand for the whole window."""
        clusters = None if self.clusters is None else self.clusters[rows]
        return Strata(sizes=self.sizes, of=self.of[rows], clusters=clusters)

    @property
    def n(self) -> NDArray[np.intp]:
        """Return the number of sampled requests, (strata,)."""
        return np.bincount(self.of, minlength=len(self.sizes))

    @property
    def weights(self) -> NDArray[np.float64]:
        """Return the weight of each request in the window, (n,): 1 on average, and in a uniform sample."""
        stands_for = (np.array(self.sizes) / np.maximum(self.n, 1))[self.of]
        return np.asarray(stands_for / stands_for.mean()) if self.of.size else stands_for

    @property
    def n_effective(self) -> float:
        """Return the size of a uniform sample of equal precision for a share: 1 / Σ (W² / n); 0 for none.

        With clusters, it is (Σ w)² / Σ w² over the weights of whole clusters, since the requests of a cluster
        were drawn together and mostly have the same answer.
        """
        return effective(self._of_clusters(self.weights))

    def n_effective_of(self, rows: NDArray[np.bool_]) -> float:
        """Return `n_effective` for a share of only those requests, (n,), with the weights they have here."""
        return effective(self._of_clusters(self.weights * rows))

    def linearised(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return one value per cluster, (clusters,), whose mean is the weighted mean of the (n,) values.

        The variance of their mean is that of the weighted mean, to the first order (Cochran 1977, section
        6.5). Without clusters each request is one.
        """
        weights, totals = self._of_clusters(self.weights), self._of_clusters(self.weights * values)
        mean = totals.sum() / weights.sum()
        return np.asarray(mean + (totals - mean * weights) / weights.mean())

    def _of_clusters(self, of_requests: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sum of each cluster that has requests, (clusters,), of values of requests, (n,)."""
        if self.clusters is None:
            return of_requests
        _, clusters = np.unique(self.clusters, return_inverse=True)
        return np.bincount(clusters, of_requests).astype(np.float64)

    def share(self, holds: NDArray[np.bool_]) -> Fraction:
        """Return the exact share of the window for which `holds` is estimated to be true: Σ W k / n.

        Raises:
            StrataError: the sample is empty.
        """
        n, k = self.n, np.bincount(self.of[holds], minlength=len(self.sizes))
        there = np.flatnonzero(n).tolist()
        if not there:
            raise StrataError(problem="a sample of no requests has no share")
        whole = sum(self.sizes[stratum] for stratum in there)
        return sum((Fraction(self.sizes[s] * int(k[s]), int(n[s])) for s in there), Fraction(0)) / whole


def effective(weights: NDArray[np.float64]) -> float:
    """Return the number of equal weights that give the same precision: (Σ w)² / Σ w²; 0 for no weights.

    Source: Kish 1965, "Survey Sampling", section 8.2.
    """
    return float(weights.sum() ** 2 / np.square(weights).sum()) if weights.size else 0.0
