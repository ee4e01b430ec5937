"""Detectors that process each request, for many streams at once.

A statistic above the detector's setting is an alarm. Page-Hinkley, CUSUM, DDM and HDDM_W are the recursions
of river 0.26.1 and frouros 0.9.0 on arrays, as an update of the libraries takes 1 to 7 microseconds and a
stream has a million. `race.assert_as_the_library` compares the alarms. ADWIN and KSWIN are river's own.
"""

import math
from typing import Final, Protocol

import numpy as np
from levels import Detector
from river.drift import ADWIN, KSWIN
from scipy.signal import lfilter
from streams import CYCLE, Bools, Floats

from triggers.rules.sequential import Stratum, share_log_increments

_MIN_INSTANCES: Final = 30  #: the default of Page-Hinkley and CUSUM
_SETTLED: Final = 4_000  #: requests after which the weights of a moving mean no longer change
#: DDM's warm-up; with the default, 30, it fires at the first error if the first 30 answers were right.
DDM_WARM_START: Final = CYCLE


class Watcher(Protocol):
    """A detector with a state for each stream."""

    def statistic(self, errors: Bools) -> Floats:
        """Return the statistic, (looks, streams), for the (requests, streams) errors of a cycle.

        The looks divide the cycle evenly.
        """


class Mean:
    """The running mean, which several detectors use."""

    def __init__(self, streams: int) -> None:
        self._seen, self._total = 0, np.zeros(streams)

    def after(self, errors: Bools) -> tuple[Floats, Floats]:
        """Return the number of requests so far, (requests, 1), and the means, (requests, streams)."""
        totals = self._total + np.cumsum(errors, axis=0)
        counts = self._seen + np.arange(1.0, len(errors) + 1)[:, None]
        self._seen, self._total = self._seen + len(errors), totals[-1]
        return counts, totals / counts


class PageHinkleyUp:
    """The fading sum of the errors' excess over the mean plus `delta`, above its minimum so far."""

    def __init__(self, streams: int, delta: float, alpha: float) -> None:
        self._mean, self._delta, self._alpha = Mean(streams), delta, alpha
        self._sum, self._least = np.zeros(streams), np.full(streams, np.inf)

    def statistic(self, errors: Bools) -> Floats:
        counts, mean = self._mean.after(errors)
        sums, _ = lfilter(
            [1.0], [1.0, -self._alpha], errors - mean - self._delta, axis=0, zi=self._alpha * self._sum[None]
        )
        least = np.minimum(np.minimum.accumulate(sums, axis=0), self._least)
        self._sum, self._least = sums[-1], least[-1]
        return np.where(counts < _MIN_INSTANCES, 0.0, sums - least)


class CusumUp:
    """The sum of the excess over the mean plus `delta`, never below 0."""

    def __init__(self, streams: int, delta: float) -> None:
        self._mean, self._delta, self._sum = Mean(streams), delta, np.zeros(streams)

    def statistic(self, errors: Bools) -> Floats:
        counts, mean = self._mean.after(errors)
        sums = self._sum + np.cumsum(errors - mean - self._delta, axis=0)
        sums -= np.minimum(np.minimum.accumulate(sums, axis=0), 0.0)
        self._sum = sums[-1]
        return np.where(counts < _MIN_INSTANCES, 0.0, sums)


class Ddm:
    """The rise of the mean plus its standard error above its minimum, in standard errors at the minimum."""

    def __init__(self, streams: int) -> None:
        self._mean, self._least = Mean(streams), np.full((3, streams), np.inf)

    def statistic(self, errors: Bools) -> Floats:
        counts, mean = self._mean.after(errors)
        error = np.sqrt(mean * (1 - mean) / counts)
        both = np.where(counts > DDM_WARM_START, mean + error, np.inf)
        sums = np.concatenate([self._least[:1], both])
        least = np.minimum.accumulate(sums, axis=0)
        newest = np.where(sums <= least, np.arange(len(sums))[:, None], 0)
        at = np.maximum.accumulate(newest, axis=0)[1:]
        means, errors_at = (
            np.take_along_axis(np.concatenate([before[None], now]), at, axis=0)
            for before, now in zip(self._least[1:], (mean, error), strict=True)
        )
        self._least = np.stack([least[-1], means[-1], errors_at[-1]])
        with np.errstate(invalid="ignore"):
            return np.where(counts > DDM_WARM_START, (mean + error - means) / errors_at, 0.0)


class HddmW:
    """1 if the moving means before and after the lowest point differ by more than McDiarmid's bound."""

    def __init__(self, streams: int, confidence: float, weight: float) -> None:
        self._log, self._weight = math.log(1 / confidence) / 2, weight
        self._bound = math.sqrt(self._log)
        self._seen, self._after = 0, np.zeros(streams, dtype=np.int64)
        self._total, self._before, self._since = np.zeros((3, streams))
        self._cut, self._before_squares = np.full(streams, np.inf), np.ones(streams)
        self._squares = _squares(weight)

    def statistic(self, errors: Bools) -> Floats:
        alarms = np.empty(errors.shape)
        for row, error in enumerate(errors.astype(np.float64)):
            share = self._weight if self._seen else 1.0
            self._total += share * (error - self._total)
            self._seen += 1
            squares = self._squares[min(self._seen, _SETTLED)]
            upper = self._total + self._bound * math.sqrt(squares)
            lower = upper < self._cut
            self._since += np.where(self._after, self._weight, 1.0) * (error - self._since)
            self._after += 1
            self._after[lower], self._since[lower] = 0, 0.0
            self._cut = np.where(lower, upper, self._cut)
            self._before = np.where(lower, self._total, self._before)
            self._before_squares = np.where(lower, squares, self._before_squares)
            both = self._before_squares + self._squares[np.minimum(self._after, _SETTLED)]
            apart = self._since - self._before
            alarms[row] = (self._after > 0) & (apart > np.sqrt(both * self._log))
        return alarms


def _squares(weight: float) -> Floats:
    """Return the sum of the squared weights in a moving mean, by the number of requests in it."""
    first = (1 - weight) ** (2.0 * np.arange(_SETTLED + 1))
    return first + weight**2 * (1 - first) / (1 - (1 - weight) ** 2)


class EachRequest:
    """The log wealth of the sequential mode after each request; the product checks it after each cycle."""

    def __init__(self, streams: int, level: float) -> None:
        right, wrong = (share_log_increments([Stratum(weight=1.0, n=1, errors=k)], level) for k in (0, 1))
        self._log_increments = np.exp([right, wrong])[:, :, None]
        self._wins = np.zeros((right.size, streams))

    def statistic(self, errors: Bools) -> Floats:
        won = np.empty(errors.shape)
        for row, error in enumerate(errors):
            self._wins += 1
            self._wins *= np.where(error, self._log_increments[1], self._log_increments[0])
            won[row] = self._wins.mean(axis=0)
        return np.log(won)


class EachCycle:
    """A detector of `levels`, checked once per cycle: 1 if it raises an alarm, else 0."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def statistic(self, errors: Bools) -> Floats:
        return self._detector.look(errors.sum(axis=0)).astype(np.float64)[None]


class Adwin:
    """river's ADWIN: 1 at the first alarm, after which the stream is no longer watched."""

    def __init__(self, streams: int, delta: float) -> None:
        self._detectors = {number: ADWIN(delta=delta) for number in range(streams)}

    def statistic(self, errors: Bools) -> Floats:
        alarms = np.zeros(errors.shape)
        for number, detector in list(self._detectors.items()):
            for row, error in enumerate(errors[:, number].tolist()):
                detector.update(error)
                if detector.drift_detected:
                    alarms[row, number] = 1
                    del self._detectors[number]
                    break
        return alarms


class Kswin:
    """river's KSWIN on each cycle's agreement: -log10 of the p-value, until it exceeds the setting.

    An update takes 0.7 ms, which is too slow for single requests.
    """

    def __init__(self, streams: int, setting: float) -> None:
        self._detectors = {number: KSWIN(alpha=0.0, seed=number) for number in range(streams)}
        self._setting = setting

    def statistic(self, errors: Bools) -> Floats:
        found = np.zeros((1, errors.shape[1]))
        for number, detector in list(self._detectors.items()):
            detector.update(float(errors[:, number].mean()))
            if detector.n >= detector.window_size:
                found[0, number] = -math.log10(detector.p_value)
            if found[0, number] > self._setting:
                del self._detectors[number]
        return found
