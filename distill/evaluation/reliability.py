"""The reliability of a model's confidence: how close it is to the share of rows that are right.

Rows are binned by confidence, in 10 bins of equal width, (0, 0.1] … (0.9, 1].

Source: Guo et al. 2017, arXiv 1706.04599.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from db.records import Interval, Metric
from monitor.intervals import bootstrap_mean, percentile_interval, wilson
from triggers.wilson import NOTHING

Floats = NDArray[np.float64]

BINS: Final = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Bins:
    """The contents of the bins of (b,) samples of rows; each field is (b, BINS)."""

    rows: Floats  #: numbers of rows
    right: Floats  #: numbers of rows that are right
    confidence: Floats  #: sums of the rows' confidences

    @classmethod
    def of(cls, confidence: Floats, right: NDArray[np.float64 | np.bool_], weights: Floats) -> "Bins":
        """Return the bins of (n,) rows as one sample.

        `right` is 1 or 0 for each row, or the probability that its prediction is right.

        Example:
            >>> bins = Bins.of(np.array([0.95, 0.95]), np.array([1.0, 0.0]), np.array([3.0, 1.0]))
            >>> (bins.rows[0, -1].item(), bins.right[0, -1].item(), bins.ece.round(3).tolist())
            (4.0, 3.0, [0.2])
        """
        index = bin_of(confidence)
        rows, were_right, total = (
            np.asarray(np.bincount(index, weights * each, BINS)[None], dtype=np.float64)
            for each in (1.0, right, confidence)
        )
        return cls(rows=rows, right=were_right, confidence=total)

    @cached_property
    def ece(self) -> Floats:
        """(b,) Σ n_b/n · |accuracy_b - mean confidence_b|."""
        return np.asarray(np.abs(self.right - self.confidence).sum(axis=1) / self.rows.sum(axis=1))

    @cached_property
    def ece_debiased(self) -> Floats:
        """(b,) twice the ECE, minus its mean under noise; it may be negative for a calibrated model.

        The noise in each accuracy_b is normal, with the variance accuracy_b (1 - accuracy_b) / n_b.

        Source: Kumar, Liang, Ma 2019, arXiv 1909.10155, and its library's normal_debiased_ce (here in
        closed form, by the folded normal's mean).
        """
        filled = np.maximum(self.rows, 1)
        gap = np.abs(self.right - self.confidence) / filled
        accuracy = self.right / filled
        expected = _folded_normal_mean(gap, np.sqrt(accuracy * (1 - accuracy) / filled))
        return np.asarray((self.rows * (2 * gap - expected)).sum(axis=1) / self.rows.sum(axis=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """(n,) confidences in (0, 1], and for each row whether its prediction is right.

    Example:
        >>> sure, unsure = [0.95] * 4, [0.55] * 2
        >>> right = np.array([True, True, True, False, True, False])
        >>> calibration = Calibration(confidence=np.array(sure + unsure), right=right)
        >>> calibration.bins.ece.round(3).tolist()  # 4/6 · |0.75 - 0.95| + 2/6 · |0.5 - 0.55|
        [0.15]
        >>> calibration.bins.ece_debiased.round(3).tolist()
        [0.044]
    """

    confidence: Floats
    right: NDArray[np.bool_]

    @cached_property
    def bins(self) -> Bins:
        """The bins of the rows themselves, as one sample."""
        return Bins.of(self.confidence, self.right, np.ones(self.right.size))

    def resampled(self, rng: np.random.Generator, resamples: int) -> Bins:
        """Return the bins of `resamples` bootstrap samples.

        The numbers of right and of wrong rows in each bin are one multinomial draw. The sum of the
        confidences of such a cell is drawn from a normal distribution with the cell's mean and variance: as
        the width of the bin bounds the confidences, almost all of its variation is in the number of rows.

        Example:
            >>> calibration = Calibration(confidence=np.full(100, 0.9), right=np.arange(100) < 90)
            >>> resampled = calibration.resampled(np.random.default_rng(0), 1_000)
            >>> calibration.bins.ece.round(3).tolist(), resampled.ece.mean().round(3).item()
            ([0.0], 0.023)
        """
        cell = 2 * self._bin + self.right
        counts = np.bincount(cell, minlength=2 * BINS)
        filled = np.maximum(counts, 1)
        mean = np.bincount(cell, self.confidence, 2 * BINS) / filled
        variance = np.bincount(cell, (self.confidence - mean[cell]) ** 2, 2 * BINS) / filled
        there = np.flatnonzero(counts)
        drawn = np.zeros((resamples, 2 * BINS))
        drawn[:, there] = rng.multinomial(counts.sum(), counts[there] / counts.sum(), size=resamples)
        total = drawn * mean + np.sqrt(drawn * variance) * rng.standard_normal(drawn.shape)
        wrong, right = drawn[:, ::2], drawn[:, 1::2]
        return Bins(rows=wrong + right, right=right, confidence=total[:, ::2] + total[:, 1::2])

    def errors(self, seeds: Sequence[int], resamples: int) -> Sequence[tuple[Interval, Interval]]:
        """Return ECE and its debiased value, at least 0, for each seed of the resamples; NaN without rows.

        Resampling adds the bias of the ECE a second time. The debiased values of the resamples are
        therefore shifted so that their mean is the value of the rows; the plain values are not shifted.

        Example:
            >>> calibration = Calibration(confidence=np.full(100, 0.9), right=np.arange(100) < 80)
            >>> ((ece, debiased),) = calibration.errors([2025], 1_000)
            >>> [round(each, 2) for each in (ece.low, ece.estimate, ece.high)]
            [0.02, 0.1, 0.19]
            >>> [round(each, 2) for each in (debiased.low, debiased.estimate, debiased.high)]
            [0.01, 0.1, 0.19]
        """
        if self.right.size == 0:
            return [(NOTHING, NOTHING)] * len(seeds)
        found = (self.resampled(np.random.default_rng(seed), resamples) for seed in seeds)
        plain, debiased = float(self.bins.ece[0]), float(self.bins.ece_debiased[0])
        return [
            (
                percentile_interval(plain, each.ece),
                percentile_interval(
                    max(debiased, 0.0),
                    np.maximum(each.ece_debiased - each.ece_debiased.mean() + debiased, 0.0),
                ),
            )
            for each in found
        ]

    def curve(self) -> tuple[Metric, ...]:
        """Return the reliability diagram: accuracy:0.9-1.0 and confidence:0.9-1.0 for each bin with rows.

        The accuracy is the share of the bin's rows that are right, with Wilson's interval; the confidence is
        their mean confidence, with its bootstrap interval.

        Example:
            >>> calibration = Calibration(confidence=np.full(100, 0.85), right=np.arange(100) < 80)
            >>> [(metric.name, round(metric.value, 2)) for metric in calibration.curve()]
            [('accuracy:0.8-0.9', 0.8), ('confidence:0.8-0.9', 0.85)]
        """
        return tuple(
            metric
            for index in np.unique(self._bin).tolist()
            for metric in _of_bin(index, self.right[self._bin == index], self.confidence[self._bin == index])
        )

    @cached_property
    def _bin(self) -> NDArray[np.int64]:
        return bin_of(self.confidence)


def bin_of(confidence: Floats) -> NDArray[np.int64]:
    """Return the index of the bin of each confidence.

    Example:
        >>> bin_of(np.array([0.05, 0.1, 0.11, 1.0])).tolist()
        [0, 0, 1, 9]
    """
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def _of_bin(index: int, right: NDArray[np.bool_], confidence: Floats) -> tuple[Metric, Metric]:
    name = f"{index / BINS:.1f}-{(index + 1) / BINS:.1f}"
    return (
        Metric.of(f"accuracy:{name}", wilson(int(right.sum()), right.size), right.size),
        Metric.of(f"confidence:{name}", bootstrap_mean(confidence), right.size),
    )


def _folded_normal_mean(mean: Floats, deviation: Floats) -> Floats:
    """Return E|X| of X ~ N(mean, deviation²), for mean >= 0; at a deviation of 0 that is the mean itself."""
    ratio = np.full_like(mean, np.inf)
    np.divide(mean, deviation, out=ratio, where=deviation > 0)
    density = math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2)
    return np.asarray(deviation * density + mean * (1 - 2 * ndtr(-ratio)))
