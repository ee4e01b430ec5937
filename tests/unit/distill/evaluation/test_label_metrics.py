"""How good a model is on labelled rows, against definitions written out in loops and scipy."""

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import softmax

from db.records import Metric
from distill.evaluation.label_metrics import LabelsError, label_metrics
from monitor.divergence import LogitsError
from monitor.intervals import binomial_bootstrap, bootstrap_mean, wilson
from monitor.settings import MetricsSection, Misroute

NAMES = ("faq", "chitchat", "promotion", "escalation")
RARE = ("promotion", "escalation")
MISROUTES = (
    Misroute(true="escalation", cost=20, critical=True),
    Misroute(true="escalation", predicted="promotion", cost=4),
    Misroute(true="faq", predicted="chitchat", cost=0.5),
)
SEEDS = (2025, 2026, 2027)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def panel(
    logits: ArrayLike, labels: ArrayLike, *, resamples: int = 200, seeds: tuple[int, ...] = SEEDS
) -> dict[str, Metric]:
    settings = MetricsSection(rare_labels=RARE, misroutes=MISROUTES, resamples=resamples, seeds=seeds)
    return {metric.name: metric for metric in label_metrics(logits, labels, NAMES, settings)}


def certain(*predicted: int) -> Floats:
    """Logits that put these classes first, with a confidence of 1."""
    return np.eye(4)[list(predicted)] * 1e3


def with_confidence(confidence: float, rows: int) -> Floats:
    """Logits that put class 0 first with this confidence."""
    return np.tile(np.log([confidence, *[(1 - confidence) / 3] * 3]), (rows, 1))


@pytest.fixture(scope="module")
def model() -> tuple[Floats, Ints]:
    """Logits and labels of 1,500 rows over four classes, two of them rare; about 85% right."""
    rng = np.random.default_rng(2025)
    labels = rng.choice(4, size=1500, p=[0.6, 0.28, 0.08, 0.04])
    logits = rng.normal(size=(1500, 4))
    logits[np.arange(1500), labels] += 2.2
    return logits * 1.4, labels


def test_the_panel_is_complete_and_in_order() -> None:
    assert list(panel(certain(0, 3), [0, 1])) == [
        "accuracy",
        "macro_f1",
        "rare_class_accuracy",
        "critical_misroutes",
        "misroute_cost",
        "ece",
        "ece_debiased",
        "nll",
        "brier",
        "recall:faq",
        "precision:faq",
        "recall:chitchat",
        "precision:escalation",
        "accuracy:0.9-1.0",
        "confidence:0.9-1.0",
    ]


def test_what_is_not_configured_is_not_there() -> None:
    names = {metric.name for metric in label_metrics(certain(0), [0], NAMES, MetricsSection())}
    assert not names & {"rare_class_accuracy", "critical_misroutes", "misroute_cost"}
    dear = MetricsSection(misroutes=(Misroute(true="faq", cost=3),))
    names = {metric.name for metric in label_metrics(certain(0), [0], NAMES, dear)}
    assert names & {"critical_misroutes", "misroute_cost"} == {"misroute_cost"}


def test_misroutes_are_counted_and_priced(model: tuple[Floats, Ints]) -> None:
    """Against a loop over the rows: the later of two that are about a pair counts, all others cost 1."""
    logits, labels = model
    costs: list[float] = []
    critical = []
    for true, predicted in zip(labels, logits.argmax(1), strict=True):
        dear = NAMES[true] == "escalation" and predicted != true
        is_promotion = NAMES[predicted] == "promotion"
        critical.append(dear and not is_promotion)
        costs.append(0 if true == predicted else (4 if is_promotion else 20) if dear else 1)
        if (NAMES[true], NAMES[predicted]) == ("faq", "chitchat"):
            costs[-1] = 0.5
    found = panel(*model)
    assert 0 < sum(critical) < 100
    expected = binomial_bootstrap(sum(critical), 1500)
    share, cost = found["critical_misroutes"], found["misroute_cost"]
    assert (share.value, share.low, share.high) == (expected.estimate, expected.low, expected.high)
    assert cost.value == pytest.approx(np.mean(costs))
    assert (cost.low, cost.high) == pytest.approx(
        (bootstrap_mean(costs).low, bootstrap_mean(costs).high), rel=1e-6
    )


def test_a_label_has_recall_and_precision_with_wilsons_interval(model: tuple[Floats, Ints]) -> None:
    logits, labels = model
    predicted, found = logits.argmax(1), panel(*model)
    for index, name in enumerate(NAMES):
        hits = int(((labels == index) & (predicted == index)).sum())
        for metric, n in (("recall", (labels == index).sum()), ("precision", (predicted == index).sum())):
            one, expected = found[f"{metric}:{name}"], wilson(hits, int(n))
            assert (one.value, one.low, one.high, one.n) == (
                expected.estimate,
                expected.low,
                expected.high,
                n,
            )


def test_the_reliability_diagram_is_made_of_the_bins(model: tuple[Floats, Ints]) -> None:
    """Its gaps, weighted by their rows, are the ECE; an empty bin has no point."""
    logits, labels = model
    found = panel(logits, labels)
    top = softmax(logits, axis=1).max(1)
    bins = [name.partition(":")[2] for name in found if name.startswith("confidence:")]
    assert len(bins) == len(np.unique(np.ceil(top * 10)))
    total = 0.0
    for each in bins:
        low, high = map(float, each.split("-"))
        inside = (top > low) & (top <= high)
        accuracy, confidence = found[f"accuracy:{each}"], found[f"confidence:{each}"]
        assert accuracy.n == confidence.n == inside.sum()
        assert confidence.value == pytest.approx(top[inside].mean())
        assert accuracy.low < accuracy.value < accuracy.high or accuracy.value in {0, 1}
        total += inside.mean() * abs(accuracy.value - confidence.value)
    assert found["ece"].value == pytest.approx(total)


def test_accuracy_has_the_exact_binomial_interval(model: tuple[Floats, Ints]) -> None:
    logits, labels = model
    right = int((logits.argmax(1) == labels).sum())
    found, expected = panel(*model)["accuracy"], binomial_bootstrap(right, 1500)
    assert (found.value, found.low, found.high, found.n) == (
        right / 1500,
        expected.low,
        expected.high,
        1500,
    )


def test_rare_class_accuracy_is_of_the_rows_whose_true_label_is_rare(
    model: tuple[Floats, Ints],
) -> None:
    """All such rows together; predictions of a rare label for other rows do not count."""
    logits, labels = model
    rare = labels >= 2
    right = int((logits.argmax(1) == labels)[rare].sum())
    found, expected = panel(*model)["rare_class_accuracy"], binomial_bootstrap(right, rare.sum())
    assert (found.value, found.low, found.high, found.n) == (
        expected.estimate,
        expected.low,
        expected.high,
        rare.sum(),
    )


@pytest.mark.parametrize(
    ("labels", "predicted", "expected", "why"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], 1.0, "all right"),
        ([0, 0, 1, 1], [0, 1, 1, 1], (2 / 3 + 4 / 5) / 2, "absent classes are left out"),
        ([0, 0, 1, 1], [0, 2, 1, 1], (2 / 3 + 1 + 0) / 3, "a class that is only predicted is 0"),
        ([0, 0, 3, 3], [0, 0, 0, 0], (4 / 6 + 0) / 2, "a class that is never predicted is 0"),
        ([0, 1], [1, 0], 0.0, "all wrong"),
    ],
)
def test_macro_f1(labels: list[int], predicted: list[int], expected: float, why: str) -> None:
    found = panel(certain(*predicted), labels)["macro_f1"]
    assert found.value == pytest.approx(expected, abs=1e-12), why


def macro_f1(labels: Ints, predicted: Ints) -> float:
    scores = []
    for label in set(labels) | set(predicted):
        hits = np.sum((labels == label) & (predicted == label))
        precision_and_recall = np.sum(predicted == label) + np.sum(labels == label)
        scores.append(2 * hits / precision_and_recall)
    return float(np.mean(scores))


def ece(confidence: Floats, right: NDArray[np.bool_]) -> float:
    total = 0.0
    for upper in range(1, 11):
        inside = (confidence > (upper - 1) / 10) & (confidence <= upper / 10)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total += inside.mean() * gap
    return total


def test_values_equal_the_definitions(model: tuple[Floats, Ints]) -> None:
    logits, labels = model
    p = softmax(logits, axis=1)
    found = panel(logits, labels)
    expected = {
        "macro_f1": macro_f1(labels, logits.argmax(1)),
        "ece": ece(p.max(1), logits.argmax(1) == labels),
        "nll": -np.log(p[np.arange(1500), labels]).mean(),
        "brier": ((p - np.eye(4)[labels]) ** 2).sum(1).mean(),
    }
    assert {name: found[name].value for name in expected} == pytest.approx(expected)


def test_nll_and_brier_have_the_bootstrap_interval_of_a_mean(model: tuple[Floats, Ints]) -> None:
    logits, labels = model
    p = softmax(logits, axis=1)
    for name, values in [
        ("nll", -np.log(p[np.arange(1500), labels])),
        ("brier", ((p - np.eye(4)[labels]) ** 2).sum(1)),
    ]:
        found, expected = panel(logits, labels)[name], bootstrap_mean(values)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("name", ["macro_f1", "ece"])
def test_resampled_intervals_equal_scipys_within_its_noise(model: tuple[Floats, Ints], name: str) -> None:
    """A bound of either wanders by about .04 of the half-width (2,000 resamples); .2 are allowed."""
    logits, labels = model
    predicted = logits.argmax(1)
    confidence = softmax(logits, axis=1).max(1)
    statistic, data = {
        "macro_f1": (macro_f1, (labels, predicted)),
        "ece": (ece, (confidence, predicted == labels)),
    }[name]
    reference = stats.bootstrap(  # type: ignore[call-overload]
        data,
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=2000,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    found = panel(logits, labels, resamples=2000)[name]
    half_width = (reference.high - reference.low) / 2
    assert (found.low, found.high) == pytest.approx(tuple(reference), abs=0.2 * half_width)


@pytest.mark.parametrize(
    ("confidence", "right", "rows"), [(0.9, 9, 10), (0.75, 3, 4), (0.5, 2, 4), (0.3, 3, 10)]
)
def test_confidence_that_equals_accuracy_is_calibrated(confidence: float, right: int, rows: int) -> None:
    labels = [0] * right + [1] * (rows - right)
    found = panel(with_confidence(confidence, rows), labels)
    assert found["ece"].value == pytest.approx(0, abs=1e-12)
    assert found["ece_debiased"].value == 0


def test_ece_takes_bins_and_not_rows() -> None:
    """Confidences .62 and .68 share a bin, so their errors cancel; .62 and .72 do not."""
    labels = [0] * 5 + [0] * 8 + [1] * 7
    apart = 5 / 20 * (1 - 0.62) + 15 / 20 * abs(8 / 15 - 0.72)
    together = abs(13 / 20 - (5 * 0.62 + 15 * 0.68) / 20)
    for other, expected in [(0.68, together), (0.72, apart)]:
        logits = np.vstack([with_confidence(0.62, 5), with_confidence(other, 15)])
        assert panel(logits, labels)["ece"].value == pytest.approx(expected)


def test_a_bin_holds_its_upper_edge() -> None:
    """Confidences .45 and .5 share (.4, .5], so their errors cancel; .5 and .55 do not."""
    half = [[0.0, 0.0, -1e3, -1e3]]
    for other, expected in [(0.45, abs(0.5 - 0.475)), (0.55, (0.5 + 0.55) / 2)]:
        logits = np.vstack([half, with_confidence(other, 1)])
        assert panel(logits, [0, 1])["ece"].value == pytest.approx(expected)


def test_debiased_ece_is_twice_the_ece_less_its_mean_under_normal_noise() -> None:
    """The library's own resampling: accuracies drawn anew for each bin, 200,000 times."""
    labels = [0] * 85 + [1] * 15 + [0] * 30 + [1] * 20
    logits = np.vstack([with_confidence(0.88, 100), with_confidence(0.64, 50)])
    accuracy, confidence, rows = np.array([0.85, 0.6]), np.array([0.88, 0.64]), np.array([100, 50])
    noise = np.random.default_rng(1).normal(size=(200_000, 2))
    drawn = accuracy + noise * np.sqrt(accuracy * (1 - accuracy) / rows)
    weights = rows / 150
    plain = weights @ np.abs(accuracy - confidence)
    expected = 2 * plain - (np.abs(drawn - confidence) @ weights).mean()
    found = panel(logits, labels)
    assert found["ece"].value == pytest.approx(plain)
    assert found["ece_debiased"].value == pytest.approx(expected, abs=3e-4)


def test_debiasing_lowers_the_ece_and_never_below_zero(model: tuple[Floats, Ints]) -> None:
    found = panel(*model)
    assert 0 <= found["ece_debiased"].value < found["ece"].value
    assert 0 <= found["ece_debiased"].low <= found["ece_debiased"].value <= found["ece_debiased"].high


def test_a_resampled_bound_is_the_mean_over_the_seeds(model: tuple[Floats, Ints]) -> None:
    together = panel(*model)["macro_f1"]
    alone = [panel(*model, seeds=(seed,))["macro_f1"] for seed in SEEDS]
    assert together.low == pytest.approx(np.mean([metric.low for metric in alone]))
    assert together.high == pytest.approx(np.mean([metric.high for metric in alone]))
    assert len({metric.low for metric in alone}) == 3
    apart = [np.ptp([metric.low for metric in alone]), np.ptp([metric.high for metric in alone])]
    assert together.spread == pytest.approx(max(apart))
    assert alone[0].spread == panel(*model)["accuracy"].spread == 0


def test_the_same_seeds_give_the_same_panel(model: tuple[Floats, Ints]) -> None:
    assert panel(*model) == panel(*model)


def test_nearly_tied_logits_are_not_a_tie() -> None:
    """Their softmax rounds to equal values; the prediction is of the logits."""
    logits = [[0.0, 1e-17, 0.0, 0.0]]
    assert panel(logits, [1])["accuracy"].value == 1


def test_no_rare_rows_give_nan_and_n_zero() -> None:
    found = panel(certain(0, 1), [0, 1])["rare_class_accuracy"]
    assert found.n == 0
    assert all(map(math.isnan, (found.value, found.low, found.high)))


def test_no_rows_give_nan_throughout() -> None:
    found = panel(np.empty((0, 4)), np.empty(0, dtype=int))
    assert not [name for name in found if ":" in name]
    for metric in found.values():
        assert metric.n == 0
        assert all(map(math.isnan, (metric.value, metric.low, metric.high))), metric.name


def test_every_number_is_a_plain_python_number(model: tuple[Floats, Ints]) -> None:
    for metric in panel(*model).values():
        assert type(metric.n) is int
        assert {type(metric.value), type(metric.low), type(metric.high)} == {float}


@pytest.mark.parametrize(
    ("logits", "labels", "error", "message"),
    [
        (certain(0, 1), [0], LabelsError, r"shape is \(1,\), that of the logits is \(2, 4\)"),
        (certain(0, 1), [0, 4], LabelsError, "an integer in 0 … 3"),
        (certain(0, 1), [0, -1], LabelsError, "an integer in 0 … 3"),
        (certain(0, 1), [0, 0.5], LabelsError, "an integer in 0 … 3"),
        (np.ones((2, 3)), [0, 1], LabelsError, "4 names for 3 classes"),
        (np.full((1, 4), math.nan), [0], LogitsError, "row 0 is not finite"),
    ],
)
def test_unusable_rows_are_refused(
    logits: Floats, labels: ArrayLike, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        panel(logits, labels)


@pytest.mark.parametrize(
    "settings",
    [
        MetricsSection(rare_labels=("returns",)),
        MetricsSection(misroutes=(Misroute(true="returns"),)),
        MetricsSection(misroutes=(Misroute(true="faq", predicted="returns"),)),
    ],
)
def test_an_unknown_configured_label_is_refused(settings: MetricsSection) -> None:
    with pytest.raises(LabelsError, match=r"'returns'.* is not one of"):
        label_metrics(certain(0), [0], NAMES, settings)
