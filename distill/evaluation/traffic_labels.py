"""The accuracy of models on the requests of an archived sample whose true labels are known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from db.records import Metric
from distill.evaluation import confusion
from distill.evaluation.comparison import GAIN, OVER_TEACHER
from distill.evaluation.paired import paired_difference
from monitor.settings import MetricsSection
from monitor.strata import Strata
from triggers.teacher.correctness import OUT_OF_SCOPE
from triggers.wilson import score_interval

#: With fewer labelled requests nothing is said about accuracy.
ENOUGH: Final = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledRequests:
    """The requests of a sample whose true labels are known; `rows` and `labels` are (n,)."""

    rows: NDArray[np.intp]  #: their indices in the sample
    labels: NDArray[np.int64]  #: indices into the teacher's labels; OUT_OF_SCOPE: every model is wrong
    strata: Strata  #: of these requests, which stand for all requests of the window

    def right(self, predicted: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return whether each labelled request is right, (n,), from the predictions for the whole sample."""
        return np.asarray(predicted[self.rows] == self.labels)

    def share(self, name: str, holds: NDArray[np.bool_]) -> Metric:
        """Return the share of the window for which `holds` (n,) is estimated, with Wilson's interval."""
        interval = score_interval(float(self.strata.share(holds)), self.strata.n_effective)
        return Metric.of(name, interval, holds.size)

    def difference(self, name: str, first: NDArray[np.intp], second: NDArray[np.intp]) -> Metric:
        """Return the accuracy of the first predictions for the whole sample minus that of the second."""
        interval = paired_difference(self.right(first), self.right(second), self.strata)
        return Metric.of(name, interval, self.rows.size)


def labelled_requests(labels: Sequence[int | None], strata: Strata) -> LabelledRequests | None:
    """Return the requests of a sample with a label that is not None, or None if there are too few.

    Example:
        >>> labelled_requests([0, None], Strata.one(2)) is None
        True
        >>> found = labelled_requests([0, None] * ENOUGH, Strata.one(2 * ENOUGH))
        >>> found.rows[:3].tolist(), found.strata.n_effective
        ([0, 2, 4], 100.0)
    """
    rows = np.array([row for row, label in enumerate(labels) if label is not None], dtype=np.intp)
    if rows.size < ENOUGH:
        return None
    return LabelledRequests(
        rows=rows,
        labels=np.array([label for label in labels if label is not None], dtype=np.int64),
        strata=strata.at(rows),
    )


def accuracy_gain(candidate: ArrayLike, incumbent: ArrayLike, known: LabelledRequests) -> Metric:
    """Return the candidate's accuracy minus the incumbent's on the labelled requests, from their logits."""
    first, second = (np.asarray(each).argmax(axis=1) for each in (candidate, incumbent))
    return known.difference(GAIN, first, second)


def traffic_metrics(
    teacher_logits: ArrayLike,
    student_logits: ArrayLike,
    known: LabelledRequests,
    label_names: Sequence[str],
    settings: MetricsSection,
) -> tuple[Metric, ...]:
    """Return the accuracy of both models, and the student's critical misroutes, on the labelled requests.

    Logits are (n, classes), for the whole sample. Each request has the weight of what it represents of the
    window. Both models are wrong where the true label is out of scope, as in `correctness_history`.

    - accuracy, teacher_accuracy: the share of the requests with the right top-1 label; higher is better.
    - accuracy_over_teacher: the first minus the second; see `paired_difference`.
    - critical_misroutes: the share whose prediction is a critical misroute; lower is better. Only if one of
      `misroutes` is critical.
    """
    teacher, student = (np.asarray(each).argmax(axis=1) for each in (teacher_logits, student_logits))
    metrics: tuple[Metric, ...] = (
        known.share("accuracy", known.right(student)),
        known.share("teacher_accuracy", known.right(teacher)),
        known.difference(OVER_TEACHER, student, teacher),
    )
    if any(misroute.critical for misroute in settings.misroutes):
        critical = confusion.critical_misroutes(settings.misroutes, label_names)
        misrouted = critical[known.labels, student[known.rows]] & (known.labels != OUT_OF_SCOPE)
        metrics += (known.share("critical_misroutes", misrouted),)
    return metrics
