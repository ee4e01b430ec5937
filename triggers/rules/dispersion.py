"""The variation of the true agreement between cycles, beyond chance, from a history of cycles.

The model: agreement = mean + profile of the time of day + an AR(1) process, and each cycle's sample is
binomial about it. It is fitted by moments, from which the sampling variance of the cycles is subtracted.

Source: Box, Jenkins, Reinsel 2008, "Time Series Analysis", chapter 3 (the AR(1) process); Fuller 1987,
"Measurement Error Models", section 1.2 (moments that are corrected for the error of measurement).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, f

from db.records import CyclePoint
from triggers.rules.observation import effective_size, strata_of, value_of

Floats = NDArray[np.float64]

#: With fewer cycles nothing is said about their variation.
ENOUGH: Final = 30
_DAY: Final = timedelta(days=1)
_MOST_BINS: Final = 96  #: of a day
_DAYS: Final = 3  #: of cycles that a profile of the day needs
_LEVEL: Final = 0.05  #: of the test for any variation
_PROFILE_LEVEL: Final = 0.001  #: of the test for a profile of the day
_MOST_CORRELATION: Final = 0.99


@dataclass(frozen=True, kw_only=True)
class Dispersion:
    """The variation of the true agreement about its mean."""

    sd: float  #: standard deviation of the AR(1) process, a share
    autocorrelation: float  #: of that process, from one cycle to the next, in [0, 0.99]
    profile: tuple[float, ...]  #: deviation at each time of the day, in order; empty: no profile was found
    n_cycles: int  #: from which it was estimated

    @property
    def profile_sd(self) -> float:
        """The standard deviation of the profile of the day; 0 without one."""
        return float(np.std(self.profile)) if self.profile else 0.0

    @property
    def is_constant(self) -> bool:
        """Return whether the true agreement does not vary."""
        return self.sd == 0 and not self.profile

    def paths(self, mean: float, cycles: int, n: int, rng: np.random.Generator) -> Floats:
        """Return the true agreement in n simulated histories, (n, cycles), in [0, 1].

        Each begins at a random time of the day, and with the process in its stationary state.
        """
        noise = rng.standard_normal((n, cycles)) * self.sd
        innovation = math.sqrt(1 - self.autocorrelation**2)
        for cycle in range(1, cycles):
            noise[:, cycle] = self.autocorrelation * noise[:, cycle - 1] + innovation * noise[:, cycle]
        if self.profile:
            first = rng.integers(len(self.profile), size=(n, 1))
            noise += np.array(self.profile)[(first + np.arange(cycles)) % len(self.profile)]
        return np.asarray(np.clip(mean + noise, 0, 1))


def estimate(points: Sequence[CyclePoint], left_out: Collection[datetime] = ()) -> Dispersion | None:
    """Estimate the variation between evaluated cycles; None with fewer than 30 that have a sample size.

    Windows that end at one of `left_out`, such as those of a drift, are not used. Each pair of models has a
    mean of its own. A profile of the day needs cycles of three days and a length of the window that divides
    the day.
    """
    chosen = sorted(
        (point for point in points if point.window_end not in left_out and strata_of(point)),
        key=lambda point: point.window_end,
    )
    values = [value_of("agreement", point) for point in chosen]
    known = [(point, float(value)) for point, value in zip(chosen, values, strict=True) if value is not None]
    if len(known) < ENOUGH:
        return None
    found = [point for point, _ in known]
    agreement = np.array([value for _, value in known])
    deviations = agreement - _means_of_pairs(found, agreement)
    n_pairs = len({_pair(point) for point in found})
    sizes = np.array([effective_size(strata_of(point)) for point in found])
    chance = float(agreement.mean() * (1 - agreement.mean()) * np.mean(1 / sizes))
    length = _modal_gap(found)
    bins, profile = _profile(found, deviations, length)
    rest = deviations - profile[bins] if profile.size else deviations
    freedom = max(1, rest.size - n_pairs - max(profile.size - 1, 0))
    total = float(rest @ rest) / freedom
    own = max(total - chance, 0.0)
    if chance > 0 and chi2.sf(float(rest @ rest) / chance, freedom) > _LEVEL:
        own = 0.0
    return Dispersion(
        sd=math.sqrt(own),
        autocorrelation=_autocorrelation(found, rest, length, own) if own else 0.0,
        profile=tuple(profile.tolist()),
        n_cycles=len(found),
    )


def _pair(point: CyclePoint) -> tuple[str | None, str | None]:
    return point.teacher_version, point.student_version


def _means_of_pairs(points: Sequence[CyclePoint], agreement: Floats) -> Floats:
    of_pair: dict[tuple[str | None, str | None], list[float]] = defaultdict(list)
    for point, value in zip(points, agreement.tolist(), strict=True):
        of_pair[_pair(point)].append(value)
    means = {pair: math.fsum(values) / len(values) for pair, values in of_pair.items()}
    return np.array([means[_pair(point)] for point in points])


def _modal_gap(points: Sequence[CyclePoint]) -> timedelta:
    """Return the most frequent distance of two successive windows, which is their length."""
    gaps = Counter(after.window_end - before.window_end for before, after in pairwise(points))
    return gaps.most_common(1)[0][0]


def _profile(
    points: Sequence[CyclePoint], deviations: Floats, length: timedelta
) -> tuple[NDArray[np.intp], Floats]:
    """Return the time of the day of each cycle, and the mean deviation at each; empty if there is none.

    The means are shrunk by the part of their variance that is noise. The profile counts only if an analysis
    of variance finds it.
    """
    nothing = np.zeros(len(points), dtype=np.intp), np.zeros(0)
    n_bins = round(_DAY / length) if length else 0
    if not 1 < n_bins <= _MOST_BINS or n_bins * length != _DAY or len(points) < _DAYS * n_bins:
        return nothing
    midnight = points[0].window_end.replace(hour=0, minute=0, second=0, microsecond=0)
    bins = np.array([(point.window_end - midnight) // length % n_bins for point in points])
    n = np.bincount(bins, minlength=n_bins)
    if (n < _DAYS).any():
        return nothing
    means = np.bincount(bins, deviations, n_bins) / n
    within = float(np.square(deviations - means[bins]).sum()) / (len(points) - n_bins)
    between = float((n * means**2).sum()) / (n_bins - 1)
    if within == 0 or f.sf(between / within, n_bins - 1, len(points) - n_bins) > _PROFILE_LEVEL:
        return nothing
    shrunk = math.sqrt(max(0.0, 1 - within / between))
    return bins, np.asarray((means - means.mean()) * shrunk)


def _autocorrelation(points: Sequence[CyclePoint], rest: Floats, length: timedelta, own: float) -> float:
    """Return the covariance of successive cycles of one pair over the process's own variance."""
    products = [
        first * second
        for (before, first), (after, second) in pairwise(zip(points, rest.tolist(), strict=True))
        if after.window_end - before.window_end == length and _pair(before) == _pair(after)
    ]
    if not products:
        return 0.0
    return min(max(math.fsum(products) / len(products) / own, 0.0), _MOST_CORRELATION)
