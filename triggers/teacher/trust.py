"""The health of a teacher: a cycle's numbers of it against those of its reference cycles."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from db.records import Correctness, Interval, KnownTeacher, MixShift, TeacherPoint
from db.states import LabelOutcome, TeacherHealth, TeacherReason
from triggers.settings import TeacherPolicy
from triggers.teacher.correctness import pooled, share
from triggers.teacher.mix import MixComparison, compare_with_reference
from triggers.wilson import score_interval

#: Fewer requests of a label contradict nobody.
CONTRADICTION_SAMPLES: Final = 25
#: An untaught label with at least this share of the window is named; of any labels at most so many are.
_COMMON: Final = 0.01
_NAMED: Final = 3
_SHORT: Final = 12
_AGREEING: Final = frozenset({LabelOutcome.BOTH_RIGHT, LabelOutcome.SAME_ERROR})

_Fault = tuple[TeacherReason, str]


@dataclass(frozen=True, kw_only=True)
class TeacherJudgement:
    """What a cycle says about the teacher, and why, in one line with the numbers."""

    health: TeacherHealth
    reason: TeacherReason
    detail: str
    accuracy: Interval | None  #: on the window's traffic, by true labels; None: too few tell it
    mix: MixShift | None  #: of its labels from its reference's; None without a reference
    reference_version: str | None  #: of the teacher whose cycles it was held against

    @property
    def is_fault(self) -> bool:
        """Whether nothing may be judged by this teacher."""
        return self.health is TeacherHealth.UNHEALTHY

    @property
    def is_new(self) -> bool:
        """Whether its own reference is not whole yet, and another teacher was there before."""
        return self.health is TeacherHealth.CHANGED


def accuracy_of(found: Correctness, agreement: float) -> Interval | None:
    """Return the teacher's accuracy on traffic of which it agrees with the student on the given share.

    People are often asked to label disagreements. So the labelled requests on which the two agree and those
    on which they do not are weighted by their shares of the traffic, and each end is the sum of what the ends
    of both Wilson intervals give: together they cover 95% at least. None unless some of both are labelled.

    Source: Cochran 1977, "Sampling Techniques", section 5A.9, for the weights.

    Example:
        >>> from triggers.teacher.correctness import split
        >>> found = split([0] * 40 + [1] * 60, [0] * 100, [0] * 40 + [1] * 60, [1] * 100)
        >>> accuracy = accuracy_of(found, 0.97)
        >>> (found.teacher_accuracy.estimate, accuracy.estimate, round(accuracy.low, 3))
        (0.4, 0.97, 0.885)
    """
    agreeing = share(found.tallies, {LabelOutcome.BOTH_RIGHT}, _AGREEING)
    if math.isnan(agreeing.estimate) or math.isnan(found.teacher_right.estimate):
        return None
    ends = (
        agreement * getattr(agreeing, end) + (1 - agreement) * getattr(found.teacher_right, end)
        for end in ("estimate", "low", "high")
    )
    estimate, low, high = ends
    return Interval(estimate=estimate, low=low, high=high)


def is_cleared(found: Correctness | None, agreement: float, policy: TeacherPolicy) -> bool:
    """Return whether the true labels of a cycle, with this agreement, show that its teacher is right."""
    accuracy = None if found is None else accuracy_of(found, agreement)
    return accuracy is not None and accuracy.low >= policy.min_accuracy


def judge_teacher(now: TeacherPoint, known: KnownTeacher, policy: TeacherPolicy) -> TeacherJudgement:
    """Return the teacher's health at a cycle that has enough requests for a verdict.

    A number is out of bounds when its whole 95% interval is, seen from the far end of the reference's: the
    span of the intervals of the reference cycles. A new version is held to its predecessor's reference until
    its own is whole, unless the policy accepts it. Without any reference it is unknown, or changed if new.
    Accuracy, by the true labels of the cycle and of its newest labelled ones, needs no reference. True labels
    of the cycle itself that clear the teacher (the whole interval of its accuracy is at `min_accuracy` or
    above) overrule its mix of labels; those of earlier cycles say nothing of damage since.
    """
    reference = known.reference
    is_new = known.predecessor is not None
    is_accepted = is_new and policy.accept is not None and known.version.startswith(policy.accept)
    labelled = pooled([*known.labelled, *([now.correctness] if now.correctness else [])])
    accuracy = accuracy_of(labelled, now.agreement.estimate)
    mix = compare_with_reference(now, reference) if reference else None
    is_held = mix is not None and not is_accepted
    faults = [
        *(_damages(now, known, mix, policy) if mix is not None and is_held else ()),
        *_errors(accuracy, labelled, policy),
        *(_moves(now, mix, policy) if mix is not None and is_held else ()),
    ]
    health, reason = _health(faults, is_new=is_new, is_known=bool(reference))
    return TeacherJudgement(
        health=health,
        reason=reason,
        detail=_introduced(known, "; ".join(text for _, text in faults) or _described(now, mix)),
        accuracy=accuracy,
        mix=None if mix is None else mix.stored,
        reference_version=known.reference_version,
    )


def without_evidence() -> TeacherJudgement:
    """Return what a cycle says of its teacher that has not enough requests for a verdict."""
    return TeacherJudgement(
        health=TeacherHealth.UNKNOWN,
        reason=TeacherReason.NO_EVIDENCE,
        detail="not enough evidence",
        accuracy=None,
        mix=None,
        reference_version=None,
    )


def _health(faults: Sequence[_Fault], *, is_new: bool, is_known: bool) -> tuple[TeacherHealth, TeacherReason]:
    if faults:
        return TeacherHealth.UNHEALTHY, faults[0][0]
    if is_new:
        return TeacherHealth.CHANGED, TeacherReason.NEW_VERSION
    if is_known:
        return TeacherHealth.HEALTHY, TeacherReason.WITHIN
    return TeacherHealth.UNKNOWN, TeacherReason.NO_REFERENCE


def _damages(
    now: TeacherPoint, known: KnownTeacher, mix: MixComparison, policy: TeacherPolicy
) -> Iterator[_Fault]:
    """The faults that name their cause come first: it is by them that a person is told what to do."""
    if known.predecessor is not None and (contradicted := _contradicted(now, known.reference, mix)):
        yield TeacherReason.CONTRADICTS, f"against the student on most of {_listed(contradicted)}"
    measured, before = now.measured, [each.measured for each in known.reference]
    floor = min(each.confidence.low for each in before) - policy.confidence_fall
    if measured.confidence.high < floor:
        yield TeacherReason.CONFIDENCE_FALLEN, f"confidence {_shown(measured.confidence)} below {floor:.4f}"
    ceiling = max(each.entropy.high for each in before) + policy.entropy_rise
    if measured.entropy.low > ceiling:
        yield TeacherReason.ENTROPY_RISEN, f"entropy {_shown(measured.entropy)} above {ceiling:.4f} nats"


def _errors(accuracy: Interval | None, labelled: Correctness, policy: TeacherPolicy) -> Iterator[_Fault]:
    if accuracy is None or accuracy.high >= policy.min_accuracy:
        return
    text = f"accuracy {_shown(accuracy)} below {policy.min_accuracy:.4f}"
    if 2 * labelled.n_out_of_scope > labelled.n_disagreements:
        of = f"{labelled.n_out_of_scope} of {labelled.n_disagreements} labelled disagreements"
        text += f" ({of} have a true label that the models do not know)"
    yield TeacherReason.ACCURACY_LOW, text


def _moves(now: TeacherPoint, mix: MixComparison, policy: TeacherPolicy) -> Iterator[_Fault]:
    if mix.is_fault(policy) and not is_cleared(now.correctness, now.agreement.estimate, policy):
        yield TeacherReason.LABELS_MOVED, _moved(mix)


def _moved(mix: MixComparison) -> str:
    text = f"labels {mix.shift:.4f} nats from their usual mix"
    if mix.n_familiar:
        text += (
            f"; those that the student knows {mix.familiar_shift:.4f} from it and {mix.familiar_gap:.4f} "
            "from the student's"
        )
    return text


def _contradicted(now: TeacherPoint, reference: Sequence[TeacherPoint], mix: MixComparison) -> list[str]:
    """List what the student contradicts on most requests, and did not before: a label, or all familiar ones.

    Labels that the student never gave are no contradiction: it was not taught them.
    """
    familiar = score_interval(mix.familiar_agreement, mix.n_familiar)
    agreements = {"all": ([each.agreement for each in reference], familiar)}
    for name, label in now.labels.items():
        before = [each.labels[name].agreement for each in reference if name in each.labels]
        if label.n >= CONTRADICTION_SAMPLES and before:
            agreements[repr(name)] = (before, label.agreement)
    return [
        f"{name} (agreement {_shown(agreement)})"
        for name, (before, agreement) in agreements.items()
        if agreement.high < 0.5 < min(each.estimate for each in before)  # noqa: PLR2004 - most of them
    ]


def _listed(contradicted: Sequence[str]) -> str:
    more = len(contradicted) - _NAMED
    return ", ".join(contradicted[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _introduced(known: KnownTeacher, text: str) -> str:
    if known.predecessor is None:
        return text
    return f"new teacher {known.version[:_SHORT]} after {known.predecessor[:_SHORT]}: {text}"


def _described(now: TeacherPoint, mix: MixComparison | None) -> str:
    text = f"confidence {_shown(now.measured.confidence)}, entropy {_shown(now.measured.entropy)} nats"
    return text if mix is None else text + _untaught(mix)


def _untaught(mix: MixComparison) -> str:
    """The labels that the student never gave, where they are more than noise of the window."""
    common = {name: share for name, share in mix.unfamiliar.items() if share >= _COMMON}
    if not common:
        return ""
    named = ", ".join(f"{name} {share:.1%}" for name, share in islice(common.items(), _NAMED))
    more = f" and {len(common) - _NAMED} more" if len(common) > _NAMED else ""
    total = math.fsum(common.values())
    return f"; {total:.1%} of the requests have labels that the student never gave: {named}{more}"


def _shown(interval: Interval) -> str:
    return f"{interval.estimate:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
