"""What true labels say about lowering alpha, which takes weight from the teacher and gives it to them."""

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
    """What the labelled disagreements of some cycles say."""

    finding: LabelFinding
    says: str  #: in words, with the numbers
    n_cycles: int
    correctness: Correctness  #: of all of them together
    student_wrong: Interval  #: the share of the disagreements in scope in which labels correct the student
    student_of_decided: Interval  #: the student's share of those in which one of the two is right

    @property
    def text(self) -> str:
        """As JSON."""
        return orjson.dumps(asdict(self)).decode()


def label_evidence(cycles: Sequence[Correctness]) -> LabelEvidence | None:
    """What cycles of one version pair say; None without a labelled disagreement.

    The teacher is at fault when the student's share of the decided disagreements, those in which one of the
    two is right, has an interval above 1/2. Else lowering alpha can help when the share of the student's
    errors has one, of the disagreements whose label the models know: there labels correct it.

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
    """In words; '-' where there is nothing to show.

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
        numbers += f" (the models do not know the labels of {found.n_out_of_scope})"
    match finding:
        case LabelFinding.TEACHER_AT_FAULT:
            why = f"where one of the two is right, it is the student in {percent(of_decided)}"
            return f"Low agreement is no harm here, and the teacher may be at fault: {why}; {numbers}."
        case LabelFinding.CAN_HELP:
            why = f"where the two disagree, labels correct the student in {percent(student_wrong)}"
            return f"Lowering alpha can help: {why}; {numbers}."
        case LabelFinding.UNDECIDED:
            return f"Labels do not tell yet whether lowering alpha can help: {numbers}."
