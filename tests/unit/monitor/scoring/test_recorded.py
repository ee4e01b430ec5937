"""Recorded answers: used where they are, asked for where they are not, and checked on a part."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.intervals import wilson
from monitor.scoring.recorded import NONE, Served, served_logits
from monitor.sources.request import Request
from monitor.strata import Strata

LABELS = ("faq", "promotion", "escalation")
#: The student has the labels in another order: faq last.
COLUMNS = np.array([2, 0, 1])
TIME = datetime(2026, 11, 24, 10, tzinfo=UTC)


def request(text: str, logits: tuple[float, ...] | None = None, label: str | None = None) -> Request:
    return Request(id=text, time=TIME, text=text, student_logits=logits, student_label=label)


class Student:
    """Answers each text with logits that put one label first, and remembers what it was asked."""

    def __init__(self, first: dict[str, str]) -> None:
        self.first = first
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        own_order = [LABELS[index] for index in np.argsort(COLUMNS)]
        rows = [[float(label == self.first[text]) for label in own_order] for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(rows), len(LABELS))


def test_recorded_logits_are_brought_into_the_teachers_order() -> None:
    student = Student({"a": "faq"})
    logits, served = served_logits(
        [request("a", (1.0, 2.0, 7.0))], LABELS, COLUMNS, rescored=1, score=student
    )
    assert logits.tolist() == [[7.0, 1.0, 2.0]]
    assert (served.recorded.tolist(), served.rescored.tolist()) == ([0], [0])


def test_what_was_not_recorded_is_asked_of_the_student_and_is_no_evidence_of_skew() -> None:
    student = Student({"a": "faq", "b": "promotion", "c": "escalation"})
    requests = [request("a", (0.0, 0.0, 9.0)), request("b"), request("c", label="faq")]
    logits, served = served_logits(requests, LABELS, COLUMNS, rescored=5, score=student)
    assert student.asked == ["b", "c", "a"]
    assert logits.argmax(axis=1).tolist() == [0, 1, 2]
    assert (served.recorded.tolist(), served.rescored.tolist()) == ([0, NONE, NONE], [0, NONE, NONE])


def test_the_first_of_the_recorded_are_checked() -> None:
    student = Student({"a": "faq", "b": "faq"})
    requests = [request(text, (0.0, 0.0, 9.0)) for text in "abc"]
    _, served = served_logits(requests, LABELS, COLUMNS, rescored=2, score=student)
    assert student.asked == ["a", "b"]
    assert served.rescored.tolist() == [0, 0, NONE]


def test_a_label_that_was_served_counts_whatever_the_logits_say() -> None:
    student = Student({"a": "faq"})
    answered = request("a", (0.0, 0.0, 9.0), "promotion")
    _, served = served_logits([answered], LABELS, COLUMNS, rescored=1, score=student)
    found = served.skew(Strata.one(1)).skew
    assert found is not None
    assert found.estimate == 1


def test_skew_is_a_share_of_the_window() -> None:
    """Of the larger label none, of the smaller one all: a tenth, not the half that was checked."""
    strata = Strata(sizes=(900, 100), of=np.repeat([0, 1], 50))
    recorded = np.zeros(100, dtype=np.intp)
    served = Served(recorded=recorded, rescored=np.repeat([0, 1], 50))
    found = served.skew(strata)
    assert (found.n_recorded, found.n_rescored) == (100, 100)
    assert found.skew is not None
    assert found.skew.estimate == pytest.approx(0.1)


def test_the_skew_of_a_uniform_sample_has_wilsons_interval() -> None:
    rescored = np.array([1] * 4 + [0] * 396 + [NONE] * 600)
    served = Served(recorded=np.zeros(1_000, dtype=np.intp), rescored=rescored)
    found = served.skew(Strata.one(1_000))
    assert (found.n_recorded, found.n_rescored, found.skew) == (1_000, 400, wilson(4, 400))


def test_with_nothing_recorded_there_is_no_skew() -> None:
    _, served = served_logits([request("a")], LABELS, COLUMNS, rescored=1, score=Student({"a": "faq"}))
    found = served.skew(Strata.one(1))
    assert (found.n_recorded, found.n_rescored, found.skew) == (0, 0, None)
