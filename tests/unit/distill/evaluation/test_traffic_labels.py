"""Accuracy on the requests of an archived sample whose true labels are known."""

import numpy as np
import pytest

from distill.evaluation.traffic_labels import (
    ENOUGH,
    LabelledRequests,
    accuracy_gain,
    labelled_requests,
    traffic_metrics,
)
from monitor.settings import MetricsSection, Misroute
from monitor.strata import Strata
from triggers.teacher.correctness import OUT_OF_SCOPE, split

NAMES = ("faq", "returns", "escalation")
MISSED = Misroute(true="escalation", predicted="*", critical=True)
SETTINGS = MetricsSection(misroutes=(MISSED,))
N = 400


@pytest.fixture(scope="module")
def labels() -> list[int | None]:
    """Every third request has no label, and a few have one that the models do not know."""
    rng = np.random.default_rng(3)
    known = rng.integers(OUT_OF_SCOPE, len(NAMES), N).tolist()
    return [None if row % 3 == 0 else label for row, label in enumerate(known)]


@pytest.fixture(scope="module")
def logits() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return rng.normal(size=(N, 3)), rng.normal(size=(N, 3))


def known_in(labels: list[int | None], strata: Strata) -> LabelledRequests:
    found = labelled_requests(labels, strata)
    assert found is not None
    return found


@pytest.mark.parametrize(("n", "is_enough"), [(ENOUGH - 1, False), (ENOUGH, True)])
def test_a_hundred_labels_are_enough(n: int, is_enough: bool) -> None:  # noqa: FBT001
    found = labelled_requests([0] * n + [None] * 50, Strata.one(n + 50))
    assert (found is not None) == is_enough


def test_in_a_uniform_sample_they_are_the_shares_of_the_monitor(
    labels: list[int | None], logits: tuple[np.ndarray, np.ndarray]
) -> None:
    """As in `correctness_history`: both models are wrong where the label is out of scope."""
    found = traffic_metrics(*logits, known_in(labels, Strata.one(N)), NAMES, SETTINGS)
    rows = [row for row, label in enumerate(labels) if label is not None]
    teacher, student = (each.argmax(axis=1)[rows] for each in logits)
    truth = [label for label in labels if label is not None]
    expected = split(truth, teacher, student, np.ones(len(rows)))
    accuracy, of_teacher, over_teacher, misroutes = found
    for metric, share in ((accuracy, expected.student_accuracy), (of_teacher, expected.teacher_accuracy)):
        assert (metric.value, metric.low, metric.high) == pytest.approx(
            (share.estimate, share.low, share.high)
        )
        assert metric.n == len(rows)
    assert [metric.name for metric in found] == [
        *("accuracy", "teacher_accuracy", "accuracy_over_teacher", "critical_misroutes")
    ]
    assert over_teacher.value == pytest.approx(accuracy.value - of_teacher.value)
    missed = np.mean([true == 2 and label != 2 for true, label in zip(truth, student, strict=True)])
    assert misroutes.value == pytest.approx(missed)


def test_in_a_stratified_sample_each_stratum_counts_its_share_of_the_window() -> None:
    """900 requests of the window are in one stratum, 100 in the other; half of each sample is labelled."""
    labels = [0 if row % 2 else None for row in range(N)]
    strata = Strata(sizes=(900, 300), of=np.arange(N) // 200)
    right_in_first = np.where(np.arange(N) < 200, 1.0, -1.0)
    logits = np.stack([right_in_first, np.zeros(N)], axis=1)
    accuracy, *_ = traffic_metrics(logits, logits, known_in(labels, strata), NAMES[:2], MetricsSection())
    assert accuracy.value == 0.75
    assert accuracy.n == 200
    assert accuracy.low < 0.75 < accuracy.high


def test_without_critical_misroutes_there_is_no_such_metric(
    labels: list[int | None], logits: tuple[np.ndarray, np.ndarray]
) -> None:
    found = traffic_metrics(*logits, known_in(labels, Strata.one(N)), NAMES, MetricsSection())
    assert [metric.name for metric in found] == ["accuracy", "teacher_accuracy", "accuracy_over_teacher"]


def test_the_gain_is_measured_on_the_same_requests(
    labels: list[int | None], logits: tuple[np.ndarray, np.ndarray]
) -> None:
    known = known_in(labels, Strata.one(N))
    accuracies = [traffic_metrics(each, each, known, NAMES, SETTINGS)[0].value for each in logits]
    gain = accuracy_gain(*logits, known)
    assert gain.value == pytest.approx(accuracies[0] - accuracies[1])
    assert (gain.name, gain.n) == ("accuracy_gain", known.rows.size)
    assert gain.low < gain.value < gain.high
