"""The candidates for slices, which do not depend on the disagreements in them."""

import numpy as np

from db.states import SliceKind
from monitor.slices.families import by_confusion, by_label, by_length, by_word
from monitor.slices.texts import Texts, distinct_texts

LABELS = ("faq", "order", "refund")


def texts_of(teacher: list[int], student: list[int] | None = None, words: list[str] | None = None) -> Texts:
    n = len(teacher)
    return distinct_texts(
        words or [f"{index:04}" for index in range(n)],
        np.array(teacher, dtype=np.intp),
        np.array(student or teacher, dtype=np.intp),
        np.ones(n),
    )


def test_a_label_of_few_texts_is_no_candidate() -> None:
    now = texts_of([0] * 20 + [1] * 19 + [2] * 30)
    family = by_label(now, LABELS)
    assert family.names == ("faq", "refund")
    assert family.members(now).toarray().sum(axis=0).tolist() == [20, 30]
    elsewhere = texts_of([1, 2, 2])
    assert family.members(elsewhere).toarray().tolist() == [[0, 0], [0, 1], [0, 1]]


def test_a_repeated_text_counts_once() -> None:
    now = texts_of([0] * 500 + [1] * 20, words=["hello"] * 500 + [f"{index}" for index in range(20)])
    assert by_label(now, LABELS).names == ("order",)
    assert now.counts.tolist() == [500, *[1] * 20]


def test_a_text_with_two_answers_counts_for_each() -> None:
    now = distinct_texts(["a", "a", "a"], np.array([0, 0, 0]), np.array([0, 1, 1]), np.array([2.0, 1, 1]))
    assert now.disagrees.tolist() == [False, True]
    assert now.shares.tolist() == [0.5, 0.5]
    assert now.weights.tolist() == [2.0, 1.0]


def test_the_confusions_are_those_with_a_label_that_is_often_wrong() -> None:
    """Whether the wrong answers are of one label or of another is not asked."""
    now = texts_of([0] * 30 + [1] * 30 + [2] * 30, [0] * 28 + [2] * 2 + [1] * 27 + [2] * 3 + [2] * 29 + [0])
    (family,) = by_confusion(now, LABELS)
    assert (family.kind, family.names, family.student_label) == (
        SliceKind.CONFUSION,
        ("faq", "order"),
        "refund",
    )
    assert family.event(now).sum() == 5
    assert family.base(now).sum() == 60


def test_the_lengths_are_between_quintiles() -> None:
    now = texts_of([0] * 200, words=["x" * (1 + index // 2) + str(index % 2) for index in range(200)])
    family = by_length(now)
    assert family.names == (
        "0 to 21 characters",
        "22 to 41 characters",
        "42 to 61 characters",
        "62 to 81 characters",
        "82 or more characters",
    )
    assert family.members(now).toarray().sum(axis=0).tolist() == [40] * 5
    assert family.members(texts_of([0, 0, 0], words=["", "x" * 22, "x" * 999])).toarray().argmax(
        axis=1
    ).tolist() == [0, 1, 4]


def test_texts_of_one_length_are_one_slice() -> None:
    now = texts_of([0] * 50)
    assert by_length(now).names == ("0 to 4 characters",)


def test_a_word_in_most_texts_is_no_candidate() -> None:
    words = [f"my {'oil' if index < 20 else 'cup'} {index}" for index in range(60)]
    assert by_word(texts_of([0] * 60, words=words)).names == ("oil",)


def test_an_empty_sample_has_no_slices() -> None:
    now = texts_of([])
    assert by_label(now, LABELS).names == by_word(now).names == by_length(now).names == ()
    assert list(by_confusion(now, LABELS)) == []
