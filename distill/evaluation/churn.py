"""Churn: the rows whose label changes from the incumbent to the candidate, and those that become wrong."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from db.records import Metric
from monitor.intervals import binomial_bootstrap, wilson

#: The share of rows to which the candidate gives another label than the incumbent.
CHURN: Final = "churn"
#: The share of rows that the incumbent gets right and the candidate wrong.
NEGATIVE_FLIPS: Final = "negative_flips"


def churn_metrics(
    candidate: ArrayLike,
    incumbent: ArrayLike,
    labels: NDArray[np.int64],
    label_names: Sequence[str],
) -> tuple[Metric, ...]:
    """Return churn and negative_flips on labelled rows, and both by label; lower is better.

    Logits are (n, classes). churn:LABEL is the share of the rows to which the incumbent gives the label that
    change, negative_flips:LABEL the share of the rows with that true label that become wrong; both have
    Wilson's interval, and are left out for a label without rows.

    Source: Milani Fard, Cormier, Canini, Gupta 2016, "Launch and iterate: reducing prediction churn"; Yan et
    al. 2021, "Positive-congruent training: towards regression-free model updates".

    Example:
        >>> labels = np.array([0, 0, 1, 1])
        >>> incumbent, candidate = np.eye(2)[[0, 0, 0, 1]], np.eye(2)[[0, 1, 1, 1]]
        >>> for metric in churn_metrics(candidate, incumbent, labels, ["faq", "returns"]):
        ...     print(metric.name, round(metric.value, 3), metric.n)
        churn 0.5 4
        negative_flips 0.25 4
        churn:faq 0.667 3
        churn:returns 0.0 1
        negative_flips:faq 0.5 2
        negative_flips:returns 0.0 2
    """
    after, before = (np.asarray(each).argmax(axis=1) for each in (candidate, incumbent))
    changed = after != before
    flipped = (before == labels) & changed
    return (
        *(
            Metric.of(name, binomial_bootstrap(int(rows.sum()), rows.size), rows.size)
            for name, rows in ((CHURN, changed), (NEGATIVE_FLIPS, flipped))
        ),
        *_by_label(CHURN, changed, before, label_names),
        *_by_label(NEGATIVE_FLIPS, flipped, labels, label_names),
    )


def _by_label(
    name: str, rows: NDArray[np.bool_], of: NDArray[np.int64], label_names: Sequence[str]
) -> tuple[Metric, ...]:
    parts = ((label, rows[of == index]) for index, label in enumerate(label_names))
    return tuple(
        Metric.of(f"{name}:{label}", wilson(int(part.sum()), part.size), part.size)
        for label, part in parts
        if part.size
    )
