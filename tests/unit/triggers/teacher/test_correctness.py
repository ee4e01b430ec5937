"""Who is right where the two disagree: against counting by hand, and what holds whatever the labels are."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import Correctness, Interval
from monitor.intervals import wilson
from triggers.teacher.correctness import LabelledRowsError, pooled, split

SHARES = ("teacher_right", "student_right", "both_wrong", "teacher_accuracy", "student_accuracy")
Rows = list[tuple[int, int, int, float]]
ROWS = st.lists(
    st.tuples(st.integers(-1, 3), st.integers(0, 3), st.integers(0, 3), st.floats(0.01, 100)), max_size=40
)


def split_rows(rows: Rows) -> Correctness:
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * 4
    return split(*columns)


def shares(found: Correctness) -> dict[str, Interval]:
    return {name: getattr(found, name) for name in SHARES}


def by_hand(rows: Rows) -> dict[str, float]:
    """Each share as a sum over the rows."""
    weight, labelled, disagreeing = dict.fromkeys((*SHARES, "both_wrong"), 0.0), 0.0, 0.0
    for truth, teacher, student, w in rows:
        labelled += w
        weight["teacher_accuracy"] += w * (teacher == truth)
        weight["student_accuracy"] += w * (student == truth)
        if teacher != student:
            disagreeing += w
            right = (teacher == truth, student == truth)
            names = {(True, False): "teacher_right", (False, True): "student_right"}
            weight[names.get(right, "both_wrong")] += w
    among = {name: labelled if name.endswith("accuracy") else disagreeing for name in SHARES}
    return {name: weight[name] / among[name] if among[name] else math.nan for name in SHARES}


@given(ROWS)
def test_every_share_is_what_counting_by_hand_gives(rows: Rows) -> None:
    found = split_rows(rows)
    estimates = {name: share.estimate for name, share in shares(found).items()}
    assert estimates == pytest.approx(by_hand(rows), nan_ok=True)
    disagreeing = [row for row in rows if row[1] != row[2]]
    assert (found.n_labelled, found.n_disagreements) == (len(rows), len(disagreeing))
    assert found.n_out_of_scope == sum(row[0] == -1 for row in disagreeing)


@given(ROWS)
def test_the_shares_of_the_disagreements_add_up_to_1_and_lie_in_their_intervals(rows: Rows) -> None:
    found = split_rows(rows)
    if found.n_disagreements:
        of_disagreements = (found.teacher_right, found.student_right, found.both_wrong)
        assert math.fsum(each.estimate for each in of_disagreements) == pytest.approx(1, abs=1e-12)
    for share in shares(found).values():
        assert math.isnan(share.estimate) or 0 <= share.low <= share.estimate <= share.high <= 1


@given(ROWS, st.integers(0, 2**32), st.integers(-30, 30))
def test_neither_order_nor_the_unit_of_the_weights_matters(rows: Rows, seed: int, exponent: int) -> None:
    order = np.random.default_rng(seed).permutation(len(rows))
    scaled = [(*rows[index][:3], rows[index][3] * 2.0**exponent) for index in order]
    for one, other in zip(
        shares(split_rows(rows)).values(), shares(split_rows(scaled)).values(), strict=True
    ):
        assert astuple(other) == pytest.approx(astuple(one), nan_ok=True)


@given(st.lists(ROWS, max_size=4))
def test_cycles_together_are_as_one_with_all_their_requests(parts: list[Rows]) -> None:
    together = pooled(map(split_rows, parts))
    whole = split_rows([row for rows in parts for row in rows])
    assert [each.n for each in together.tallies] == [each.n for each in whole.tallies]
    for one, other in zip(shares(together).values(), shares(whole).values(), strict=True):
        assert astuple(one) == pytest.approx(astuple(other), nan_ok=True)


def test_with_equal_weights_the_intervals_are_wilsons_of_the_counts() -> None:
    rng = np.random.default_rng(2025)
    truth, teacher, student = rng.integers(0, 3, size=(3, 200))
    found = split(truth, teacher, student, np.full(200, 0.37))
    differ = teacher != student
    right = int((differ & (teacher == truth)).sum())
    assert astuple(found.teacher_right) == pytest.approx(astuple(wilson(right, int(differ.sum()))))
    accurate = int((student == truth).sum())
    assert astuple(found.student_accuracy) == pytest.approx(astuple(wilson(accurate, 200)))


def test_a_request_that_stands_for_more_than_others_widens_the_interval() -> None:
    """Wilson's for (Σ w)² / Σ w² requests, written out."""
    answers = ([0] * 8, [0] * 8, [0] * 4 + [1] * 4)
    equal = split(*answers, [1] * 8).student_accuracy
    unequal = split(*answers, [5, 1, 1, 1, 2, 2, 2, 2]).student_accuracy
    assert equal.estimate == unequal.estimate == 0.5
    n, z = 16**2 / 44, 1.959963984540054
    length = 2 * z * math.sqrt(0.25 / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert unequal.high - unequal.low == pytest.approx(length)
    assert length > equal.high - equal.low


def test_without_labels_and_without_disagreements_shares_are_nan() -> None:
    for nothing in (split([], [], [], []), pooled([])):
        assert nothing.n_labelled == 0
        assert all(math.isnan(bound) for share in shares(nothing).values() for bound in astuple(share))
    agreed = split([0, 1], [0, 0], [0, 0], [1, 3])
    assert math.isnan(agreed.both_wrong.estimate)
    assert agreed.teacher_accuracy.estimate == agreed.student_accuracy.estimate == 0.25


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        (([0, 1], [0], [0, 1], [1, 1]), "shapes"),
        (([[0]], [[0]], [[0]], [[1]]), "shapes"),
        (([0], [0], [0], [0]), "weight"),
        (([0], [0], [0], [-1]), "weight"),
        (([0], [0], [0], [math.nan]), "weight"),
    ],
)
def test_what_are_no_labelled_requests_is_refused(columns: tuple[list[int], ...], problem: str) -> None:
    with pytest.raises(LabelledRowsError, match=problem):
        split(*columns)
