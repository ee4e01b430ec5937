"""The calibration temperature: logits divided by it make confidence match accuracy.

Logits are (n, classes), labels (n,) class indices or (n, classes) probabilities. Dividing the logits by
T > 0 changes no prediction, only its confidence: T > 1 lowers it, T < 1 raises it.

Source: Guo et al. 2017, arXiv 1706.04599, section 4.2.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import softmax

from db.records import TemperatureFit
from distill.evaluation.label_metrics import LabelsError, checked_labels
from distill.evaluation.reliability import Bins
from distill.training.dataset import text_hash
from monitor.divergence import log_softmax
from monitor.strata import effective

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: The range in which T is searched.
LOWEST: Final = 0.05
HIGHEST: Final = 20.0


def fit_temperature(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Return the T in [LOWEST, HIGHEST] with the lowest mean NLL of softmax(logits / T), to 10 digits.

    The NLL is convex in 1/T, so there is one such T, where its slope is 0: there the mean logit of the
    labels equals its expectation under the softmax. T is LOWEST if the NLL keeps falling as T falls, for
    example if all rows are right; HIGHEST if it keeps falling as T grows, because the labels' logits are no
    larger than the average; 1 if T makes no difference, because all logits of a row are equal.

    Args:
        logits: (n, classes).
        labels: (n,) class indices, or (n, classes) the probabilities of the classes, such as a teacher's. The
            NLL is then the cross-entropy, and the logit of a label its mean under these probabilities.
        weights: (n,) at least 0, in any unit; None: all rows count the same.

    Raises:
        LogitsError: logits are not (n, classes) or not finite.
        LabelsError: there are no rows, labels or weights do not fit the logits, a label is not a class, or
            probabilities are negative or do not sum to 1.

    Example:
        >>> sure_of_88_percent = [[2.0, 0.0]] * 4
        >>> round(fit_temperature(sure_of_88_percent, [0, 0, 0, 1]), 4)  # 2 / ln 3: right in 75%
        1.8205
        >>> round(fit_temperature([[2.0, 0.0]], [[0.75, 0.25]]), 4)
        1.8205
    """
    shape = log_softmax(logits).shape
    truth, counts_for = _probabilities(labels, shape), _weights(weights, shape)
    given = np.asarray(logits, dtype=np.float64)
    margins = given - (truth * given).sum(axis=1, keepdims=True)

    def slope(inverse: float) -> float:
        return float(counts_for @ (softmax(inverse * margins, axis=1) * margins).sum(axis=1))

    least, most = 1 / HIGHEST, 1 / LOWEST
    if slope(least) == slope(most) == 0:
        return 1.0
    if slope(least) >= 0:
        return HIGHEST
    if slope(most) <= 0:
        return LOWEST
    return 1 / float(brentq(slope, least, most, xtol=1e-13))


def calibrate(logits: ArrayLike, labels: ArrayLike, weights: ArrayLike | None = None) -> TemperatureFit:
    """Return the T of `fit_temperature`, and the calibration of the model at T = 1 and at that T.

    The NLL, in nats, is never higher at T than at 1. The ECE and its debiased value, at least 0, are those of
    `distill.evaluation.reliability`; T need not lower them. All are measured on the rows that T was fitted
    to, each with its weight. With probabilities as labels, the accuracy in the ECE is the expected one: the
    mean probability of the predicted classes. Arguments and errors are those of `fit_temperature`.

    Example:
        >>> fit = calibrate([[2.0, 0.0]] * 4, [0, 0, 0, 1])
        >>> [round(each, 3) for each in (fit.nll_before, fit.nll_after, fit.ece_before, fit.ece_after)]
        [0.627, 0.562, 0.131, 0.0]
    """
    temperature = fit_temperature(logits, labels, weights)
    before, after = (log_softmax(logits, each) for each in (1.0, temperature))
    truth, counts_for = _probabilities(labels, before.shape), _weights(weights, before.shape)
    # The logits decide, not their softmax, which rounds close ones to a tie.
    predicted = np.asarray(logits).argmax(axis=1)[:, None]
    right = np.take_along_axis(truth, predicted, axis=1)[:, 0]
    (ece_before, debiased_before), (ece_after, debiased_after) = (
        _errors(each, right, counts_for) for each in (before, after)
    )
    return TemperatureFit(
        temperature=temperature,
        n=len(truth),
        nll_before=_nll(before, truth, counts_for),
        nll_after=_nll(after, truth, counts_for),
        ece_before=ece_before,
        ece_after=ece_after,
        ece_debiased_before=debiased_before,
        ece_debiased_after=debiased_after,
    )


def calibrated_logits(
    logits: ArrayLike, labels: ArrayLike, texts: Sequence[str], temperature: float | None
) -> Floats:
    """Return the logits (n, classes) divided by the temperature, one row per text.

    If the temperature is None, the rows are split in two halves by the hashes of their texts, and each half
    is divided by the T of `fit_temperature` on the other half, so that no row is divided by a T that was
    fitted to it. If one half is empty, T is 1. Errors are as for `fit_temperature`, except that there may be
    no rows.

    Example:
        >>> calibrated_logits([[2.0, 0.0]], [0], ["where is my order?"], 1.6).tolist()
        [[1.25, 0.0]]
    """
    given = np.asarray(logits, dtype=np.float64)
    if temperature is not None:
        return given / temperature
    truth = np.asarray(labels)
    second = np.array([text_hash(text)[-1] % 2 == 1 for text in texts], dtype=bool)
    divided = given.copy()
    if second.any() and not second.all():
        for half in (second, ~second):
            divided[half] /= fit_temperature(given[~half], truth[~half])
    return divided


def _probabilities(labels: ArrayLike, shape: tuple[int, ...]) -> Floats:
    """Return the probabilities (n, classes) of the labels; those of a class index are 1 and 0."""
    given = np.asarray(labels)
    if not shape[0]:
        raise LabelsError(problem="there are none: give labelled rows to fit the temperature to")
    if given.ndim == 1:
        return np.eye(shape[1])[checked_labels(given, shape)]
    if given.shape != shape:
        raise LabelsError(problem=f"their shape is {given.shape}, that of the logits is {shape}")
    probabilities = np.asarray(given, dtype=np.float64)
    if not ((probabilities >= 0).all() and np.allclose(probabilities.sum(axis=1), 1.0, rtol=0, atol=1e-6)):
        raise LabelsError(problem="the probabilities of a row are negative, or do not sum to 1")
    return probabilities


def _weights(weights: ArrayLike | None, shape: tuple[int, ...]) -> Floats:
    """Return the weights (n,), scaled so that they sum to 1."""
    given = np.ones(shape[0]) if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != shape[:1] or not (np.isfinite(given).all() and (given >= 0).all() and given.any()):
        raise LabelsError(problem="the weights are not one finite number of at least 0 for each row")
    return np.asarray(given / given.sum())


def _nll(log_p: Floats, truth: Floats, weights: Floats) -> float:
    return float(-weights @ (truth * log_p).sum(axis=1))


def _errors(log_p: Floats, right: Floats, weights: Floats) -> tuple[float, float]:
    """Return the ECE and its debiased value, for as many rows of equal weight as have the same precision."""
    bins = Bins.of(np.exp(log_p.max(axis=1)), right, weights * effective(weights))
    return float(bins.ece[0]), max(float(bins.ece_debiased[0]), 0.0)
