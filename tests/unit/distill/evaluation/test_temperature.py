"""The temperature with the least NLL, against searches that know no slopes, and cases in closed form."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp

from distill.evaluation.label_metrics import LabelsError, label_metrics
from distill.evaluation.temperature import HIGHEST, LOWEST, calibrate, calibrated_logits, fit_temperature
from distill.training.dataset import text_hash
from monitor.divergence import LogitsError
from monitor.settings import MetricsSection

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def nll(logits: NDArray[np.floating], labels: Ints, temperature: float) -> float:
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels]).mean())


def rows_of(shares: Sequence[int]) -> tuple[Floats, Ints]:
    """Rows whose logits are the logarithms of the shares that each class has of the labels."""
    labels = np.repeat(np.arange(len(shares)), shares)
    return np.tile(np.log(np.array(shares) / sum(shares)), (labels.size, 1)), labels


def model_of(seed: int, *, n: int = 2_000, scale: float = 1.0) -> tuple[Floats, Ints]:
    """A model that is as sure as it is right, with its logits times `scale`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 5)) * 1.7
    p = np.exp(logits - logsumexp(logits, axis=1, keepdims=True))
    labels = (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(0, 4)
    return logits * scale, labels


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0, 1.3, 4.0, 15.0])
@pytest.mark.parametrize("shares", [(3, 1), (5, 3, 2), (40, 30, 20, 7, 2, 1)])
def test_logits_that_are_scaled_by_a_factor_have_that_temperature(
    shares: Sequence[int], scale: float
) -> None:
    logits, labels = rows_of(shares)
    assert fit_temperature(logits * scale, labels) == pytest.approx(scale, rel=1e-9)


@pytest.mark.parametrize(("height", "right", "n"), [(2.0, 3, 4), (0.7, 9, 10), (9.0, 51, 100)])
def test_of_two_classes_it_is_the_logit_over_the_log_odds(height: float, right: int, n: int) -> None:
    """One height of all logits, `right` of n rows right: sigmoid(height / T) = right / n."""
    labels = [0] * right + [1] * (n - right)
    wanted = height / math.log(right / (n - right))
    found = fit_temperature([[height, 0.0]] * n, labels)
    assert found == pytest.approx(min(wanted, HIGHEST), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_it_is_where_searches_without_slopes_find_the_least_nll(seed: int, scale: float) -> None:
    logits, labels = model_of(seed, n=500, scale=scale)
    found = fit_temperature(logits, labels)
    assert found == pytest.approx(scale, rel=0.3)
    grid = np.geomspace(LOWEST, HIGHEST, 401)
    by_grid = min(nll(logits, labels, each) for each in grid)
    by_brent = minimize_scalar(
        lambda u: nll(logits, labels, math.exp(u)), bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}
    )
    by_simplex = minimize(  # type: ignore[call-overload]
        lambda x: nll(logits, labels, float(np.exp(x[0]))), [0.0], method="Nelder-Mead", tol=1e-10
    )
    assert nll(logits, labels, found) <= by_grid
    assert found == pytest.approx(math.exp(by_brent.x), rel=1e-6)
    assert found == pytest.approx(math.exp(by_simplex.x[0]), rel=1e-6)


@pytest.mark.parametrize(
    ("logits", "labels", "wanted"),
    [
        ([[2.0, 1.0], [0.0, 3.0]], [0, 1], LOWEST),
        ([[2.0, 1.0]], [0], LOWEST),
        ([[2.0, 1.0]], [1], HIGHEST),
        ([[2.0, 1.0, 1.5]] * 2, [1, 2], HIGHEST),
        ([[3.0, 3.0], [-1.0, -1.0]], [0, 1], 1.0),
        ([[4.0]], [0], 1.0),
        ([[1e6, -1e6], [1e6, -1e6]], [0, 0], 1.0),
    ],
    ids=[
        "all right",
        "one row, right",
        "one row, wrong",
        "labels below the average",
        "nothing to divide",
        "one class",
        "so sure that no T shows",
    ],
)
def test_where_there_is_no_least_nll_it_is_a_bound_or_1(
    logits: list[list[float]], labels: list[int], wanted: float
) -> None:
    fit = calibrate(logits, labels)
    assert fit.temperature == wanted
    assert all(math.isfinite(each) for each in vars(fit).values())


@pytest.mark.parametrize(
    ("logits", "labels", "error", "message"),
    [
        (np.empty((0, 3)), [], LabelsError, "there are none"),
        ([[math.nan, 0.0]], [0], LogitsError, "row 0 is not finite"),
        ([[math.inf, 0.0]], [0], LogitsError, "row 0 is not finite"),
        ([[1.0, 0.0]], [math.nan], LabelsError, "not an integer"),
        ([[1.0, 0.0]], [2], LabelsError, "not an integer"),
        ([[1.0, 0.0]], [0, 1], LabelsError, "their shape"),
        ([1.0, 0.0], [0], LogitsError, "their shape"),
    ],
)
def test_what_cannot_be_used_is_refused(
    logits: Any,  # noqa: ANN401 - whatever numpy takes
    labels: list[float],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        calibrate(logits, labels)


@st.composite
def rows(draw: st.DrawFn) -> tuple[NDArray[np.float32], Ints]:
    """As a model gives them: float32, of any size that one has."""
    n, classes = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    values = st.floats(-50, 50, width=32)
    logits = draw(arrays(np.float32, (n, classes), elements=values))
    labels = draw(arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    return logits, labels


@given(rows())
def test_no_temperature_in_reach_is_better(drawn: tuple[NDArray[np.float32], Ints]) -> None:
    logits, labels = drawn
    fit = calibrate(logits, labels)
    assert LOWEST <= fit.temperature <= HIGHEST
    best = min(nll(logits, labels, each) for each in (1.0, *np.geomspace(LOWEST, HIGHEST, 25)))
    assert fit.nll_after <= best + 1e-9 * max(1.0, best)
    assert fit.nll_after <= fit.nll_before + 1e-12 * max(1.0, fit.nll_before)


@given(rows())
def test_no_prediction_changes(drawn: tuple[NDArray[np.float32], Ints]) -> None:
    logits, labels = drawn
    scaled = logits.astype(np.float64) / fit_temperature(logits, labels)
    assert (scaled.argmax(axis=1) == logits.argmax(axis=1)).all()


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_scaled_logits_have_a_scaled_temperature(seed: int, factor: float) -> None:
    """As far as the bounds."""
    logits, labels = model_of(seed, n=60)
    wanted = np.clip(fit_temperature(logits, labels) * factor, LOWEST, HIGHEST)
    assert fit_temperature(logits * factor, labels) == pytest.approx(wanted, rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.floats(-9, 9))
def test_neither_order_nor_a_constant_nor_the_classes_names_matter(seed: int, constant: float) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = model_of(seed, n=60)
    order, names = rng.permutation(60), rng.permutation(5)
    renamed = np.argsort(names)[labels[order]]
    found = fit_temperature(logits[order][:, names] + constant, renamed)
    assert found == pytest.approx(fit_temperature(logits, labels), rel=1e-9)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_model_that_is_too_sure_or_not_sure_enough_is_mended(scale: float) -> None:
    logits, labels = model_of(7, n=5_500, scale=scale)
    fit = calibrate(logits, labels)
    assert fit.n == 5_500
    assert fit.nll_after < fit.nll_before - 0.01
    assert fit.ece_before > 0.1
    assert fit.ece_after < 0.03
    assert fit.ece_debiased_after < fit.ece_after


def test_the_numbers_are_those_of_an_evaluation() -> None:
    """Of the logits as they are, and of the logits divided by T."""
    logits, labels = model_of(11, scale=1.8)
    fit = calibrate(logits, labels)
    for when, divisor in (("before", 1.0), ("after", fit.temperature)):
        panel = label_metrics(logits / divisor, labels, [*"abcde"], MetricsSection(resamples=100))
        metrics = {metric.name: metric.value for metric in panel}
        for name in ("nll", "ece", "ece_debiased"):
            assert getattr(fit, f"{name}_{when}") == pytest.approx(metrics[name], abs=1e-12), (name, when)


def texts_of(n: int) -> list[str]:
    return [f"request {number}" for number in range(n)]


def half_of(texts: list[str]) -> NDArray[np.bool_]:
    return np.array([text_hash(text)[-1] % 2 == 1 for text in texts])


def test_logits_are_divided_by_a_temperature_that_is_given() -> None:
    logits, labels = model_of(3, n=40)
    assert (calibrated_logits(logits, labels, texts_of(40), 2.5) == logits / 2.5).all()


def test_without_one_each_half_is_divided_by_the_temperature_of_the_other() -> None:
    logits, labels = model_of(3, n=200, scale=2.0)
    texts = texts_of(200)
    found, half = calibrated_logits(logits, labels, texts, None), half_of(texts)
    assert 60 < half.sum() < 140
    for one in (half, ~half):
        assert found[one] == pytest.approx(logits[one] / fit_temperature(logits[~one], labels[~one]))


def test_no_row_is_judged_by_a_temperature_that_its_own_label_changes() -> None:
    """Equal texts are in one half, so neither is one that is there twice."""
    logits, labels = model_of(3, n=100)
    texts = texts_of(50) * 2
    found = calibrated_logits(logits, labels, texts, None)
    for row in (0, 1):
        changed = labels.copy()
        changed[[row, row + 50]] = (labels[[row, row + 50]] + 1) % 5
        again = calibrated_logits(logits, changed, texts, None)
        own = half_of(texts) == half_of(texts)[row]
        assert (again[own] == found[own]).all()
        assert (again[~own] != found[~own]).any()


@pytest.mark.parametrize("texts", [[], ["one"], ["one"] * 7], ids=["none", "one", "one text"])
def test_rows_that_cannot_be_split_stay_at_t_1(texts: list[str]) -> None:
    logits, labels = model_of(3, n=7)
    n = len(texts)
    assert (calibrated_logits(logits[:n], labels[:n], texts, None) == logits[:n]).all()


def test_a_model_that_is_only_too_sure_has_a_low_calibrated_ece() -> None:
    """The design's student: 0.078 before and 0.046 after, by about T = 1.4."""
    logits, labels = model_of(7, n=5_500, scale=1.4)
    calibrated = calibrated_logits(logits, labels, texts_of(5_500), None)
    panel = label_metrics(logits, labels, [*"abcde"], MetricsSection(resamples=100), calibrated=calibrated)
    found = {metric.name: metric for metric in panel}
    assert found["ece"].value > 0.05
    assert found["ece_calibrated"].value < 0.03
    assert found["ece_calibrated_debiased"].value < found["ece_calibrated"].value
    assert found["ece_calibrated"].low <= found["ece_calibrated"].high
