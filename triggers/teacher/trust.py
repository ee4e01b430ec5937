"""Teacher health: the teacher's numbers in a cycle against those of its reference cycles."""

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

#: A label needs at least this many requests for a contradiction.
CONTRADICTION_SAMPLES: Final = 25
#: A label that the student has never given is named from this share of the window on, at most _NAMED labels.
_COMMON: Final = 0.01
_NAMED: Final = 3
_SHORT: Final = 12
_AGREEING: Final = frozenset({LabelOutcome.BOTH_RIGHT, LabelOutcome.SAME_ERROR})

_Fault = tuple[TeacherReason, str]


@dataclass(frozen=True, kw_only=True)
class TeacherJudgement:
    """The health of the teacher at a cycle, with the reason and the numbers in one line."""

    health: TeacherHealth
    reason: TeacherReason
    detail: str
    accuracy: Interval | None  #: on the window's traffic, by true labels; None: too few labels
    mix: MixShift | None  #: of its labels from the reference; None without a reference
    reference_version: str | None  #: the teacher whose cycles are the reference

    @property
    def is_fault(self) -> bool:
        """Return whether the teacher is unhealthy, so that no verdict is given."""
        return self.health is TeacherHealth.UNHEALTHY

    @property
    def is_new(self) -> bool:
        """Return whether the teacher replaced another one, and its own reference is not complete."""
        return self.health is TeacherHealth.CHANGED


def accuracy_of(found: Correctness, agreement: float) -> Interval | None:
    """Return the teacher's accuracy on traffic with the given agreement.

    Disagreements are often labelled more than other requests. So labelled agreements and labelled
    disagreements are weighted by their shares of the traffic, and each end is the weighted sum of the ends of
    the two Wilson intervals: the result covers at least 95%. None unless some of both are labelled.

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
    """Return whether a cycle's true labels confirm its teacher, by the low end of its accuracy."""
    accuracy = None if found is None else accuracy_of(found, agreement)
    return accuracy is not None and accuracy.low >= policy.min_accuracy


def judge_teacher(now: TeacherPoint, known: KnownTeacher, policy: TeacherPolicy) -> TeacherJudgement:
    """Return the teacher's health at a cycle with enough requests for a verdict.

    A number is out of bounds if its whole 95% interval is, measured from the far end of the span of the
    reference cycles' intervals. A new version is compared with its predecessor's reference until its own is
    complete, unless the policy accepts it. Without any reference the teacher is unknown, or changed if new.
    Accuracy, by the true labels of the cycle and of the newest labelled cycles, needs no reference. True
    labels of the cycle itself that confirm the teacher (the whole interval of its accuracy is at
    `min_accuracy` or above) overrule its label mix; labels of earlier cycles do not rule out damage since.
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
    """Return the teacher judgement of a cycle without enough requests for a verdict."""
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
    """Yield the faults of the teacher itself; those that name a cause come first, as they set the advice."""
    if known.predecessor is not None and (contradicted := _contradicted(now, known.reference, mix)):
        text = f"contradicts the student on most requests of {_listed(contradicted)}"
        yield TeacherReason.CONTRADICTS, text
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
        text += f" ({of} have a true label that the models do not have)"
    yield TeacherReason.ACCURACY_LOW, text


def _moves(now: TeacherPoint, mix: MixComparison, policy: TeacherPolicy) -> Iterator[_Fault]:
    if mix.is_fault(policy) and not is_cleared(now.correctness, now.agreement.estimate, policy):
        yield TeacherReason.LABELS_MOVED, _moved(mix, policy)


def _moved(mix: MixComparison, policy: TeacherPolicy) -> str:
    text = f"label mix {mix.shift:.4f} nats from the reference"
    if mix.n_familiar:
        text += (
            f"; familiar labels {mix.familiar_shift:.4f} nats from the reference and "
            f"{mix.familiar_gap:.4f} nats from the student's"
        )
    return f"{text} (label_shift {policy.label_shift}, label_gap {policy.label_gap})"


def _contradicted(now: TeacherPoint, reference: Sequence[TeacherPoint], mix: MixComparison) -> list[str]:
    """List the labels on most of whose requests the teacher contradicts the student, and did not before.

    Labels that the student has never given are not a contradiction: it was not taught them.
    """
    familiar = score_interval(mix.familiar_agreement, mix.n_familiar)
    agreements = {"all familiar labels": ([each.agreement for each in reference], familiar)}
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
    """Describe the labels that the student has never given, where they are more than noise."""
    common = {name: share for name, share in mix.unfamiliar.items() if share >= _COMMON}
    if not common:
        return ""
    named = ", ".join(f"{name} {share:.1%}" for name, share in islice(common.items(), _NAMED))
    more = f" and {len(common) - _NAMED} more" if len(common) > _NAMED else ""
    total = math.fsum(common.values())
    return f"; {total:.1%} of the requests have labels that the student has never given: {named}{more}"


def _shown(interval: Interval) -> str:
    return f"{interval.estimate:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
