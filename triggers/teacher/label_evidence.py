"""The evidence of true labels on lowering alpha, which moves weight from the teacher to the labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan
from typing import Final

import orjson

from db.records import Correctness, Interval
from db.states import LabelFinding, LabelOutcome
from triggers.teacher.correctness import pooled, share

#: Below so many labelled requests, too few hard labels are in a training to take weight from the teacher.
ENOUGH_LABELS: Final = 100

_DECIDED = (LabelOutcome.TEACHER_RIGHT, LabelOutcome.STUDENT_RIGHT)
_IN_SCOPE = (*_DECIDED, LabelOutcome.BOTH_WRONG)
_HALF = 0.5
_NOTHING_KNOWN = (
    "A lower alpha cannot help yet: no true label is known where the models disagree, and without one a "
    "request is learned from the teacher alone. `redistill labels import FILE` imports labels."
)


@dataclass(frozen=True, kw_only=True)
class LabelEvidence:
    """The finding from the labelled disagreements of some cycles."""

    finding: LabelFinding
    says: str  #: the finding in words, with the numbers
    n_cycles: int
    correctness: Correctness  #: of all cycles together
    teacher_of_known: Interval  #: the teacher's share of right answers in scope
    student_of_decided: Interval  #: the student's share of decided disagreements

    @property
    def text(self) -> str:
        """The evidence as JSON."""
        return orjson.dumps(asdict(self)).decode()

    @property
    def asks_for_lower_alpha(self) -> bool:
        """Return whether labels are needed, and there are enough of them for a lower alpha to help."""
        return self.finding is LabelFinding.LABELS_NEEDED and self.correctness.n_labelled >= ENOUGH_LABELS


def label_evidence(cycles: Sequence[Correctness]) -> LabelEvidence:
    """Return the evidence of the cycles of one version pair; without labelled disagreements it is undecided.

    A disagreement is decided if one of the two models is right, and in scope if the models have its true
    label. The teacher can teach the student if the interval of its share of the disagreements in scope is
    above 1/2; then more archived requests help, and a lower alpha does not. If the interval is below 1/2,
    only true labels correct the student, and a lower alpha gives them more weight.

    Example:
        >>> from triggers.teacher.correctness import split
        >>> found = label_evidence([split([0] * 30, [0] * 30, [0] * 5 + [1] * 25, [1] * 30)])
        >>> (found.finding.value, found.teacher_of_known.estimate, round(found.teacher_of_known.low, 3))
        ('teacher_can_teach', 1.0, 0.867)
    """
    found = pooled(cycles)
    of_known = share(found.tallies, {LabelOutcome.TEACHER_RIGHT}, _IN_SCOPE)
    of_decided = share(found.tallies, {LabelOutcome.STUDENT_RIGHT}, _DECIDED)
    finding = _finding(of_known)
    return LabelEvidence(
        finding=finding,
        says=_says(finding, found, of_known, of_decided),
        n_cycles=len(cycles),
        correctness=found,
        teacher_of_known=of_known,
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


def _finding(of_known: Interval) -> LabelFinding:
    if of_known.low > _HALF:
        return LabelFinding.TEACHER_CAN_TEACH
    return LabelFinding.LABELS_NEEDED if of_known.high < _HALF else LabelFinding.UNDECIDED


def _says(finding: LabelFinding, found: Correctness, of_known: Interval, of_decided: Interval) -> str:
    if not found.n_disagreements:
        return _NOTHING_KNOWN
    numbers = _numbers(found)
    match finding:
        case LabelFinding.TEACHER_CAN_TEACH:
            why = f"where the two disagree, the teacher is right in {percent(of_known)}"
            return f"The teacher can teach this, so a lower alpha does not help: {why}; {numbers}."
        case LabelFinding.LABELS_NEEDED if of_decided.low > _HALF:
            why = f"where one of the two is right, it is the student in {percent(of_decided)}"
            return f"Low agreement does no harm here, and the teacher may be at fault: {why}; {numbers}."
        case LabelFinding.LABELS_NEEDED:
            why = f"where the two disagree, the teacher is right in {percent(of_known)} only"
            return f"True labels are needed, and only with them a lower alpha helps: {why}; {numbers}."
        case LabelFinding.UNDECIDED:
            return f"The labels do not show yet whether a lower alpha can help: {numbers}."


def _numbers(found: Correctness) -> str:
    s = "" if found.n_disagreements == 1 else "s"
    numbers = (
        f"of {found.n_disagreements} labelled disagreement{s} the teacher is right in "
        f"{percent(found.teacher_right)}, the student in {percent(found.student_right)}, neither in "
        f"{percent(found.both_wrong)}"
    )
    if found.n_out_of_scope:
        numbers += f" (the models do not have the true label of {found.n_out_of_scope})"
    return numbers
