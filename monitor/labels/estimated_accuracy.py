"""Estimates of the student's accuracy on traffic: from the teacher alone, and corrected by true labels.

The teacher's probability of the student's label, from logits divided by the teacher's calibration
temperature, is the probability that the student is right, as far as the teacher can be believed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from db.records import AccuracyEstimates, Interval
from monitor.divergence import log_softmax
from monitor.strata import Strata, effective
from triggers.wilson import NOTHING, score_interval

#: Labelled requests that a prediction-powered estimate needs.
MIN_LABELS: Final = 100
#: A contradiction is a larger difference between the expected accuracy and that by labels.
TOLERANCE: Final = 0.015
#: Requests are labelled by choice if the agreement of the labelled ones is outside of this interval.
_SELECTED: Final = 0.9999

Floats = NDArray[np.float64]
Rows = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Labelled:
    """The labelled requests, n of them."""

    right: Floats  #: (n,) 1 where the student gives the true label, else 0
    expected: Floats  #: (n,) the teacher's probability of the student's label
    weights: Floats  #: (n,)

    @property
    def rectifier(self) -> float:
        """Return the accuracy minus the expected one."""
        return float(np.average(self.right - self.expected, weights=self.weights))

    @property
    def accuracy(self) -> Interval:
        return score_interval(float(np.average(self.right, weights=self.weights)), effective(self.weights))


def expected_accuracy(teacher_logits: ArrayLike, student: ArrayLike, temperature: float) -> Floats:
    """Return the teacher's probability of each request's student label, (n,), in [0, 1].

    Args:
        teacher_logits: (n, classes).
        student: (n,) the index of the student's top label.
        temperature: the teacher's calibration temperature.

    Raises:
        LogitsError, TemperatureError: as for `monitor.divergence.log_softmax`.

    Example:
        >>> expected_accuracy([[0.0, 2.0], [0.0, 2.0]], [1, 0], temperature=2.0).round(3).tolist()
        [0.731, 0.269]
    """
    log_p = log_softmax(teacher_logits, temperature)
    return np.asarray(np.exp(log_p[np.arange(len(log_p)), np.asarray(student, dtype=np.intp)]))


def estimate(
    teacher_logits: ArrayLike,
    student_logits: ArrayLike,
    strata: Strata,
    *,
    temperature: float | None,
    calibration_rows: int,
    truth: Mapping[int, int],
    labels_are_random: bool = True,
) -> AccuracyEstimates:
    """Return the estimates of the student's accuracy in a window, from a sample of its requests.

    A text has one true label however often it occurs, so the interval by confidence counts clusters. It is
    Wilson's for the harmonic sum of their effective number and of the rows of the calibration, because the
    confidence is as uncertain as the accuracy on those rows. The estimate by labels counts requests, which
    are drawn one by one.

    Args:
        teacher_logits: (n, classes).
        student_logits: (n, classes), in the same order of labels.
        strata: those of the sample, with all requests of a text in one cluster.
        temperature: the teacher's calibration temperature; None: it is not calibrated, so that there is no
            estimate by confidence.
        calibration_rows: the labelled rows to which the temperature was fitted.
        truth: the index of the true label by row; -1 for a label that the models do not have.
        labels_are_random: False: the labels are not of requests that were drawn at random, and do not count.
            Nor do they if the labelled requests agree much more or less often than the others.

    Example:
        >>> logits = [[3.0, 0.0]] * 50
        >>> found = estimate(logits, logits, Strata.one(50), temperature=2.0, calibration_rows=50,
        ...     truth={0: 0, 1: 1})
        >>> (round(found.by_confidence.estimate, 3), found.n_labels, round(found.rectifier, 3))
        (0.818, 2, -0.318)
    """
    student = np.asarray(student_logits).argmax(axis=1)
    expected = expected_accuracy(teacher_logits, student, temperature or 1.0)
    weights = strata.weights
    agrees = np.asarray(teacher_logits).argmax(axis=1) == student
    is_labelled = np.zeros(len(expected), dtype=bool)
    is_labelled[list(truth)] = labels_are_random
    if _is_selection(agrees, is_labelled, weights):
        is_labelled[:] = False
    true = np.array([truth.get(row, -1) for row in np.flatnonzero(is_labelled).tolist()], dtype=np.intp)
    labelled = _Labelled(
        right=(true == student[is_labelled]).astype(np.float64),
        expected=expected[is_labelled],
        weights=weights[is_labelled],
    )
    is_calibrated = temperature is not None and expected.size > 0
    return AccuracyEstimates(
        teacher_temperature=temperature,
        by_confidence=_by_confidence(expected, strata, calibration_rows) if is_calibrated else None,
        n_labels=true.size,
        by_labels=_by_labels(labelled, expected[~is_labelled], weights[~is_labelled]),
        rectifier=labelled.rectifier if is_calibrated and true.size else None,
        contradicted=_contradicts(labelled) if is_calibrated and true.size else None,
    )


def prediction_powered(
    right: Floats,
    expected: Floats,
    unlabelled: Floats,
    *,
    weights: Floats | None = None,
    unlabelled_weights: Floats | None = None,
) -> Interval:
    """Return the accuracy of all requests, from n labelled ones and the teacher's expectation of m others.

    The estimate is mean(right - λ · expected) + λ · mean(unlabelled), within [0, 1], with the λ in [0, 1]
    that makes its variance smallest: 0 if the expectation says nothing about the labels. It is unbiased
    whatever the expectation is worth, if the labelled requests are a random part of all.

    The interval is a score interval for as many requests as have the variance of the estimate. The usual
    one, ± 1.96 standard errors, covers an accuracy of .99 in 64% of cases with 100 labels, because few or
    none of these are wrong. So the variance counts one more right and one more wrong request, of average
    expectation. Without labels, all three numbers are NaN.

    Args:
        right: (n,) 1 where the student is right, else 0.
        expected: (n,) in [0, 1].
        unlabelled: (m,) in [0, 1]; there may be none.
        weights: (n,) above 0; None: all count the same.
        unlabelled_weights: (m,) above 0.

    Source: Angelopoulos, Duchi, Zrnic 2023, "PPI++: Efficient prediction-powered inference", arXiv
    2311.01453; Agresti, Coull 1998, "Approximate is better than 'exact'", for the two requests.

    Example:
        >>> right, expected = np.array([1.0] * 90 + [0.0] * 10), np.array([0.95] * 90 + [0.4] * 10)
        >>> found = prediction_powered(right, expected, np.array([0.95] * 800 + [0.4] * 200))
        >>> (round(found.estimate, 3), round(found.low, 3), round(found.high, 3))
        (0.847, 0.81, 0.878)
    """
    if not right.size:
        return NOTHING
    of_labelled = np.ones_like(right) if weights is None else weights
    of_others = np.ones_like(unlabelled) if unlabelled_weights is None else unlabelled_weights
    n, m = effective(of_labelled), effective(of_others)
    every = np.concatenate([expected, unlabelled])
    mean, variance = _moments(every, np.concatenate([of_labelled, of_others]))
    share = 0.0
    if variance > 0 and m > 0:
        centred = (right - np.average(right, weights=of_labelled)) * expected
        slope = float(np.average(centred, weights=of_labelled)) / variance
        share = min(max(slope / (1 + n / m), 0.0), 1.0)
    corrections = right - share * expected
    rectifier, _ = _moments(corrections, of_labelled)
    extra = np.array([1.0, 0.0]) - share * mean
    _, of_correction = _moments(
        np.append(corrections, extra), np.append(of_labelled, np.full(2, of_labelled.mean()))
    )
    others, of_expectation = _moments(unlabelled, of_others) if m > 0 else (0.0, 0.0)
    error = of_correction / n + (share**2 * of_expectation / m if m > 0 else 0.0)
    accuracy = min(max(rectifier + share * others, 0.0), 1.0)
    towards_half = (accuracy * n + 1) / (n + 2)
    return score_interval(accuracy, towards_half * (1 - towards_half) / error)


def _by_confidence(expected: Floats, strata: Strata, calibration_rows: int) -> Interval:
    n = 1 / (1 / strata.n_effective + 1 / calibration_rows)
    # The mean of probabilities can exceed 1 by rounding.
    return score_interval(min(float((expected * strata.weights).mean()), 1.0), n)


def _by_labels(labelled: _Labelled, unlabelled: Floats, weights: Floats) -> Interval | None:
    if labelled.right.size < MIN_LABELS:
        return None
    return prediction_powered(
        labelled.right,
        labelled.expected,
        unlabelled,
        weights=labelled.weights,
        unlabelled_weights=weights,
    )


def _contradicts(labelled: _Labelled) -> bool | None:
    """Return whether the labels exclude the accuracy that the teacher expects; None: too few to decide.

    If each request is right with the expected probability, the number of right ones varies less than Wilson's
    interval assumes, so that the labels contradict a calibrated teacher in at most 5% of cases.
    """
    found, rectifier = labelled.accuracy, labelled.rectifier
    expected = found.estimate - rectifier
    if abs(rectifier) > TOLERANCE and not found.low <= expected <= found.high:
        return True
    return False if labelled.right.size >= MIN_LABELS else None


def _is_selection(agrees: Rows, is_labelled: Rows, weights: Floats) -> bool:
    """Return whether the labelled requests agree more or less often than random ones of the sample would."""
    if not is_labelled.any():
        return False
    of_all = float(np.average(agrees, weights=weights))
    of_labelled = float(np.average(agrees[is_labelled], weights=weights[is_labelled]))
    found = score_interval(of_labelled, effective(weights[is_labelled]), confidence=_SELECTED)
    return not (found.low <= of_all <= found.high or math.isclose(of_all, of_labelled))


def _moments(values: Floats, weights: Floats) -> tuple[float, float]:
    """Return mean and variance, with the divisor n, of weighted values."""
    mean = float(np.average(values, weights=weights))
    return mean, float(np.average(np.square(values - mean), weights=weights))
