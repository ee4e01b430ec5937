"""How good one model is on labelled rows, each metric with its 95% interval.

Logits are (n, classes), labels (n,) class indices. The prediction is the class with the largest
logit (of equal ones the lowest index), its confidence the softmax at T = 1: pass calibrated logits
for calibrated confidences. A metric with nothing to estimate from has n = 0 and is NaN.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from db.errors import RedistillError
from db.records import Interval, Metric
from monitor.divergence import log_softmax
from monitor.intervals import Statistic, binomial_bootstrap, bootstrap_mean, multinomial_bootstrap

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_BINS = 10
_SLICES = 10  #: per bin: resamples tell confidences apart to 0.01


class LabelsError(RedistillError):
    """The labels cannot be used: {problem}."""


def label_metrics(
    logits: ArrayLike,
    labels: ArrayLike,
    label_names: Sequence[str],
    rare_labels: Collection[str],
    *,
    resamples: int,
    seeds: Sequence[int],
) -> tuple[Metric, ...]:
    """accuracy, macro_f1, rare_class_accuracy, ece, ece_debiased, nll and brier, in this order.

    - accuracy: share of rows predicted right; higher is better; exact binomial bootstrap.
    - macro_f1: the mean over classes of 2·TP / (rows of the class + predictions of it); higher is
      better. A class with neither rows nor predictions is left out, one that is only ever predicted
      wrongly counts 0 (as scikit-learn does without a `labels` argument).
    - rare_class_accuracy: the share predicted right of the rows whose true label is one of
      `rare_labels`, all such rows together, so a rare class weighs by its rows; n is their number.
    - ece: Σ n_b/n · |accuracy_b - mean confidence_b| over 10 equal-width bins (0, .1] … (.9, 1];
      lower is better. In small samples it is biased upwards: a perfectly calibrated model shows
      about .026 at n = 500.
    - ece_debiased: 2·ECE less the mean ECE that normal noise of variance accuracy_b
      (1 - accuracy_b) / n_b in each accuracy_b gives, at least 0. It takes away about .4 of the
      bias of a perfectly calibrated model, and most of it at an ECE of .05.
    - nll: -ln p(true label), nats; brier: Σ_c (p_c - [c is true])², in [0, 2]; lower is better;
      bootstrap of the mean.

    The intervals of macro_f1, ece and ece_debiased come from `resamples` multinomial resamples per
    seed; a bound is the mean of the seeds' bounds. Percentile intervals of ECE lie above the
    estimate when the model is close to perfectly calibrated.

    Raises:
        LogitsError: logits are not (n, classes) or not finite.
        LabelsError: not one label per row, a label that is no class, not one name per class, or an
            unknown rare label.

    Sources: Guo et al. 2017, arXiv 1706.04599 (ECE); Kumar, Liang, Ma 2019, arXiv 1909.10155 and
    its library's normal_debiased_ce (here in closed form, by the folded normal's mean).

    Example:
        >>> logits = [[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]
        >>> panel = label_metrics(
        ...     logits, [0, 0, 1, 1], ["faq", "escalation"], ["escalation"], resamples=100, seeds=[1]
        ... )
        >>> for metric in panel[:4]:
        ...     print(metric.name, round(metric.value, 3), metric.n)
        accuracy 0.75 4
        macro_f1 0.733 4
        rare_class_accuracy 0.5 2
        ece 0.131 4
    """
    log_p = log_softmax(logits)
    truth = _checked_labels(labels, log_p.shape)
    rare = _checked_rare(label_names, rare_labels, log_p.shape[1])
    # The logits decide, not their softmax, which rounds close ones to a tie.
    predicted = np.asarray(logits).argmax(axis=1)
    bootstrap = _Bootstrap(resamples=resamples, seeds=tuple(seeds))
    right = predicted == truth
    return (
        _share("accuracy", right),
        _macro_f1(truth, predicted, log_p.shape[1], bootstrap),
        _share("rare_class_accuracy", right[np.isin(truth, rare)]),
        *_calibration_errors(np.exp(log_p.max(axis=1)), right, bootstrap),
        _mean("nll", -np.take_along_axis(log_p, truth[:, None], axis=1)[:, 0]),
        _mean("brier", ((np.exp(log_p) - np.eye(log_p.shape[1])[truth]) ** 2).sum(axis=1)),
    )


@dataclass(frozen=True, kw_only=True)
class _Bootstrap:
    resamples: int
    seeds: tuple[int, ...]

    def intervals(self, cells: Ints, statistics: Sequence[Statistic]) -> tuple[Interval, ...]:
        """One interval per statistic, its bounds averaged over the seeds."""
        per_seed = [
            multinomial_bootstrap(
                cells, statistics, rng=np.random.default_rng(seed), resamples=self.resamples
            )
            for seed in self.seeds
        ]
        return tuple(_averaged(intervals) for intervals in zip(*per_seed, strict=True))


def _averaged(intervals: tuple[Interval, ...]) -> Interval:
    return Interval(
        estimate=intervals[0].estimate,
        low=math.fsum(interval.low for interval in intervals) / len(intervals),
        high=math.fsum(interval.high for interval in intervals) / len(intervals),
    )


def _checked_labels(labels: ArrayLike, shape: tuple[int, ...]) -> Ints:
    truth = np.asarray(labels)
    n, classes = shape
    if truth.shape != (n,):
        raise LabelsError(problem=f"their shape is {truth.shape}, the logits' is {shape}")
    if truth.size and not np.isin(truth, np.arange(classes)).all():
        raise LabelsError(problem=f"one is not a whole number in 0 … {classes - 1}")
    return truth.astype(np.int64)


def _checked_rare(label_names: Sequence[str], rare_labels: Collection[str], classes: int) -> list[int]:
    if len(label_names) != classes:
        raise LabelsError(problem=f"{len(label_names)} names for {classes} classes")
    unknown = sorted(set(rare_labels) - set(label_names))
    if unknown:
        raise LabelsError(problem=f"the rare label {unknown[0]!r} is none of {list(label_names)}")
    return [index for index, name in enumerate(label_names) if name in rare_labels]


def _metric(name: str, interval: Interval, n: int) -> Metric:
    return Metric(name=name, value=interval.estimate, low=interval.low, high=interval.high, n=n)


def _share(name: str, hits: NDArray[np.bool_]) -> Metric:
    return _metric(name, binomial_bootstrap(int(hits.sum()), hits.size), hits.size)


def _mean(name: str, values: Floats) -> Metric:
    return _metric(name, bootstrap_mean(values), values.size)


def _macro_f1(truth: Ints, predicted: Ints, classes: int, bootstrap: _Bootstrap) -> Metric:
    cells, counts = np.unique(truth * classes + predicted, return_counts=True)
    statistic = _macro_f1_of(cells // classes, cells % classes, classes)
    (interval,) = bootstrap.intervals(counts, [statistic])
    return _metric("macro_f1", interval, truth.size)


def _macro_f1_of(true: Ints, predicted: Ints, classes: int) -> Statistic:
    """The macro-F1 of resampled counts of the (true, predicted) cells."""
    rows_of, predictions_of = np.eye(classes)[true], np.eye(classes)[predicted]

    def statistic(counts: Ints) -> Floats:
        rows_and_predictions = counts @ (rows_of + predictions_of)
        occurs = rows_and_predictions > 0
        hits = counts @ (rows_of * predictions_of)
        f1 = np.divide(2 * hits, rows_and_predictions, where=occurs, out=np.zeros_like(hits))
        return np.asarray(f1.sum(axis=1) / occurs.sum(axis=1))

    return statistic


def _calibration_errors(
    confidence: Floats, right: NDArray[np.bool_], bootstrap: _Bootstrap
) -> tuple[Metric, Metric]:
    """ECE and its debiased value, resampled over (slice of confidence, right or wrong) cells."""
    slices = _BINS * _SLICES
    position = np.clip(np.ceil(confidence * slices).astype(np.int64) - 1, 0, slices - 1)
    cells, cell_of_row, counts = np.unique(2 * position + right, return_inverse=True, return_counts=True)
    bins = np.eye(_BINS)[cells // 2 // _SLICES]
    mean_confidence = np.bincount(cell_of_row, confidence, cells.size) / counts
    table = _Reliability(
        rows=bins,
        right=bins * (cells % 2)[:, None],
        confidence=bins * mean_confidence[:, None],
    )
    plain, debiased = bootstrap.intervals(counts, [table.ece, table.ece_debiased])
    return _metric("ece", plain, right.size), _metric("ece_debiased", debiased, right.size)


@dataclass(frozen=True, kw_only=True)
class _Reliability:
    """What one row of each cell adds to each bin; every field is (cells, bins)."""

    rows: Floats
    right: Floats
    confidence: Floats

    def ece(self, counts: Ints) -> Floats:
        gap = np.abs(counts @ (self.right - self.confidence))
        return np.asarray(gap.sum(axis=1) / counts.sum(axis=1))

    def ece_debiased(self, counts: Ints) -> Floats:
        rows = counts @ self.rows
        filled = np.maximum(rows, 1)
        gap = np.abs(counts @ (self.right - self.confidence)) / filled
        accuracy = counts @ self.right / filled
        expected = _folded_normal_mean(gap, np.sqrt(accuracy * (1 - accuracy) / filled))
        total = (rows * (2 * gap - expected)).sum(axis=1) / rows.sum(axis=1)
        return np.asarray(np.maximum(total, 0.0))


def _folded_normal_mean(mean: Floats, deviation: Floats) -> Floats:
    """E|X| of X ~ N(mean, deviation²), for mean >= 0; the mean itself at a deviation of 0."""
    ratio = np.full_like(mean, np.inf)
    np.divide(mean, deviation, out=ratio, where=deviation > 0)
    density = math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2)
    return np.asarray(deviation * density + mean * (1 - 2 * ndtr(-ratio)))
