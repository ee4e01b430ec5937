"""The evidence of true labels on lowering alpha, which moves weight from the teacher to the labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan

import orjson

from db.records import Correctness, Interval
from db.states import LabelFinding, LabelOutcome
from triggers.teacher.correctness import pooled, share

_DECIDED = (LabelOutcome.TEACHER_RIGHT, LabelOutcome.STUDENT_RIGHT)
_IN_SCOPE = (*_DECIDED, LabelOutcome.BOTH_WRONG)
_STUDENT_WRONG = (LabelOutcome.TEACHER_RIGHT, LabelOutcome.BOTH_WRONG)
_HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class LabelEvidence:
    """The finding from the labelled disagreements of some cycles."""

    finding: LabelFinding
    says: str  #: the finding in words, with the numbers
    n_cycles: int
    correctness: Correctness  #: of all cycles together
    student_wrong: Interval  #: share of disagreements in scope that the student gets wrong
    student_of_decided: Interval  #: the student's share of decided disagreements

    @property
    def text(self) -> str:
        """The evidence as JSON."""
        return orjson.dumps(asdict(self)).decode()


def label_evidence(cycles: Sequence[Correctness]) -> LabelEvidence | None:
    """Return the evidence of the cycles of one version pair; None without a labelled disagreement.

    A disagreement is decided if one of the two models is right, and in scope if the models have its true
    label. The teacher is at fault if the interval of the student's share of decided disagreements is above
    1/2. Otherwise, lowering alpha can help if the interval of the share of disagreements in scope that the
    student gets wrong is above 1/2: there the labels correct the student.

    Example:
        >>> from triggers.teacher.correctness import split
        >>> found = label_evidence([split([0] * 30, [0] * 30, [0] * 5 + [1] * 25, [1] * 30)])
        >>> (found.finding.value, found.student_wrong.estimate, round(found.student_wrong.low, 3))
        ('can_help', 1.0, 0.867)
    """
    found = pooled(cycles)
    if not found.n_disagreements:
        return None
    student_wrong = share(found.tallies, _STUDENT_WRONG, _IN_SCOPE)
    of_decided = share(found.tallies, {LabelOutcome.STUDENT_RIGHT}, _DECIDED)
    finding = _finding(student_wrong, of_decided)
    return LabelEvidence(
        finding=finding,
        says=_says(finding, found, student_wrong, of_decided),
        n_cycles=len(cycles),
        correctness=found,
        student_wrong=student_wrong,
        student_of_decided=of_decided,
    )


def percent(interval: Interval) -> str:
    """Return an interval in percent; '-' without an estimate.

    Example:
        >>> percent(Interval(estimate=0.611, low=0.4549, high=0.748))
        '61% [45, 75]'
    """
    if isnan(interval.estimate):
        return "-"
    return f"{interval.estimate:.0%} [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _finding(student_wrong: Interval, of_decided: Interval) -> LabelFinding:
    if of_decided.low > _HALF:
        return LabelFinding.TEACHER_AT_FAULT
    return LabelFinding.CAN_HELP if student_wrong.low > _HALF else LabelFinding.UNDECIDED


def _says(finding: LabelFinding, found: Correctness, student_wrong: Interval, of_decided: Interval) -> str:
    s = "" if found.n_disagreements == 1 else "s"
    numbers = (
        f"of {found.n_disagreements} labelled disagreement{s} the teacher is right in "
        f"{percent(found.teacher_right)}, the student in {percent(found.student_right)}, neither in "
        f"{percent(found.both_wrong)}"
    )
    if found.n_out_of_scope:
        numbers += f" (the models do not have the true label of {found.n_out_of_scope})"
    match finding:
        case LabelFinding.TEACHER_AT_FAULT:
            why = f"where one of the two is right, it is the student in {percent(of_decided)}"
            return f"Low agreement does no harm here, and the teacher may be at fault: {why}; {numbers}."
        case LabelFinding.CAN_HELP:
            why = f"where the two disagree, labels correct the student in {percent(student_wrong)}"
            return f"Lowering alpha can help: {why}; {numbers}."
        case LabelFinding.UNDECIDED:
            return f"The labels do not show yet whether lowering alpha can help: {numbers}."
