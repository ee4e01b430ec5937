"""The mix of a teacher's labels against its usual mix, and against the student's."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from db.records import LabelMeasurement, TeacherPoint
from tests.support.records.factories import make_interval, make_teacher
from triggers.settings import TeacherPolicy
from triggers.teacher.mix import (
    compare_with_reference,
    familiar_labels,
    mix_divergence,
    mix_noise,
)
from triggers.wilson import score_interval

USUAL = {"faq": 0.5, "checkout": 0.3, "escalation": 0.2}
N = 10_000


def point_of(confusion: dict[tuple[str, str], float], *, n: int = N) -> TeacherPoint:
    """The cycle in which each pair of labels, the teacher's and the student's, has that share."""
    teacher = sorted({one for one, _ in confusion})
    shares = {label: sum(each for (one, _), each in confusion.items() if one == label) for label in teacher}
    return TeacherPoint(
        measured=replace(make_teacher(n=n), confusion=confusion),
        agreement=make_interval(sum(each for (one, other), each in confusion.items() if one == other)),
        labels={
            label: LabelMeasurement(
                label=label,
                n=round(n * shares[label]),
                share=shares[label],
                agreement=make_interval(confusion.get((label, label), 0.0) / shares[label]),
                kl=0.01,
            )
            for label in teacher
        },
    )


def same(mix: dict[str, float], *, n: int = N) -> TeacherPoint:
    return point_of({(label, label): share for label, share in mix.items()}, n=n)


shares = st.lists(st.floats(0.001, 1), min_size=1, max_size=12)
mixes = shares.map(lambda found: {str(label): share / sum(found) for label, share in enumerate(found)})


@given(mixes, mixes)
def test_the_divergence_of_mixes_is_scipys(one: dict[str, float], other: dict[str, float]) -> None:
    """Whatever labels they share; symmetric, and the same in any order of the labels."""
    labels = sorted({**one, **other})
    p, q = ([mix.get(label, 0.0) for label in labels] for mix in (one, other))
    found = mix_divergence(one, other)
    assert found == pytest.approx(jensenshannon(p, q) ** 2, abs=1e-9)
    assert 0 <= found <= math.log(2)
    assert found == mix_divergence(dict(reversed(other.items())), one)


def test_mixes_without_a_common_label_are_ln_2_apart() -> None:
    assert mix_divergence({"a": 1.0}, {"b": 0.5, "c": 0.5}) == math.log(2)
    assert mix_divergence(USUAL, USUAL) == 0
    assert math.isnan(mix_divergence({}, USUAL))


@pytest.mark.parametrize(("n", "m", "labels"), [(500, 1_500, 10), (1_000, 1_000, 3), (10_000, 30_000, 150)])
def test_the_noise_of_a_divergence_is_what_samples_of_one_mix_give(n: int, m: int, labels: int) -> None:
    """In 2.5% of 4,000 pairs, to 1 point: where labels are rare the law is not exactly a chi-square."""
    rng = np.random.default_rng(2025)
    mix = rng.dirichlet(np.full(labels, 5.0))
    one, other = rng.multinomial(n, mix, 4_000) / n, rng.multinomial(m, mix, 4_000) / m
    found = jensenshannon(one, other, axis=1) ** 2
    assert (found > mix_noise(n, m, labels)).mean() == pytest.approx(0.025, abs=0.01)


@pytest.mark.parametrize(
    ("n", "agreeing", "is_familiar"),
    [(3, 3, False), (4, 4, True), (100, 50, False), (100, 61, True), (40, 0, False)],
)
def test_a_label_is_familiar_when_the_student_surely_gives_it_to_half(
    n: int,
    agreeing: int,
    is_familiar: bool,  # noqa: FBT001
) -> None:
    share, right = n / N, agreeing / n
    point = point_of(
        {("x", "x"): share * right, ("x", "faq"): share * (1 - right), ("faq", "faq"): 1 - share}
    )
    assert ("x" in familiar_labels([point])) is is_familiar
    assert is_familiar is (score_interval(right, n).low >= 0.5)


def test_the_cycles_of_a_reference_tell_together_what_is_familiar() -> None:
    once = same({"faq": 1 - 2 / N, "x": 2 / N})
    assert familiar_labels([once]) == {"faq"}
    assert familiar_labels([once, once]) == {"faq", "x"}
    assert familiar_labels([]) == frozenset()


untaught = st.integers(1, 6).flatmap(
    lambda n: st.lists(st.floats(0.05, 1), min_size=n, max_size=n).map(
        lambda found: np.array(found) / sum(found)
    )
)


@given(mixes, untaught, st.just(0.0) | st.floats(0.001, 0.6), st.floats(0.95, 1), st.integers(0, 2**32 - 1))
def test_labels_that_the_student_was_never_taught_are_no_fault_of_the_teacher(
    usual: dict[str, float], new: np.ndarray, share: float, agreement: float, seed: int
) -> None:
    """Whatever they are, up to 60% of the requests, and whichever labels the student gives in their place."""
    rng = np.random.default_rng(seed)
    labels = list(usual)
    confusion: dict[tuple[str, str], float] = {}

    def answer(label: str, shares: float, right: float) -> None:
        for other, part in zip(labels, rng.dirichlet(np.ones(len(labels))), strict=True):
            confusion[label, other] = confusion.get((label, other), 0.0) + shares * (1 - right) * part
        confusion[label, label] = confusion.get((label, label), 0.0) + shares * right

    for label, part in usual.items():
        answer(label, part * (1 - share), agreement)
    for number, part in enumerate(new.tolist()):
        if share:
            answer(f"new {number}", part * share, 0.0)
    confusion = {pair: part for pair, part in confusion.items() if part > 0}
    found = compare_with_reference(point_of(confusion), [same(usual)] * 3)
    assert not found.is_fault(TeacherPolicy())
    assert set(found.unfamiliar) >= {f"new {number}" for number in range(len(new)) if share}


@given(mixes.filter(lambda mix: max(mix.values()) <= 0.4), st.booleans(), st.floats(0, 0.6))
def test_a_teacher_that_is_stuck_on_a_label_is_a_fault(
    usual: dict[str, float],
    is_taught: bool,  # noqa: FBT001
    share: float,
) -> None:
    """On a label that the student knows or not, and whatever part of the traffic is new to the student."""
    stuck = next(iter(usual)) if is_taught else "new"
    students = dict(usual)
    first = next(iter(usual))
    students = {label: part * (1 - share) for label, part in usual.items()}
    students[first] += share
    confusion = {(stuck, label): part for label, part in students.items()}
    assert compare_with_reference(point_of(confusion), [same(usual)] * 3).is_fault(TeacherPolicy())


def test_what_is_stored_has_no_numbers_of_labels_that_do_not_occur() -> None:
    found = compare_with_reference(point_of({("new", "faq"): 1.0}), [same(USUAL)]).stored
    assert (found.label_shift, found.familiar_share) == (math.log(2), 0.0)
    assert (found.familiar_shift, found.familiar_gap) == (None, None)
