"""The ranking of slices: by hand, planted ones first, and nothing where nothing is."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.records import Slice
from monitor.slices.families import Family, by_confusion, by_label, by_length, by_word
from monitor.slices.ranking import MOST, rank
from monitor.slices.texts import Texts, distinct_texts

LABELS = tuple(f"label{index}" for index in range(8))
WORDS = np.array([f"word{index}" for index in range(400)])
POPULARITY = 1 / np.arange(1, 401) / (1 / np.arange(1, 401)).sum()


def families(now: Texts) -> Sequence[Family]:
    return [by_label(now, LABELS), *by_confusion(now, LABELS), by_length(now)]


def traffic(
    rng: np.random.Generator, n: int, *, rate: float = 0.03, new: float = 0.0, weights: Sequence[float] = ()
) -> Texts:
    """Requests that disagree by chance; a share of them, `new`, are of one topic and mostly disagree."""
    is_new = rng.random(n) < new
    teacher = np.where(is_new, 3, rng.integers(0, len(LABELS), n))
    disagrees = rng.random(n) < np.where(is_new, 0.7, rate)
    other = (teacher + rng.integers(1, len(LABELS), n)) % len(LABELS)
    student = np.where(disagrees, np.where(is_new, 5, other), teacher)
    drawn = rng.choice(WORDS, size=(n, 6), p=POPULARITY)
    texts = [
        " ".join([*row, *(("oil", "change") if topic else ())])
        for row, topic in zip(drawn, is_new, strict=True)
    ]
    return distinct_texts(texts, teacher, student, np.array(weights) if weights else np.ones(n))


def test_the_numbers_of_a_slice_by_hand() -> None:
    """40 of 100 requests are of one label, 10 of them disagree, and 2 of the others do."""
    teacher = np.repeat([0, 1], [40, 60])
    student = np.where(np.isin(np.arange(100), [*range(10), 50, 51]), 2, teacher)
    texts = [f"{index:03}" for index in range(100)]
    now = distinct_texts(texts, teacher, student, np.ones(100))
    (found,) = rank([by_label(now, LABELS)], now)
    assert (found.name, found.n, found.n_texts, found.n_disagreements) == ("label0", 40, 40, 10)
    assert (found.now.share, found.now.rate) == pytest.approx((0.4, 0.25))
    assert found.now.excess == pytest.approx(0.4 * (0.25 - 0.12))
    assert found.part == pytest.approx(10 / 12)
    assert found.q_value == pytest.approx(found.p_value * 2 * 1.5)
    assert (found.reference, found.q_moved, found.growth) == (None, None, found.now.excess)


def test_the_weights_are_those_of_the_window() -> None:
    """The requests of a rare label are drawn more often, and each stands for fewer."""
    teacher = np.repeat([0, 1], [100, 100])
    student = np.where(np.arange(200) % 100 < np.repeat([2, 40], 100), 2, teacher)
    weights = np.repeat([1.8, 0.2], 100)
    now = distinct_texts([f"{index:03}" for index in range(200)], teacher, student, weights)
    (found,) = rank([by_label(now, LABELS)], now)
    assert found.name == "label1"
    assert (found.now.share, found.now.rate) == pytest.approx((0.1, 0.4))
    assert found.now.excess == pytest.approx(0.1 * 0.4 - 0.1 * (0.9 * 0.02 + 0.1 * 0.4))


def test_a_planted_topic_is_named_by_its_label_its_confusion_and_its_words() -> None:
    rng = np.random.default_rng(2025)
    then, now = traffic(rng, 2_000), traffic(rng, 2_000, new=0.05)
    first, *others = rank(families(now), now, then)
    assert (first.kind, first.name) in {("label", "label3"), ("confusion", "label3")}
    assert ("confusion", "label3", "label5") in {
        (each.kind, each.name, each.student_label) for each in [first, *others]
    }
    assert first.q_moved is not None
    assert first.q_moved < 1e-6
    assert first.reference is not None
    assert first.growth == first.now.excess - first.reference.excess
    (topic,) = rank([by_word(now)], now, then)
    assert {topic.name, *topic.also} == {"oil", "change"}
    assert topic.now.rate == pytest.approx(0.7, abs=0.1)
    assert topic.reference is not None
    assert topic.reference.share == 0


def test_a_slice_that_was_as_bad_in_the_reference_has_not_moved() -> None:
    rng = np.random.default_rng(2025)
    then, now = traffic(rng, 3_000, new=0.05), traffic(rng, 3_000, new=0.05)
    first = rank(families(now), now, then)[0]
    assert first.q_value < 1e-6
    assert first.q_moved is not None
    assert first.q_moved > 0.05
    assert abs(first.growth) < 0.3 * first.now.excess


def test_a_slice_that_moved_comes_before_a_larger_one_that_did_not() -> None:
    rng = np.random.default_rng(2025)
    parts = [traffic(rng, 1_500, new=0.25), traffic(rng, 1_500, new=0.25)]
    broken = np.asarray((parts[1].teacher == 6) & (np.arange(parts[1].teacher.size) % 5 < 4))
    student = np.where(broken, 0, parts[1].student)
    now = distinct_texts(parts[1].texts, parts[1].teacher, student, parts[1].weights)
    first, second, *_ = rank([by_label(now, LABELS)], now, parts[0])
    assert (first.name, second.name) == ("label6", "label3")
    assert second.now.excess > first.now.excess


@pytest.mark.parametrize("share", [0, 1])
def test_where_all_or_none_disagree_no_slice_stands_out(share: int) -> None:
    now = traffic(np.random.default_rng(1), 300, rate=float(share))
    assert rank([*families(now), by_word(now)], now) == ()


def test_an_empty_sample_or_reference_has_no_slices() -> None:
    rng = np.random.default_rng(1)
    empty = distinct_texts([], np.array([], dtype=np.intp), np.array([], dtype=np.intp), np.array([]))
    assert rank([*families(empty), by_word(empty)], empty) == ()
    now = traffic(rng, 1_000, new=0.1)
    alone, beside_nothing = rank(families(now), now), rank(families(now), now, empty)
    assert [each.now for each in beside_nothing] == [each.now for each in alone]
    assert {each.q_moved for each in beside_nothing} == {1.0}


def test_at_most_twenty_are_returned() -> None:
    labels = [f"l{index}" for index in range(60)]
    teacher = np.repeat(np.arange(60), 50)
    student = np.where((teacher < 30) & (np.arange(3_000) % 2 == 0), 59, teacher)
    now = distinct_texts([f"{index}" for index in range(3_000)], teacher, student, np.ones(3_000))
    assert len(rank([by_label(now, labels)], now)) == MOST == 20


@given(st.randoms(use_true_random=False), st.integers(30, 200), st.integers(1, 4))
@settings(max_examples=40, deadline=None)
def test_the_excess_is_that_of_counting_requests(random: object, n: int, copies: int) -> None:
    """For repeated texts and any weights; the order of the requests makes no difference."""
    rng = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    texts = [f"t{number}" for number in rng.integers(0, n // copies + 1, n)]
    of_text = {text: rng.integers(0, 2, 2) for text in texts}
    teacher, student = np.array([of_text[text] for text in texts]).T
    weights = rng.choice([0.5, 1.5], n)
    now = distinct_texts(texts, teacher, student, weights)
    found = rank([by_label(now, LABELS)], now)
    overall = np.average(teacher != student, weights=weights)
    for each in found:
        own = teacher == LABELS.index(each.name)
        share = weights[own].sum() / weights.sum()
        rate = np.average(teacher[own] != student[own], weights=weights[own])
        assert (each.now.share, each.now.rate) == pytest.approx((share, rate))
        assert each.now.excess == pytest.approx((rate - overall) * share)
        assert each.n == own.sum()
    order = rng.permutation(n)
    again = distinct_texts([texts[at] for at in order], teacher[order], student[order], weights[order])
    assert names(rank([by_label(again, LABELS)], again)) == names(found)


def names(found: Sequence[Slice]) -> list[str]:
    return [each.name for each in found]


def test_a_length_is_reported_only_if_the_labels_do_not_explain_it() -> None:
    rng = np.random.default_rng(2025)
    then, now = traffic(rng, 2_000), traffic(rng, 2_000, new=0.05)
    assert [each.kind for each in rank([by_length(now)], now, then)] == ["length"]
    assert "length" not in {each.kind for each in rank(families(now), now, then)}
    long = np.flatnonzero(now.lengths > 40)
    student = now.student.copy()
    student[long] = (now.teacher[long] + rng.integers(0, 8, long.size)) % 8
    garbled = distinct_texts(now.texts, now.teacher, student, now.weights)
    assert rank(families(garbled), garbled, then)[0].name.endswith("or more characters")
