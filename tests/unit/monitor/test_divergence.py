"""KL, Jensen-Shannon and top-1 agreement of two models' logits."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy

from monitor.divergence import (
    LogitsError,
    TemperatureError,
    js_divergence,
    kl_divergence,
    log_softmax,
    top1_agreement,
)

Logits = NDArray[np.float64]

TEMPERATURES = st.floats(0.1, 50)


def logits_of(bound: float, rows: int = 3, classes: int = 4) -> st.SearchStrategy[Logits]:
    return arrays(np.float64, (rows, classes), elements=st.floats(-bound, bound))


@pytest.fixture
def pair() -> tuple[Logits, Logits]:
    rng = np.random.default_rng(2025)
    return rng.normal(scale=3, size=(200, 10)), rng.normal(scale=3, size=(200, 10))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 20.0])
def test_kl_is_the_relative_entropy_of_the_teacher_to_the_student(
    pair: tuple[Logits, Logits], temperature: float
) -> None:
    """It agrees with scipy's entropy of the two softmaxes, teacher first, in nats."""
    teacher, student = pair
    p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
    np.testing.assert_allclose(
        kl_divergence(teacher, student, temperature), entropy(p, q, axis=1), rtol=1e-10
    )


def test_kl_of_two_labels_is_the_hand_computed_sum() -> None:
    """Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2, summed and not averaged."""
    teacher, student = [[math.log(3), 0.0]], [[0.0, 0.0]]
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert kl_divergence(teacher, student, 1.0) == pytest.approx([expected], rel=1e-12)


def test_kl_has_no_temperature_factor(pair: tuple[Logits, Logits]) -> None:
    """Dividing the logits by T beforehand and measuring at T = 1 is the same."""
    teacher, student = pair
    np.testing.assert_allclose(
        kl_divergence(teacher, student, 4.0), kl_divergence(teacher / 4, student / 4, 1.0)
    )


def test_the_default_temperature_is_three(pair: tuple[Logits, Logits]) -> None:
    """The design's T, for KL and JS alike."""
    for divergence in (kl_divergence, js_divergence):
        np.testing.assert_array_equal(divergence(*pair), divergence(*pair, 3.0))


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_js_is_scipys_distance_squared(pair: tuple[Logits, Logits], temperature: float) -> None:
    """scipy gives its square root."""
    teacher, student = pair
    p, q = softmax(teacher / temperature, axis=1), softmax(student / temperature, axis=1)
    np.testing.assert_allclose(
        js_divergence(teacher, student, temperature), jensenshannon(p, q, axis=1) ** 2, rtol=1e-8
    )


@given(logits_of(1e4), logits_of(1e4), TEMPERATURES)
def test_divergences_stay_in_their_range(teacher: Logits, student: Logits, temperature: float) -> None:
    """KL is finite and >= 0, JS within [0, ln 2] and symmetric, up to logits of 10,000."""
    kl = kl_divergence(teacher, student, temperature)
    js = js_divergence(teacher, student, temperature)
    assert np.isfinite(kl).all()
    assert (kl >= 0).all()
    assert ((js >= 0) & (js <= math.log(2))).all()
    mirrored = js_divergence(student, teacher, temperature)
    np.testing.assert_allclose(js, mirrored, rtol=1e-9, atol=1e-15)


@given(logits_of(1e4), st.floats(-1e4, 1e4), TEMPERATURES)
def test_divergences_vanish_for_logits_equal_up_to_a_constant(
    logits: Logits, constant: float, temperature: float
) -> None:
    """A softmax does not see a constant, so neither does a divergence."""
    for divergence in (kl_divergence, js_divergence):
        assert divergence(logits, logits + constant, temperature).max() <= 1e-12


@given(logits_of(np.finfo(np.float64).max), logits_of(np.finfo(np.float64).max))
def test_any_finite_logits_give_finite_divergences(teacher: Logits, student: Logits) -> None:
    """Even where float64 overflows on the way."""
    for divergence in (kl_divergence, js_divergence):
        assert np.isfinite(divergence(teacher, student, 1e-3)).all()


def test_a_confident_wrong_student_has_the_exact_large_kl() -> None:
    """10,000 against -10,000 on two labels: the log-ratio, 20,000 nats; JS is ln 2."""
    teacher, student = [[1e4, 0.0]], [[-1e4, 1e4]]
    assert kl_divergence(teacher, student, 1.0) == pytest.approx([2e4])
    assert js_divergence(teacher, student, 1.0) == pytest.approx([math.log(2)])


def test_float32_logits_are_measured_in_float64() -> None:
    """Single precision costs nothing beyond the rounding of the logits themselves."""
    rng = np.random.default_rng(2025)
    teacher, student = rng.normal(size=(2, 50, 10)).astype(np.float32)
    kl = kl_divergence(teacher, student)
    assert kl.dtype == np.float64
    np.testing.assert_array_equal(kl, kl_divergence(teacher.astype(np.float64), student.astype(np.float64)))


def test_log_softmax_keeps_what_a_log_of_softmax_loses() -> None:
    """The logarithm of an underflowed probability would be -inf."""
    assert log_softmax([[0.0, -2000.0]]).tolist() == [[0.0, -2000.0]]


@pytest.mark.parametrize(
    ("teacher", "student", "agrees", "why"),
    [
        ([1.0, 0.0], [9.0, 8.0], True, "the same label is first"),
        ([1.0, 0.0], [0.0, 1.0], False, "another label is first"),
        ([1.0, 1.0], [1.0, 0.0], True, "of a tie the lowest index counts"),
        ([1.0, 1.0], [0.0, 1.0], False, "a tie is broken, not matched with either"),
        ([0.0, 5e-324], [0.0, 1.0], True, "the smallest difference decides"),
    ],
)
def test_top1_agreement(teacher: list[float], student: list[float], *, agrees: bool, why: str) -> None:
    assert top1_agreement([teacher], [student]).tolist() == [agrees], why


def test_no_requests_give_empty_results() -> None:
    """n = 0 is not an error."""
    none = np.empty((0, 10))
    assert kl_divergence(none, none).shape == (0,)
    assert js_divergence(none, none).shape == (0,)
    assert top1_agreement(none, none).shape == (0,)
    assert top1_agreement(none, none).dtype == np.bool_


@pytest.mark.parametrize("measure", [kl_divergence, js_divergence, top1_agreement])
@pytest.mark.parametrize(
    ("teacher", "student", "message"),
    [
        ([[1.0, 2.0]], [[1.0, math.nan]], "student's logits cannot be used: row 0 is not finite"),
        ([[0.0, 1.0], [math.inf, 2.0]], [[1.0, 0.0]] * 2, "teacher's .* row 1 is not finite"),
        ([[1.0, 2.0]], [[1.0, 2.0, 3.0]], r"\(1, 3\), the teacher's is \(1, 2\)"),
        ([[1.0, 2.0]], [[1.0, 2.0]] * 2, r"\(2, 2\), the teacher's is \(1, 2\)"),
        ([1.0, 2.0], [1.0, 2.0], r"shape is \(2,\)"),
        (np.empty((0, 0)), np.empty((0, 0)), r"shape is \(0, 0\)"),
    ],
)
def test_unusable_logits_are_refused_by_name(
    measure: Callable[..., object], teacher: Logits, student: Logits, message: str
) -> None:
    with pytest.raises(LogitsError, match=message):
        measure(teacher, student)


@pytest.mark.parametrize("divergence", [kl_divergence, js_divergence])
@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_must_be_positive_and_finite(
    divergence: Callable[..., object], temperature: float
) -> None:
    with pytest.raises(TemperatureError, match="above 0"):
        divergence([[1.0, 2.0]], [[1.0, 2.0]], temperature)
