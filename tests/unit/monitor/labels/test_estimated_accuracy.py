"""The student's accuracy on traffic: without labels, and with few."""

import math
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax

from db.records import AccuracyEstimates
from monitor.labels.estimated_accuracy import MIN_LABELS, estimate, expected_accuracy, prediction_powered
from monitor.strata import Strata
from triggers.wilson import score_interval

Floats = NDArray[np.float64]

#: What ppi_py 0.2.3 gives for `drawn(n, m)`: ppi_mean_pointestimate, and the standard error of ppi_mean_ci.
PPI_PY: Final = {
    (100, 900): (0.926363, 0.025361),
    (200, 1_300): (0.928757, 0.017224),
    (1_000, 9_000): (0.944711, 0.007033),
}


def drawn(n: int, m: int, *, seed: int = 3) -> tuple[Floats, Floats, Floats]:
    """Labels with their expectation, and the expectation of the other requests."""
    rng = np.random.default_rng(seed)
    expected = rng.beta(8, 0.6, n + m)
    right = (rng.random(n + m) < expected).astype(np.float64)
    return right[:n], expected[:n], expected[n:]


def logits_for(expected: Floats) -> Floats:
    """Logits over two labels with that probability of the first at T = 1."""
    return np.column_stack([np.log(expected), np.log1p(-expected)])


# --- without labels ----------------------------------------------------------------------------------------


def test_the_expectation_is_the_teacher_s_probability_of_the_student_s_label() -> None:
    rng = np.random.default_rng(1)
    logits, student = rng.normal(size=(50, 4)) * 3, rng.integers(0, 4, 50)
    wanted = [softmax(row / 1.7)[label] for row, label in zip(logits, student, strict=True)]
    assert expected_accuracy(logits, student, 1.7) == pytest.approx(np.array(wanted), abs=1e-14)


def test_each_request_counts_for_what_it_represents_and_each_text_once() -> None:
    """The interval counts three texts by their weights, and the 400 rows of the calibration."""
    expected = np.array([0.9, 0.9, 0.8, 0.6, 0.6])
    strata = Strata(sizes=(800, 200), of=np.array([0, 0, 0, 1, 1]), clusters=np.array([0, 0, 1, 2, 2]))
    found = estimate(
        logits_for(expected), [[1.0, 0.0]] * 5, strata, temperature=1.0, calibration_rows=400, truth={}
    )
    assert found.by_confidence is not None
    assert found.by_confidence.estimate == pytest.approx(0.8 * (0.9 + 0.9 + 0.8) / 3 + 0.2 * 0.6)
    texts = np.array([2 * 0.8 / 3, 0.8 / 3, 0.2])
    wanted = score_interval(found.by_confidence.estimate, 1 / (np.square(texts).sum() + 1 / 400))
    assert astuple(found.by_confidence) == pytest.approx(astuple(wanted))


def test_without_a_calibration_there_is_no_estimate_by_confidence() -> None:
    right, expected, others = drawn(150, 850)
    found = estimate_of(right, expected, others, temperature=None)
    assert (found.by_confidence, found.rectifier, found.contradicted) == (None, None, None)
    assert found.n_labels == 150
    assert found.by_labels is not None


def test_without_requests_there_is_nothing() -> None:
    none = np.empty((0, 3))
    found = estimate(none, none, Strata.one(0), temperature=1.4, calibration_rows=400, truth={})
    assert found == AccuracyEstimates(
        teacher_temperature=1.4,
        by_confidence=None,
        n_labels=0,
        by_labels=None,
        rectifier=None,
        contradicted=None,
    )


def test_a_certain_teacher_gives_an_interval_all_the_same() -> None:
    logits = np.array([[900.0, 0.0]] * 200)
    found = estimate(logits, logits, Strata.one(200), temperature=1.0, calibration_rows=400, truth={})
    assert found.by_confidence == score_interval(1.0, 400 / 3)


# --- with labels -------------------------------------------------------------------------------------------


def estimate_of(
    right: Floats,
    expected: Floats,
    others: Floats,
    *,
    temperature: float | None = 1.0,
    **options: Any,  # noqa: ANN401 - of `estimate`
) -> AccuracyEstimates:
    """The labelled requests first; the teacher and the student agree where the expectation is above 1/2."""
    every = np.concatenate([expected, others]).clip(1e-9, 1 - 1e-9)
    truth = {row: 0 if each else 1 for row, each in enumerate(right)}
    first = np.array([[1.0, 0.0]] * len(every))
    return estimate(
        logits_for(every),
        first,
        Strata.one(len(every)),
        temperature=temperature,
        calibration_rows=400,
        truth=truth,
        **options,
    )


@pytest.mark.parametrize(("n", "m"), PPI_PY)
def test_the_estimate_is_that_of_the_authors_package(n: int, m: int) -> None:
    """And with many labels the interval, too; with few it allows for errors that no label shows."""
    found = prediction_powered(*drawn(n, m))
    wanted, error = PPI_PY[n, m]
    assert found.estimate == pytest.approx(wanted, abs=1e-5)
    assert (found.high - found.low) / (2 * 1.959964 * error) == pytest.approx(1, abs=6 / n + 0.005)


def test_weights_are_as_many_equal_requests() -> None:
    right, expected, others = drawn(200, 800)
    n, m = 1 + (np.arange(200) % 3 == 0), 1 + (np.arange(800) % 4 == 0)
    whole = prediction_powered(np.repeat(right, n), np.repeat(expected, n), np.repeat(others, m))
    found = prediction_powered(
        right, expected, others, weights=n.astype(np.float64), unlabelled_weights=m.astype(np.float64)
    )
    assert found.estimate == pytest.approx(whole.estimate, abs=2e-4)


def test_if_every_request_is_labelled_it_is_their_accuracy() -> None:
    right, expected, _ = drawn(400, 0)
    found, wilson = prediction_powered(right, expected, np.empty(0)), score_interval(right.mean(), 400)
    assert found.estimate == right.mean()
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=2e-3)


def test_an_expectation_that_says_nothing_is_not_used() -> None:
    right = drawn(300, 0)[0]
    found = prediction_powered(right, np.full(300, 0.3), np.full(700, 0.3))
    assert found.estimate == pytest.approx(right.mean())


def test_without_labels_it_is_nan() -> None:
    found = prediction_powered(np.empty(0), np.empty(0), np.array([0.5]))
    assert all(math.isnan(each) for each in (found.estimate, found.low, found.high))


shares = st.floats(0, 1, allow_subnormal=False)


@given(
    st.lists(st.tuples(st.booleans(), shares, st.floats(0.01, 50)), min_size=1, max_size=40),
    st.lists(st.tuples(shares, st.floats(0.01, 50)), max_size=40),
)
def test_all_numbers_are_shares_in_order(
    labelled: list[tuple[bool, float, float]], others: list[tuple[float, float]]
) -> None:
    right, expected, weights = (np.array(each, dtype=np.float64) for each in zip(*labelled, strict=True))
    rest = np.array(others, dtype=np.float64).reshape(-1, 2)
    found = prediction_powered(right, expected, rest[:, 0], weights=weights, unlabelled_weights=rest[:, 1])
    assert 0 <= found.low <= found.estimate + 1e-12 <= found.high + 2e-12 <= 1 + 3e-12
    assert found.low < found.high


def population(kind: str, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """What the teacher expects of 100,000 requests, and which the student gets right."""
    expected = rng.beta(40 if kind == "nearly all right" else 8, 0.4, 100_000)
    truth = expected
    if kind == "too sure":
        truth = np.where(rng.random(expected.size) < 0.4, expected - 0.3, expected)
    elif kind == "upside down":
        truth = 1 - 0.3 * expected
    return expected, (rng.random(expected.size) < truth).astype(np.float64)


@pytest.mark.parametrize("kind", ["calibrated", "nearly all right", "too sure", "upside down"])
@pytest.mark.parametrize("n", [MIN_LABELS, 200])
def test_the_interval_covers_the_accuracy_whatever_the_teacher_is_worth(kind: str, n: int) -> None:
    """And is unbiased: by less than 3 standard errors of the mean."""
    rng = np.random.default_rng(7)
    expected, right = population(kind, rng)
    found = []
    for _ in range(600):
        rows = rng.integers(0, right.size, 1_500)
        labelled, others = rows[:n], rows[n:]
        found.append(prediction_powered(right[labelled], expected[labelled], expected[others]))
    estimates = np.array([each.estimate for each in found])
    assert np.mean([each.low <= right.mean() <= each.high for each in found]) >= 0.93
    assert abs(estimates.mean() - right.mean()) < 3 * estimates.std() / math.sqrt(600)


def test_labels_narrow_the_interval_where_the_teacher_knows_better() -> None:
    rng = np.random.default_rng(5)
    expected = np.where(rng.random(4_000) < 0.8, 0.99, 0.3)
    right = (rng.random(4_000) < expected).astype(np.float64)
    found = prediction_powered(right[:200], expected[:200], expected[200:])
    alone = score_interval(right[:200].mean(), 200)
    assert found.high - found.low < 0.75 * (alone.high - alone.low)


# --- do labels contradict the teacher, and are they random? ------------------------------------------------


def test_fewer_than_a_hundred_labels_correct_nothing_but_can_contradict() -> None:
    expected, others = np.full(MIN_LABELS - 1, 0.95), np.full(900, 0.95)
    right = np.arange(MIN_LABELS - 1) % 20 != 0
    fits = estimate_of(right.astype(np.float64), expected, others)
    assert (fits.n_labels, fits.by_labels, fits.contradicted) == (99, None, None)
    wrong = estimate_of((np.arange(99) % 4 != 0).astype(np.float64), expected, others)
    assert (wrong.by_labels, wrong.contradicted) == (None, True)
    assert wrong.rectifier == pytest.approx(74 / 99 - 0.95)
    assert wrong.by_confidence is not None
    one_more = estimate_of(np.append(right, 1.0), np.append(expected, 0.95), others)
    assert one_more.by_labels is not None
    assert one_more.contradicted is False


def test_a_difference_within_the_tolerance_is_no_contradiction() -> None:
    """However certain it is."""
    right = (np.arange(20_000) % 100 < 94).astype(np.float64)
    for expected, contradicts in ((0.953, False), (0.957, True)):
        found = estimate_of(right, np.full(20_000, expected), np.empty(0))
        assert found.contradicted is contradicts


def test_a_calibrated_teacher_is_seldom_contradicted_and_one_that_is_far_off_always() -> None:
    rng = np.random.default_rng(11)
    found = {True: 0, False: 0}
    for is_calibrated in found:
        for _ in range(300):
            expected = rng.beta(8, 0.4, 1_000)
            right = (rng.random(1_000) < (expected if is_calibrated else expected - 0.15)).astype(np.float64)
            estimates = estimate_of(right[:200], expected[:200], expected[200:])
            found[is_calibrated] += bool(estimates.contradicted)
    assert found[True] / 300 <= 0.05
    assert found[False] / 300 >= 0.97


def disagreeing(rows: Mapping[int, int], n: int = 1_000, n_agree: int = 950) -> AccuracyEstimates:
    """The models agree on the first of n requests; the labelled ones are given with their label."""
    teacher = np.array([[3.0, 0.0]] * n)
    student = np.where(np.arange(n)[:, None] < n_agree, teacher, teacher[:, ::-1])
    return estimate(teacher, student, Strata.one(n), temperature=1.0, calibration_rows=400, truth=rows)


def test_labels_of_disagreements_alone_do_not_count() -> None:
    found = disagreeing(dict.fromkeys(range(940, 1_000), 0))
    assert (found.n_labels, found.by_labels, found.rectifier, found.contradicted) == (0, None, None, None)
    of_both = disagreeing(dict.fromkeys([*range(800), *range(960, 1_000)], 0))
    assert of_both.n_labels == 840


def test_random_labels_are_hardly_ever_taken_for_a_selection() -> None:
    rng = np.random.default_rng(13)
    found = [
        disagreeing(dict.fromkeys(rng.choice(1_000, 200, replace=False).tolist(), 0)) for _ in range(400)
    ]
    assert sum(each.n_labels == 0 for each in found) <= 1


def test_labels_that_are_said_to_be_selected_do_not_count() -> None:
    right, expected, others = drawn(200, 800)
    found = estimate_of(right, expected, others, labels_are_random=False)
    assert (found.n_labels, found.by_labels, found.contradicted) == (0, None, None)
    assert found.by_confidence is not None


def test_a_label_that_the_models_do_not_have_is_an_error_of_the_student() -> None:
    logits = np.array([[3.0, 0.0]] * 150)
    found = estimate(
        logits,
        logits,
        Strata.one(150),
        temperature=1.0,
        calibration_rows=400,
        truth=dict.fromkeys(range(150), -1),
    )
    assert found.by_labels is not None
    assert found.by_labels.estimate == 0
