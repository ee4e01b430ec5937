"""Correctness: which of teacher and student gives the true label.

Every request counts with its weight. Intervals are Wilson's 95% intervals for the size of the uniform sample
with the same precision, (Σ w)² / Σ w² (Kish 1965, "Survey Sampling", section 8.2). They assume that the
labelled requests are drawn at random from the traffic.
"""

import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from db.errors import RedistillError
from db.records import Correctness, Interval, OutcomeTally
from db.states import LabelOutcome
from triggers.wilson import score_interval

#: The index of a true label that the models do not have.
OUT_OF_SCOPE = -1

DISAGREEMENTS = (
    LabelOutcome.TEACHER_RIGHT,
    LabelOutcome.STUDENT_RIGHT,
    LabelOutcome.BOTH_WRONG,
    LabelOutcome.OUT_OF_SCOPE,
)
_ALL = tuple(LabelOutcome)


class LabelledRowsError(RedistillError):
    """Labelled requests are inconsistent ({problem}): give one true label, answer and weight for each."""


def split(truth: ArrayLike, teacher: ArrayLike, student: ArrayLike, weights: ArrayLike) -> Correctness:
    """Return how often each model gives the true label.

    Args:
        truth: (n,) the index of the true label; -1 if the models do not have it, so that both are wrong.
        teacher: (n,) the index of the teacher's top label, from 0.
        student: (n,) the index of the student's top label, from 0.
        weights: (n,) above 0, requests of the traffic that each represents, in any unit.

    Shares are in [0, 1]; those of the disagreements sum to 1. They are NaN without disagreements, and all
    shares are NaN without labels.

    Raises:
        LabelledRowsError: the arrays differ in shape, or a weight is not finite and above 0.

    Example:
        >>> found = split([0, 0, 1, 2, -1], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1])
        >>> (found.n_labelled, found.n_disagreements, found.n_out_of_scope)
        (5, 4, 1)
        >>> [share.estimate for share in (found.teacher_right, found.student_right, found.both_wrong)]
        [0.25, 0.25, 0.5]
        >>> (found.teacher_accuracy.estimate, found.student_accuracy.estimate)
        (0.4, 0.4)
    """
    true, one, other = (np.asarray(each, dtype=np.intp) for each in (truth, teacher, student))
    counts_for = np.asarray(weights, dtype=np.float64)
    _check(true, one, other, counts_for)
    holds = _holds(true, one, other)
    return _of([_tally(outcome, counts_for[holds[outcome]]) for outcome in LabelOutcome])


def pooled(parts: Iterable[Correctness]) -> Correctness:
    """Return the correctness of several samples together; without any, it has no labels.

    Example:
        >>> one = split([0, 1], [0, 0], [1, 1], [1, 1])
        >>> both = pooled([one, one])
        >>> (both.n_disagreements, both.teacher_right.estimate, round(both.teacher_right.low, 3))
        (4, 0.5, 0.15)
    """
    tallies = [each.tallies for each in parts]
    return _of(
        [
            OutcomeTally(
                outcome=outcome,
                n=sum(each[number].n for each in tallies),
                weight=math.fsum(each[number].weight for each in tallies),
                squares=math.fsum(each[number].squares for each in tallies),
            )
            for number, outcome in enumerate(LabelOutcome)
        ]
    )


def share(
    tallies: Sequence[OutcomeTally], outcomes: Collection[LabelOutcome], among: Collection[LabelOutcome]
) -> Interval:
    """Return the share of `outcomes` among the outcomes `among`, in [0, 1]; NaN if there are none.

    Example:
        >>> found = split([0, 0, 1], [0, 0, 0], [1, 1, 1], [1, 1, 1])
        >>> right = share(found.tallies, [LabelOutcome.TEACHER_RIGHT], DISAGREEMENTS)
        >>> (round(right.estimate, 3), round(right.low, 3), round(right.high, 3))
        (0.667, 0.208, 0.939)
    """
    whole = math.fsum(each.weight for each in tallies if each.outcome in among)
    part = math.fsum(each.weight for each in tallies if each.outcome in outcomes)
    squares = math.fsum(each.squares for each in tallies if each.outcome in among)
    return score_interval(part / whole, whole**2 / squares) if whole else score_interval(math.nan, 0)


def _of(tallies: Sequence[OutcomeTally]) -> Correctness:
    n = {each.outcome: each.n for each in tallies}
    both_right = LabelOutcome.BOTH_RIGHT
    teacher_right, student_right = LabelOutcome.TEACHER_RIGHT, LabelOutcome.STUDENT_RIGHT
    both_wrong = {LabelOutcome.BOTH_WRONG, LabelOutcome.OUT_OF_SCOPE}
    return Correctness(
        n_labelled=sum(n.values()),
        n_disagreements=sum(n[each] for each in DISAGREEMENTS),
        n_out_of_scope=n[LabelOutcome.OUT_OF_SCOPE],
        teacher_right=share(tallies, {teacher_right}, DISAGREEMENTS),
        student_right=share(tallies, {student_right}, DISAGREEMENTS),
        both_wrong=share(tallies, both_wrong, DISAGREEMENTS),
        teacher_accuracy=share(tallies, {both_right, teacher_right}, _ALL),
        student_accuracy=share(tallies, {both_right, student_right}, _ALL),
        tallies=tuple(tallies),
    )


def _holds(
    truth: NDArray[np.intp], teacher: NDArray[np.intp], student: NDArray[np.intp]
) -> dict[LabelOutcome, NDArray[np.bool_]]:
    agrees, known = teacher == student, truth != OUT_OF_SCOPE
    teacher_right, student_right = teacher == truth, student == truth
    neither = ~agrees & ~teacher_right & ~student_right
    return {
        LabelOutcome.BOTH_RIGHT: agrees & teacher_right,
        LabelOutcome.SAME_ERROR: agrees & ~teacher_right,
        LabelOutcome.TEACHER_RIGHT: ~agrees & teacher_right,
        LabelOutcome.STUDENT_RIGHT: ~agrees & student_right,
        LabelOutcome.BOTH_WRONG: neither & known,
        LabelOutcome.OUT_OF_SCOPE: neither & ~known,
    }


def _tally(outcome: LabelOutcome, weights: NDArray[np.float64]) -> OutcomeTally:
    return OutcomeTally(
        outcome=outcome, n=weights.size, weight=math.fsum(weights), squares=math.fsum(np.square(weights))
    )


def _check(
    truth: NDArray[np.intp],
    teacher: NDArray[np.intp],
    student: NDArray[np.intp],
    weights: NDArray[np.float64],
) -> None:
    shapes = {truth.shape, teacher.shape, student.shape, weights.shape}
    if len(shapes) > 1 or truth.ndim != 1:
        raise LabelledRowsError(problem=f"shapes {', '.join(map(str, sorted(shapes)))}")
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise LabelledRowsError(problem="a weight is not finite and above 0")
