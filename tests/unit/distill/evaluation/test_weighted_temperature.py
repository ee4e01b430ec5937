"""The temperature of rows with weights, or with probabilities as labels."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from distill.evaluation.label_metrics import LabelsError
from distill.evaluation.temperature import calibrate, fit_temperature

Floats = NDArray[np.float64]


def rows(seed: int, n: int = 300, classes: int = 4) -> tuple[Floats, Floats, Floats]:
    """Logits, probabilities of another model and weights that differ 400-fold."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, classes))
    teacher = softmax(logits / 1.7 + rng.normal(size=(n, classes)), axis=1)
    return logits, teacher, np.exp(rng.uniform(-3, 3, n))


def cross_entropy(logits: Floats, targets: Floats, weights: Floats, temperature: float) -> float:
    log_p = log_softmax(logits / temperature, axis=1)
    return float(-(weights[:, None] * targets * log_p).sum() / weights.sum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("hard", [True, False], ids=["labels", "probabilities"])
def test_it_is_where_a_search_without_slopes_finds_the_least_cross_entropy(seed: int, *, hard: bool) -> None:
    logits, teacher, weights = rows(seed)
    labels = teacher.argmax(axis=1)
    targets = np.eye(4)[labels] if hard else teacher
    fit = calibrate(logits, labels if hard else teacher, weights)
    found = minimize_scalar(
        lambda u: cross_entropy(logits, targets, weights, math.exp(u)),
        bounds=(-3, 3),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert fit.temperature == pytest.approx(math.exp(found.x), rel=1e-6)
    assert fit.temperature != pytest.approx(fit_temperature(logits, targets), rel=1e-3)
    for name, temperature in (("before", 1.0), ("after", fit.temperature)):
        wanted = cross_entropy(logits, targets, weights, temperature)
        assert getattr(fit, f"nll_{name}") == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("right", "wrong"), [(3.0, 1.0), (7.0, 2.0), (0.6, 0.3)])
def test_two_rows_have_the_temperature_of_their_shares_in_closed_form(right: float, wrong: float) -> None:
    found = fit_temperature([[2.0, 0.0]] * 2, [0, 1], [right, wrong])
    assert found == pytest.approx(2 / math.log(right / wrong), rel=1e-9)


@pytest.mark.parametrize("p", [0.55, 0.75, 0.99])
def test_one_row_has_the_temperature_of_its_probabilities_in_closed_form(p: float) -> None:
    assert fit_temperature([[2.0, 0.0]], [[p, 1 - p]]) == pytest.approx(2 / math.log(p / (1 - p)), rel=1e-9)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_a_teacher_with_the_same_logits_at_t_is_found_exactly(temperature: float) -> None:
    logits, _, weights = rows(3)
    fit = calibrate(logits, softmax(logits / temperature, axis=1), weights)
    assert fit.temperature == pytest.approx(temperature, rel=1e-9)
    assert fit.ece_after == pytest.approx(0.0, abs=1e-12)


def test_a_whole_weight_is_that_many_equal_rows() -> None:
    logits, teacher, _ = rows(5, n=60)
    labels, times = teacher.argmax(axis=1), np.random.default_rng(5).integers(1, 6, 60)
    weighted = calibrate(logits, labels, times)
    repeated = calibrate(np.repeat(logits, times, axis=0), np.repeat(labels, times))
    assert weighted.temperature == pytest.approx(repeated.temperature, rel=1e-9)
    assert (weighted.n, repeated.n) == (60, times.sum())
    for name in ("nll_before", "nll_after", "ece_before", "ece_after"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name), rel=1e-9), name


def test_equal_weights_and_certain_probabilities_are_the_plain_fit() -> None:
    logits, teacher, _ = rows(7)
    labels = teacher.argmax(axis=1)
    plain = calibrate(logits, labels)
    for other in (calibrate(logits, labels, np.full(300, 0.1)), calibrate(logits, np.eye(4)[labels])):
        for name, value in vars(plain).items():
            assert getattr(other, name) == pytest.approx(value, rel=1e-9), name


def test_a_row_of_weight_zero_changes_nothing() -> None:
    logits, teacher, weights = rows(9)
    weights[:100] = 0
    left_out = fit_temperature(logits[100:], teacher[100:], weights[100:])
    assert fit_temperature(logits, teacher, weights) == pytest.approx(left_out, rel=1e-9)


@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        ([[0.5, 0.6]], None, "do not sum to 1"),
        ([[1.5, -0.5]], None, "negative"),
        ([[math.nan, 1.0]], None, "do not sum to 1"),
        ([[0.2, 0.3, 0.5]], None, "their shape"),
        ([0], [0.0], "the weights are not"),
        ([0], [-1.0], "the weights are not"),
        ([0], [math.inf], "the weights are not"),
        ([0], [1.0, 1.0], "the weights are not"),
    ],
)
def test_what_cannot_be_used_is_refused(labels: Any, weights: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(LabelsError, match=message):
        calibrate([[1.0, 0.0]], labels, weights)
