"""How well two samples of texts can be told apart, against classifiers that are fitted one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitor.reference.input_drift import NoTextsError, _gram, _shuffled, two_sample_test

Floats = NDArray[np.float64]

texts = st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=2, max_size=12)


def rng() -> np.random.Generator:
    return np.random.default_rng(2025)


def make_texts(n: int, *, words: int, seed: int) -> list[list[int]]:
    return np.random.default_rng(seed).integers(0, words, size=(n, 6)).tolist()


def vectors(tokens: list[list[int]]) -> Floats:
    """(texts, words), one by one: 1 where the word is, divided by the length, less the mean."""
    rows = np.zeros((len(tokens), 100))
    for number, each in enumerate(tokens):
        for token in each:
            rows[number, token] = 1 / np.sqrt(len(set(each)))
    return rows - rows.mean(axis=0)


def accuracy_by_refitting(features: Floats, is_now: NDArray[np.bool_]) -> float:
    """Ridge regression without each text and its equals in turn, and with the penalty of all."""
    penalty = np.square(features).sum() / len(features)
    sides = np.where(is_now, 1 / is_now.sum(), -1 / (~is_now).sum())
    right = []
    for left_out in range(len(features)):
        kept = abs(features - features[left_out]).max(axis=1) > 0
        x, y = features[kept], sides[kept]
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
        score = features[left_out] @ weights
        right.append(0.5 if abs(score) < 1e-12 else float((score > 0) == is_now[left_out]))
    by_side = np.array(right)
    return float(by_side[is_now].mean() + by_side[~is_now].mean()) / 2


@pytest.mark.parametrize(("n_then", "n_now", "words"), [(30, 30, 10), (25, 40, 8), (40, 21, 60)])
def test_the_accuracy_is_that_of_classifiers_that_are_fitted_without_each_text(
    n_then: int, n_now: int, words: int
) -> None:
    then, now = make_texts(n_then, words=words, seed=1), make_texts(n_now, words=words + 3, seed=2)
    expected = accuracy_by_refitting(vectors([*then, *now]), np.arange(n_then + n_now) >= n_then)
    assert two_sample_test(then, now, rng=rng(), permutations=1).accuracy == pytest.approx(
        expected, abs=1e-12
    )


def test_a_text_that_both_have_says_nothing_of_how_they_differ() -> None:
    """Its twin on the other side would have it taken for one of those: here all are on both sides."""
    both = make_texts(40, words=200, seed=9)
    assert two_sample_test(both, both, rng=rng()).accuracy == pytest.approx(0.5, abs=0.2)
    one_side_more = two_sample_test([*both, *both], both, rng=rng())
    assert one_side_more.accuracy == pytest.approx(0.5, abs=0.2)


def test_the_p_value_counts_the_orders_that_are_told_apart_as_well() -> None:
    then, now = make_texts(24, words=9, seed=3), make_texts(24, words=12, seed=4)
    features, is_now = vectors([*then, *now]), np.arange(48) >= 24
    (orders,) = _shuffled(is_now, rng(), 40)
    found = accuracy_by_refitting(features, is_now)
    as_good = sum(accuracy_by_refitting(features, order) >= found - 1e-12 for order in orders.T)
    assert two_sample_test(then, now, rng=rng(), permutations=40).p_value == (1 + as_good) / 41


def test_an_order_keeps_the_sizes_of_both_sides_however_many_are_asked_for() -> None:
    is_now = np.arange(30) >= 10
    orders = np.concatenate(list(_shuffled(is_now, rng(), 601)), axis=1)
    assert orders.shape == (30, 601)
    assert (orders.sum(axis=0) == 20).all()
    assert len({order.tobytes() for order in orders.T}) == 601


def test_products_are_those_of_the_centred_vectors() -> None:
    tokens = [*make_texts(20, words=30, seed=5), [], [7, 7, 7]]
    np.testing.assert_allclose(_gram(tokens), vectors(tokens) @ vectors(tokens).T, atol=1e-12)


def test_texts_without_a_common_word_are_told_apart_always() -> None:
    then, now = (
        make_texts(60, words=9, seed=6),
        [[9 + word for word in text] for text in make_texts(50, words=9, seed=7)],
    )
    found = two_sample_test(then, now, rng=rng())
    assert (found.accuracy, found.p_value) == (1.0, 1 / 1_001)


@pytest.mark.parametrize("text", [[3, 4], []], ids=["words", "no word"])
def test_texts_that_are_all_alike_are_never_told_apart(text: list[int]) -> None:
    found = two_sample_test([text] * 30, [text] * 40, rng=rng())
    assert (found.accuracy, found.p_value) == (0.5, 1.0)


@pytest.mark.parametrize(("then", "now"), [([], [[1]]), ([[1]], [])])
def test_no_texts_cannot_be_compared(then: list[list[int]], now: list[list[int]]) -> None:
    with pytest.raises(NoTextsError, match="is empty"):
        two_sample_test(then, now, rng=rng())


@settings(deadline=None)
@given(then=texts, now=texts)
def test_neither_the_sides_nor_the_order_nor_repeated_words_matter(
    then: list[list[int]], now: list[list[int]]
) -> None:
    found = two_sample_test(then, now, rng=rng(), permutations=9)
    twin = two_sample_test([each + each for each in now[::-1]], then[::-1], rng=rng(), permutations=9)
    assert 0 <= found.accuracy <= 1
    assert 0 < found.p_value <= 1
    assert twin.accuracy == found.accuracy
