"""The metrics of one model on labelled rows, each with its 95% interval.

Logits are (n, classes), labels (n,) class indices. The prediction is the class with the largest logit (the
lowest index among equal ones), and its confidence is its softmax at T = 1. A metric with nothing to estimate
from has n = 0 and is NaN.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from db.errors import RedistillError, quoted
from db.records import Metric
from distill.evaluation import confusion
from distill.evaluation.reliability import Calibration
from monitor.divergence import log_softmax
from monitor.intervals import binomial_bootstrap, bootstrap_mean, multinomial_bootstrap
from monitor.settings import MetricsSection

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class LabelsError(RedistillError):
    """The labels cannot be used: {problem}."""


def label_metrics(
    logits: ArrayLike,
    labels: ArrayLike,
    label_names: Sequence[str],
    settings: MetricsSection,
    *,
    calibrated: ArrayLike | None = None,
) -> tuple[Metric, ...]:
    """Return the overall metrics, followed by those of each label and of each confidence bin.

    - accuracy: share of rows predicted right; higher is better; exact binomial bootstrap.
    - macro_f1: the mean over classes of 2·TP / (rows of the class + predictions of the class); higher is
      better. A class with neither rows nor predictions is left out; one that is only predicted wrongly
      counts as 0 (as in scikit-learn without a `labels` argument).
    - rare_class_accuracy: the share predicted right of the rows whose true label is one of
      `rare_labels`, all such rows together, so a rare class weighs by its rows; n is their number.
      Only with `rare_labels`.
    - critical_misroutes: the share of rows whose prediction is a critical misroute; lower is better;
      interval as for accuracy. Only if one of `misroutes` is critical.
    - misroute_cost: the mean over rows of the cost of their prediction, 0 for a right one, in the
      unit of the configured costs; lower is better; bootstrap of the mean. Only with `misroutes`.
    - ece: Σ n_b/n · |accuracy_b - mean confidence_b| over 10 equal-width bins (0, .1] … (.9, 1];
      lower is better. In small samples it is biased upwards: a perfectly calibrated model shows
      about .026 at n = 500.
    - ece_debiased: 2·ECE minus its mean under the noise of the bins' accuracies, at least 0. It removes
      about .4 of the bias of a perfectly calibrated model, and most of the bias at an ECE of .05.
    - ece_calibrated and ece_calibrated_debiased: the same two metrics of the confidences of `calibrated`,
      the logits (n, classes) divided by a temperature that was fitted to other rows. Only with `calibrated`.
    - nll: -ln p(true label), nats; brier: Σ_c (p_c - [c is true])², in [0, 2]; lower is better;
      bootstrap of the mean.
    - recall:LABEL and precision:LABEL from `confusion.by_label`; accuracy:BIN and confidence:BIN from
      `Calibration.curve`.

    The intervals of macro_f1 and of all four ECEs come from `resamples` resamples per seed; a bound
    is the mean of the seeds' bounds, and `spread` is the range of those. The percentile interval of
    ece lies above the true value if the model is close to perfectly calibrated; that of ece_debiased is
    shifted by the bias that resampling adds.

    Raises:
        LogitsError: logits are not (n, classes) or not finite.
        LabelsError: there is not one label per row or not one name per class, a label is not a class, or
            `rare_labels` or `misroutes` have an unknown label.

    Example:
        >>> logits = [[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 2.0]]
        >>> settings = MetricsSection(rare_labels=["escalation"], resamples=100)
        >>> panel = label_metrics(logits, [0, 0, 1, 1], ["faq", "escalation"], settings)
        >>> for metric in panel[:4]:
        ...     print(metric.name, round(metric.value, 3), metric.n)
        accuracy 0.75 4
        macro_f1 0.733 4
        rare_class_accuracy 0.5 2
        ece 0.131 4
    """
    log_p = log_softmax(logits)
    truth = checked_labels(labels, log_p.shape)
    _check_names(label_names, settings, log_p.shape[1])
    # The logits decide, not their softmax, which rounds close ones to a tie.
    predicted = np.asarray(logits).argmax(axis=1)
    right = predicted == truth
    calibration = Calibration(confidence=np.exp(log_p.max(axis=1)), right=right)
    errors = _calibration_errors(calibration, settings)
    if calibrated is not None:
        confidence = np.exp(log_softmax(calibrated).max(axis=1))
        errors += _calibration_errors(
            Calibration(confidence=confidence, right=right), settings, suffix="_calibrated"
        )
    nll = -np.take_along_axis(log_p, truth[:, None], axis=1)[:, 0]
    brier = ((np.exp(log_p) - np.eye(log_p.shape[1])[truth]) ** 2).sum(axis=1)
    return (
        _share("accuracy", right),
        _macro_f1(truth, predicted, label_names, settings),
        *_of_rare(truth, right, label_names, settings),
        *_of_misroutes(truth, predicted, label_names, settings),
        *errors,
        _mean("nll", nll),
        _mean("brier", brier),
        *confusion.by_label(truth, predicted, label_names),
        *calibration.curve(),
    )


def checked_labels(labels: ArrayLike, shape: tuple[int, ...]) -> Ints:
    """Return the labels as class indices (n,), for logits of the shape (n, classes).

    Raises:
        LabelsError: there is not one label per row, or a label is not a class.

    Example:
        >>> checked_labels([1, 0], (2, 3)).tolist()
        [1, 0]
    """
    truth = np.asarray(labels)
    n, classes = shape
    if truth.shape != (n,):
        raise LabelsError(problem=f"their shape is {truth.shape}, that of the logits is {shape}")
    if truth.size and not np.isin(truth, np.arange(classes)).all():
        raise LabelsError(problem=f"a label is not an integer in 0 … {classes - 1}")
    return truth.astype(np.int64)


def _check_names(label_names: Sequence[str], settings: MetricsSection, classes: int) -> None:
    if len(label_names) != classes:
        raise LabelsError(problem=f"{len(label_names)} names for {classes} classes")
    unknown = sorted(set(settings.rare_labels) - set(label_names))
    if unknown:
        raise LabelsError(
            problem=f"the rare label {quoted(unknown[0])} is not one of {quoted(list(label_names))}"
        )
    misrouted = confusion.unknown_label(settings.misroutes, label_names)
    if misrouted is not None:
        raise LabelsError(
            problem=f"the label {quoted(misrouted)} of a misroute is not one of {quoted(list(label_names))}"
        )


def _share(name: str, hits: NDArray[np.bool_]) -> Metric:
    return Metric.of(name, binomial_bootstrap(int(hits.sum()), hits.size), hits.size)


def _mean(name: str, values: Floats) -> Metric:
    return Metric.of(name, bootstrap_mean(values), values.size)


def _macro_f1(truth: Ints, predicted: Ints, label_names: Sequence[str], settings: MetricsSection) -> Metric:
    counts, macro_f1 = confusion.f1_cells(truth, predicted, len(label_names))
    intervals = [
        multinomial_bootstrap(
            counts, [macro_f1], rng=np.random.default_rng(seed), resamples=settings.resamples
        )[0]
        for seed in settings.seeds
    ]
    return Metric.over_seeds("macro_f1", intervals, truth.size)


def _of_rare(
    truth: Ints, right: NDArray[np.bool_], label_names: Sequence[str], settings: MetricsSection
) -> tuple[Metric, ...]:
    if not settings.rare_labels:
        return ()
    rare = [index for index, name in enumerate(label_names) if name in settings.rare_labels]
    return (_share("rare_class_accuracy", right[np.isin(truth, rare)]),)


def _of_misroutes(
    truth: Ints, predicted: Ints, label_names: Sequence[str], settings: MetricsSection
) -> tuple[Metric, ...]:
    metrics: tuple[Metric, ...] = ()
    if any(misroute.critical for misroute in settings.misroutes):
        critical = confusion.critical_misroutes(settings.misroutes, label_names)
        metrics += (_share("critical_misroutes", critical[truth, predicted]),)
    if settings.misroutes:
        costs = confusion.misroute_costs(settings.misroutes, label_names, settings.misroute_cost)
        metrics += (_mean("misroute_cost", costs[truth, predicted]),)
    return metrics


def _calibration_errors(
    calibration: Calibration, settings: MetricsSection, *, suffix: str = ""
) -> tuple[Metric, ...]:
    per_seed = calibration.errors(settings.seeds, settings.resamples)
    plain, debiased = zip(*per_seed, strict=True)
    n = calibration.right.size
    return (
        Metric.over_seeds(f"ece{suffix}", plain, n),
        Metric.over_seeds(f"ece{suffix}_debiased", debiased, n),
    )
