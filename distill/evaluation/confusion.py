"""Numbers about a model's confusions, from (n,) true and predicted class indices."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from db.records import Metric
from monitor.intervals import Statistic, wilson
from monitor.settings import ANY_LABEL, Misroute

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def f1_cells(truth: Ints, predicted: Ints, classes: int) -> tuple[Ints, Statistic]:
    """Return the counts of the (m,) cells that decide macro-F1, and macro-F1 as a statistic of such counts.

    A row of class i predicted as j and a row of class j predicted as i have the same effect on the F1 of
    both classes, so they share a cell.

    Example:
        >>> counts, macro_f1 = f1_cells(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2)
        >>> counts.tolist()  # 0 for 0, 0 for 1 (or 1 for 0), 1 for 1
        [2, 1, 1]
        >>> macro_f1(counts[None]).round(4).tolist()  # the mean of 4/5 and 2/3
        [0.7333]
    """
    pairs = np.minimum(truth, predicted) * classes + np.maximum(truth, predicted)
    cells, counts = np.unique(pairs, return_counts=True)
    one, other = np.eye(classes)[cells // classes], np.eye(classes)[cells % classes]

    def macro_f1(resampled: Ints) -> Floats:
        rows = resampled.astype(np.float64)
        rows_and_predictions, hits = rows @ (one + other), rows @ (one * other)
        occurs = rows_and_predictions > 0
        f1 = np.divide(2 * hits, rows_and_predictions, where=occurs, out=np.zeros_like(hits))
        return np.asarray(f1.sum(axis=1) / occurs.sum(axis=1))

    return counts, macro_f1


def by_label(truth: Ints, predicted: Ints, label_names: Sequence[str]) -> tuple[Metric, ...]:
    """Return recall:LABEL and precision:LABEL of each label, in [0, 1], with Wilson's interval.

    Recall is the share of the label's rows that are predicted as it, precision the share of its predictions
    that are right. A label without rows has no recall, and one without predictions no precision.

    Example:
        >>> truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
        >>> for metric in by_label(truth, predicted, ["faq", "escalation"]):
        ...     print(metric.name, round(metric.value, 3), metric.n)
        recall:faq 0.667 3
        precision:faq 1.0 2
        recall:escalation 1.0 1
        precision:escalation 0.5 2
    """
    right = predicted == truth
    return tuple(
        _share(f"{name}:{label}", right[chosen == index])
        for index, label in enumerate(label_names)
        for name, chosen in (("recall", truth), ("precision", predicted))
        if (chosen == index).any()
    )


def misroute_costs(misroutes: Sequence[Misroute], label_names: Sequence[str], other: float) -> Floats:
    """Return the costs (classes, classes) of predicting the column's label for the row's.

    The diagonal is 0, and a pair of labels that no misroute covers costs `other`. If several misroutes
    cover a pair, the last one applies.

    Example:
        >>> missed = Misroute(true="escalation", predicted="*", cost=5.0)
        >>> misroute_costs([missed], ["faq", "escalation"], 1.0).tolist()
        [[0.0, 1.0], [5.0, 0.0]]
    """
    return _table(other, [(each, each.cost) for each in misroutes], label_names)


def critical_misroutes(misroutes: Sequence[Misroute], label_names: Sequence[str]) -> NDArray[np.bool_]:
    """Return whether it is critical to predict the column's label for the row's, (classes, classes).

    Example:
        >>> missed = Misroute(true="escalation", predicted="*", critical=True)
        >>> critical_misroutes([missed], ["faq", "escalation"]).tolist()
        [[False, False], [True, False]]
    """
    return _table(0.0, [(each, float(each.critical)) for each in misroutes], label_names) > 0


def unknown_label(misroutes: Sequence[Misroute], label_names: Sequence[str]) -> str | None:
    """Return the first label of a misroute that is not in `label_names`, or None.

    Example:
        >>> unknown_label([Misroute(true="escalation", predicted="*")], ["faq", "returns"])
        'escalation'
    """
    named = (label for each in misroutes for label in (each.true, each.predicted))
    return next((label for label in named if label not in {ANY_LABEL, *label_names}), None)


def _table(other: float, entries: Sequence[tuple[Misroute, float]], label_names: Sequence[str]) -> Floats:
    names = np.array(label_names)
    table = np.full((names.size, names.size), other)
    for misroute, value in entries:
        rows, columns = (
            np.ones(names.size, dtype=bool) if label == ANY_LABEL else names == label
            for label in (misroute.true, misroute.predicted)
        )
        table[np.ix_(rows, columns)] = value
    np.fill_diagonal(table, 0.0)
    return table


def _share(name: str, hits: NDArray[np.bool_]) -> Metric:
    return Metric.of(name, wilson(int(hits.sum()), hits.size), hits.size)
