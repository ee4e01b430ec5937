import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special, stats

from db.records import Evaluation, Metric
from distill.evaluate import Reference, evaluate, latencies, latency, refer
from distill.evaluation.gates import CONDEMNED, TEST, check
from distill.evaluation.label_metrics import LabelsError, label_metrics
from distill.settings import GatesSection
from distill.training.archived import KnownLogits
from monitor.measure import measure
from monitor.scoring.batches import score
from monitor.scoring.models import Model, ModelError, load
from monitor.settings import MetricsSection
from monitor.stop import StoppedError, never_stopped
from tests.support.world.models import CORPUS, make_copy, make_model

NAMES = ("faq", "returns", "order_tracking", "escalation")
SETTINGS = MetricsSection(resamples=500, seeds=(1,), rare_labels=("returns", "escalation"))
WORDS = sorted(set(" ".join(CORPUS).split()))
RNG = np.random.default_rng(5)
TEXTS = tuple(" ".join(RNG.choice(WORDS, RNG.integers(2, 10))) for _ in range(300))
LABELS = RNG.integers(0, len(NAMES), len(TEXTS))


@pytest.fixture(scope="module")
def teacher_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "teacher", NAMES, seed=1)


@pytest.fixture(scope="module")
def teacher(teacher_directory: Path) -> Model:
    return load(teacher_directory)


@pytest.fixture(scope="module")
def student(teacher_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The teacher with noise on its last weights and its labels in another order."""
    directory = tmp_path_factory.mktemp("models") / "student"
    return load(make_copy(teacher_directory, directory, labels=NAMES[::-1], noise=0.3, seed=2))


@pytest.fixture(scope="module")
def labelled(teacher: Model) -> Reference:
    return refer(
        TEST,
        teacher,
        TEXTS,
        LABELS,
        tokens_per_batch=1_024,
        stopped=never_stopped,
        progress=lambda _: None,
    )


def condemned(teacher: Model, texts: tuple[str, ...] = TEXTS) -> Reference:
    return refer(
        CONDEMNED,
        teacher,
        texts,
        None,
        tokens_per_batch=1_024,
        stopped=never_stopped,
        progress=lambda _: None,
    )


def run(
    student: Model,
    reference: Reference,
    settings: MetricsSection = SETTINGS,
    temperature: float | None = None,
) -> Evaluation:
    return evaluate(
        student,
        reference,
        settings,
        temperature=temperature,
        tokens_per_batch=1_024,
        stopped=never_stopped,
        progress=lambda _: None,
    )


def by_name(evaluation: Evaluation) -> dict[str, Metric]:
    return {metric.name: metric for metric in evaluation.metrics}


def logits_by_name(model: Model) -> NDArray[np.float64]:
    """In the order of NAMES, text by text, so without padding."""
    rows = [
        score(model, [text], tokens_per_batch=64, stopped=never_stopped, progress=lambda _: None)[0]
        for text in TEXTS
    ]
    columns = [model.labels.index(name) for name in NAMES]
    return np.array(rows, dtype=np.float64)[:, columns]


@pytest.fixture(scope="module")
def teacher_logits(teacher: Model) -> NDArray[np.float64]:
    return logits_by_name(teacher)


@pytest.fixture(scope="module")
def student_logits(student: Model) -> NDArray[np.float64]:
    return logits_by_name(student)


@pytest.fixture(scope="module")
def metrics(student: Model, labelled: Reference) -> dict[str, Metric]:
    return by_name(run(student, labelled))


def test_the_test_set_gives_every_metric_with_an_interval_around_it(metrics: dict[str, Metric]) -> None:
    assert [name for name in metrics if ":" not in name] == [
        "agreement",
        "kl",
        "kl_t1",
        "js",
        "accuracy",
        "macro_f1",
        "rare_class_accuracy",
        "ece",
        "ece_debiased",
        "ece_calibrated",
        "ece_calibrated_debiased",
        "nll",
        "brier",
    ]
    for metric in metrics.values():
        assert metric.low <= metric.high
        if not metric.name.startswith("ece"):
            assert metric.low <= metric.value <= metric.high


def test_distances_equal_scipys(
    metrics: dict[str, Metric], teacher_logits: NDArray[np.float64], student_logits: NDArray[np.float64]
) -> None:
    def divergence(temperature: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        p = special.softmax(teacher_logits / temperature, axis=1)
        q = special.softmax(student_logits / temperature, axis=1)
        m = (p + q) / 2
        js = (special.rel_entr(p, m) + special.rel_entr(q, m)).sum(axis=1) / 2
        return special.rel_entr(p, q).sum(axis=1), js

    kl, js = divergence(3.0)
    kl_t1, _ = divergence(1.0)
    agrees = teacher_logits.argmax(axis=1) == student_logits.argmax(axis=1)
    assert 0.3 < agrees.mean() < 0.99
    assert metrics["agreement"].value == agrees.mean()
    assert metrics["kl"].value == pytest.approx(kl.mean(), rel=1e-4)
    assert metrics["kl_t1"].value == pytest.approx(kl_t1.mean(), rel=1e-4)
    assert metrics["js"].value == pytest.approx(js.mean(), rel=1e-4)
    assert {metrics[name].n for name in ("agreement", "kl", "kl_t1", "js")} == {300}
    reference = stats.bootstrap((kl_t1,), np.mean, method="percentile", rng=np.random.default_rng(0))
    spread = float(reference.standard_error)
    assert metrics["kl_t1"].low == pytest.approx(reference.confidence_interval.low, abs=0.15 * spread)
    assert metrics["kl_t1"].high == pytest.approx(reference.confidence_interval.high, abs=0.15 * spread)


def test_label_metrics_equal_plain_numpy(
    metrics: dict[str, Metric], student_logits: NDArray[np.float64]
) -> None:
    truth, predicted = LABELS, student_logits.argmax(axis=1)
    p = special.softmax(student_logits, axis=1)
    right = predicted == LABELS
    rare = np.isin(LABELS, [1, 3])
    f1 = [
        2 * np.sum(right & (truth == label)) / (np.sum(truth == label) + np.sum(predicted == label))
        for label in range(len(NAMES))
    ]
    bins = np.minimum(np.ceil(p.max(axis=1) * 10), 10)
    gaps = [
        (bins == edge).mean() * abs(right[bins == edge].mean() - p.max(axis=1)[bins == edge].mean())
        for edge in np.unique(bins)
    ]
    assert metrics["accuracy"].value == right.mean()
    assert metrics["rare_class_accuracy"].value == right[rare].mean()
    assert metrics["rare_class_accuracy"].n == rare.sum()
    assert metrics["macro_f1"].value == pytest.approx(np.mean(f1))
    assert metrics["ece"].value == pytest.approx(sum(gaps), rel=1e-5)
    assert metrics["nll"].value == pytest.approx(-np.log(p[np.arange(300), LABELS]).mean(), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_calibrated_ece_is_that_of_the_logits_divided_by_the_temperature(
    temperature: float,
    student: Model,
    labelled: Reference,
    metrics: dict[str, Metric],
    student_logits: NDArray[np.float64],
) -> None:
    """And no other metric knows of it: the raw ones are at T = 1."""
    found = by_name(run(student, labelled, temperature=temperature))
    divided = {
        metric.name: metric for metric in label_metrics(student_logits / temperature, LABELS, NAMES, SETTINGS)
    }
    for name in ("ece", "ece_debiased"):
        calibrated = name.replace("ece", "ece_calibrated")
        for end in ("value", "low", "high"):
            assert getattr(found[calibrated], end) == pytest.approx(getattr(divided[name], end), abs=1e-5)
    others = [name for name in metrics if "calibrated" not in name]
    assert [found[name] for name in others] == [metrics[name] for name in others]


def test_the_latency_is_timed_text_by_text(student: Model) -> None:
    found = latency(student, TEXTS)
    assert (found.name, found.n) == ("latency_p95_ms", 300)
    assert 0 < found.value < 10_000


def test_two_students_are_timed_in_turn_and_compared(student: Model, teacher: Model) -> None:
    found = latencies(student, teacher, TEXTS, rng=np.random.default_rng(1), stopped=never_stopped)
    assert [metric.name for metric in found.candidate] == [
        "latency_p95_ms",
        "latency_ratio",
        "latency_ratio_median",
    ]
    assert [metric.name for metric in found.incumbent] == ["latency_p95_ms"]
    assert {metric.n for metric in (*found.candidate, *found.incumbent)} == {300}
    own, ratio, _median = found.candidate
    assert ratio.value == pytest.approx(own.value / found.incumbent[0].value)


def test_an_archived_sample_gives_what_the_daemon_measures(
    student: Model,
    teacher: Model,
    teacher_logits: NDArray[np.float64],
    student_logits: NDArray[np.float64],
) -> None:
    evaluation = run(student, condemned(teacher))
    metrics = by_name(evaluation)
    daemons = measure(teacher_logits, student_logits, NAMES, temperature=3.0)
    assert evaluation.dataset == CONDEMNED
    assert list(metrics) == ["agreement", "kl", "kl_t1", "js"]
    assert metrics["agreement"].value == daemons.agreement.estimate
    assert (metrics["agreement"].low, metrics["agreement"].high) == (
        daemons.agreement.low,
        daemons.agreement.high,
    )
    assert metrics["kl"].value == pytest.approx(daemons.kl.estimate, rel=1e-4)
    assert metrics["kl"].high == pytest.approx(daemons.kl.high, rel=1e-3)
    assert metrics["kl_t1"].value == pytest.approx(daemons.kl_t1, rel=1e-4)
    assert metrics["js"].value == pytest.approx(daemons.js, rel=1e-4)


def test_a_teacher_held_against_itself_agrees_with_no_distance(teacher: Model) -> None:
    metrics = by_name(run(teacher, condemned(teacher)))
    assert metrics["agreement"].value == 1.0
    assert metrics["kl"].value == 0.0
    assert metrics["js"].value == pytest.approx(0.0, abs=1e-12)


def test_known_logits_of_the_teacher_are_what_a_student_is_compared_with(
    student: Model, teacher: Model
) -> None:
    """Those of redacted texts: here the student's own, so that it agrees on these."""
    logits = score(student, TEXTS, tokens_per_batch=1_024, stopped=never_stopped, progress=lambda _: None)
    columns = [student.labels.index(name) for name in teacher.labels]
    reference = refer(
        CONDEMNED,
        teacher,
        TEXTS,
        None,
        known_logits=KnownLogits(rows=np.arange(150), logits=logits[:150, columns]),
        tokens_per_batch=1_024,
        stopped=never_stopped,
        progress=lambda _: None,
    )
    agreement = by_name(run(student, reference))["agreement"].value
    plain = condemned(teacher)
    half = plain.teacher_logits[150:].argmax(axis=1) == logits[150:, columns].argmax(axis=1)
    assert agreement == pytest.approx((150 + half.sum()) / 300)


def test_an_empty_sample_is_nan_and_passes_no_gate(student: Model, teacher: Model) -> None:
    evaluation = run(student, condemned(teacher, ()))
    assert all(math.isnan(metric.value) and metric.n == 0 for metric in evaluation.metrics)
    (outcome,) = (one for one in check(GatesSection(), [evaluation]) if one.dataset == CONDEMNED)
    assert outcome.result == "fail"


def test_without_rare_labels_there_is_no_rare_class_accuracy(student: Model, labelled: Reference) -> None:
    settings = MetricsSection(resamples=100, seeds=(1,))
    assert "rare_class_accuracy" not in by_name(run(student, labelled, settings))


def test_a_rare_label_that_the_teacher_does_not_know_is_refused(student: Model, labelled: Reference) -> None:
    with pytest.raises(LabelsError, match="refunds"):
        run(student, labelled, MetricsSection(resamples=100, rare_labels=("refunds",)))


def test_the_temperature_is_that_of_the_settings(student: Model, teacher: Model) -> None:
    at_one = by_name(run(student, condemned(teacher), MetricsSection(temperature=1.0)))
    assert at_one["kl"].value == at_one["kl_t1"].value


def test_a_student_with_other_labels_cannot_be_evaluated(teacher: Model, tmp_path: Path) -> None:
    other = load(make_model(tmp_path / "other", (*NAMES[:3], "refunds"), seed=2))
    with pytest.raises(ModelError, match=r"escalation|refunds"):
        run(other, condemned(teacher))


def test_a_stop_is_obeyed(student: Model, teacher: Model) -> None:
    with pytest.raises(StoppedError):
        evaluate(
            student,
            condemned(teacher),
            SETTINGS,
            temperature=None,
            tokens_per_batch=64,
            stopped=lambda: True,
            progress=lambda _: None,
        )
