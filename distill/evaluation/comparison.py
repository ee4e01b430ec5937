"""The metrics that compare a candidate with its incumbent, or with the teacher, on the same rows."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from db.records import Metric
from distill.evaluation import confusion
from distill.evaluation.paired import paired_difference
from monitor.divergence import top1_agreement
from monitor.intervals import bootstrap_mean
from monitor.settings import MetricsSection
from monitor.strata import Strata

#: The accuracy of the candidate minus the incumbent's.
GAIN: Final = "accuracy_gain"
#: The same on the rows whose true label is rare.
RARE_GAIN: Final = "rare_class_accuracy_gain"
#: The share of critical misroutes of the candidate minus the incumbent's.
CRITICAL_CHANGE: Final = "critical_misroutes_change"
#: The mean cost per row of the candidate's misroutes minus the incumbent's.
COST_CHANGE: Final = "misroute_cost_change"
#: The accuracy of a student minus the teacher's.
OVER_TEACHER: Final = "accuracy_over_teacher"
#: The agreement of the candidate with the teacher minus the incumbent's.
AGREEMENT_GAIN: Final = "agreement_gain"


def agreement_gain(
    teacher: ArrayLike, candidate: ArrayLike, incumbent: ArrayLike, strata: Strata | None
) -> Metric:
    """Return agreement_gain from the logits (n, classes) of the same requests; see `paired_difference`.

    Example:
        >>> teacher, good = [[1.0, 0.0]] * 100, [[1.0, 0.0]] * 95 + [[0.0, 1.0]] * 5
        >>> poor = [[0.0, 1.0]] * 10 + [[1.0, 0.0]] * 90
        >>> gain = agreement_gain(teacher, good, poor, None)
        >>> round(gain.value, 2), round(gain.low, 3), round(gain.high, 3)
        (0.05, -0.03, 0.128)
    """
    first, second = (top1_agreement(teacher, each) for each in (candidate, incumbent))
    strata = Strata.one(first.size) if strata is None else strata
    return Metric.of(AGREEMENT_GAIN, paired_difference(first, second, strata), first.size)


def labelled_comparison(
    candidate: ArrayLike,
    incumbent: ArrayLike,
    labels: NDArray[np.int64],
    label_names: Sequence[str],
    settings: MetricsSection,
) -> tuple[Metric, ...]:
    """Return the changes from incumbent to candidate on labelled rows, from their logits (n, classes).

    - accuracy_gain: see `paired_difference`; higher is better.
    - rare_class_accuracy_gain: the same on the rows whose true label is rare. Only with `rare_labels`.
    - critical_misroutes_change: the same of the shares of critical misroutes; lower is better. Only if one of
      `misroutes` is critical.
    - misroute_cost_change: the mean over rows of the candidate's cost minus the incumbent's, in the unit of
      the configured costs; lower is better; bootstrap of the mean of the differences. Only with `misroutes`.

    Example:
        >>> labels, names = np.array([0, 0, 1, 1] * 25), ["faq", "escalation"]
        >>> right, one = np.eye(2)[labels], np.eye(2)[np.zeros(100, dtype=int)]
        >>> settings = MetricsSection(rare_labels=["escalation"])
        >>> for metric in labelled_comparison(right, one, labels, names, settings):
        ...     print(metric.name, metric.value, metric.n)
        accuracy_gain 0.5 100
        rare_class_accuracy_gain 1.0 50
    """
    first, second = (np.asarray(each).argmax(axis=1) for each in (candidate, incumbent))
    metrics = [_difference(GAIN, first == labels, second == labels)]
    if settings.rare_labels:
        rare = np.isin(labels, [label_names.index(name) for name in settings.rare_labels])
        metrics.append(_difference(RARE_GAIN, (first == labels)[rare], (second == labels)[rare]))
    if any(misroute.critical for misroute in settings.misroutes):
        critical = confusion.critical_misroutes(settings.misroutes, label_names)
        metrics.append(_difference(CRITICAL_CHANGE, critical[labels, first], critical[labels, second]))
    if settings.misroutes:
        costs = confusion.misroute_costs(settings.misroutes, label_names, settings.misroute_cost)
        change = bootstrap_mean(costs[labels, first] - costs[labels, second])
        metrics.append(Metric.of(COST_CHANGE, change, labels.size))
    return tuple(metrics)


def _difference(name: str, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Metric:
    return Metric.of(name, paired_difference(first, second, Strata.one(first.size)), first.size)
