"""Whether a teacher can be believed: a cycle's numbers of it against those of its reference cycles."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scipy.special import chdtri

from db.records import Correctness, Interval, KnownTeacher, TeacherPoint
from db.states import LabelOutcome, TeacherHealth, TeacherReason
from triggers.correctness import pooled, share
from triggers.observed import LABEL_SAMPLES
from triggers.settings import TeacherPolicy

#: Noise alone exceeds the allowance for it in this share of cycles, as with one end of a 95% interval.
_TAIL: Final = 0.025
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
    label_shift: float | None  #: its mix of labels from its reference's, in nats of JS; None without one
    reference_version: str | None  #: of the teacher whose cycles it was held against

    @property
    def is_fault(self) -> bool:
        """Nothing is judged by this teacher."""
        return self.health is TeacherHealth.UNHEALTHY

    @property
    def is_new(self) -> bool:
        """Its own reference is not whole yet, as another teacher was there before."""
        return self.health is TeacherHealth.CHANGED


def mix_divergence(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Jensen-Shannon divergence of two mixes of labels, in nats.

    Shares by label, which sum to 1. Symmetric, in [0, ln 2]: a label that one of them lacks counts as a
    share of 0 and makes nothing infinite. NaN if one is empty.

    Source: Lin 1991, "Divergence measures based on the Shannon entropy".

    Example:
        >>> round(mix_divergence({"faq": 0.5, "checkout": 0.5}, {"faq": 1.0}), 4)
        0.2158
    """
    if not one or not other:
        return math.nan
    mixture = {label: (one.get(label, 0.0) + other.get(label, 0.0)) / 2 for label in {**one, **other}}
    terms = (
        share * math.log(share / mixture[label])
        for mix in (one, other)
        for label, share in mix.items()
        if share > 0
    )
    return min(max(math.fsum(terms) / 2, 0.0), math.log(2))


def mix_noise(n: float, m: float, labels: int) -> float:
    """What `mix_divergence` of two samples of one mix exceeds in 2.5% of cases, in nats.

    `n` and `m` are the (effective) sizes of the samples, and so many labels occur. To second order the
    divergence is (1 / n + 1 / m) / 8 times a χ² of labels - 1 degrees of freedom. 0 for one label.

    Example:
        >>> [round(mix_noise(n, 3 * n, 10), 5) for n in (500, 1_000, 10_000)]
        [0.00634, 0.00317, 0.00032]
    """
    return 0.0 if labels < 2 else float(chdtri(labels - 1, _TAIL)) / 8 * (1 / n + 1 / m)  # noqa: PLR2004


def accuracy_of(found: Correctness, agreement: float) -> Interval | None:
    """The teacher's accuracy on traffic on which it agrees with the student in so large a share.

    People are often asked where the two disagree. So the labelled requests on which they agree and those on
    which they do not count as what they are of the traffic, and each end is the sum of what the ends of both
    Wilson intervals give: together they cover 95% at least. None unless some of both are labelled.

    Source: Cochran 1977, "Sampling Techniques", section 5A.9, for the weights.

    Example:
        >>> from triggers.correctness import split
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


def judge_teacher(now: TeacherPoint, known: KnownTeacher, policy: TeacherPolicy) -> TeacherJudgement:
    """The teacher's health at a cycle with evidence enough.

    A number is out of bounds when its whole 95% interval is, seen from the far end of the reference's: the
    span of the intervals of the reference cycles. A new version is held to its predecessor's reference until
    its own is whole, unless the policy accepts it. Without any reference it is unknown, or changed if new.
    Accuracy, by the true labels of the cycle and of its newest labelled ones, needs no reference.
    """
    reference = known.reference
    is_new = known.predecessor is not None
    is_accepted = is_new and policy.accept is not None and known.version.startswith(policy.accept)
    accuracy = _accuracy(now, known)
    faults = list(_errors(accuracy, policy))
    if reference and not is_accepted:
        faults += _faults(now, known, policy)
    health, reason = _health(faults, is_new=is_new, is_known=bool(reference))
    return TeacherJudgement(
        health=health,
        reason=reason,
        detail=_introduced(known, "; ".join(text for _, text in faults) or _described(now)),
        accuracy=accuracy,
        label_shift=mix_divergence(_mix([now]), _mix(reference)) if reference else None,
        reference_version=known.reference_version,
    )


def without_evidence() -> TeacherJudgement:
    """What a cycle says that has no evidence enough."""
    return TeacherJudgement(
        health=TeacherHealth.UNKNOWN,
        reason=TeacherReason.NO_EVIDENCE,
        detail="no evidence enough",
        accuracy=None,
        label_shift=None,
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


def _accuracy(now: TeacherPoint, known: KnownTeacher) -> Interval | None:
    labelled = [*known.labelled, *([now.correctness] if now.correctness else [])]
    return accuracy_of(pooled(labelled), now.agreement.estimate)


def _errors(accuracy: Interval | None, policy: TeacherPolicy) -> Iterator[_Fault]:
    if accuracy is not None and accuracy.high < policy.min_accuracy:
        yield TeacherReason.ACCURACY_LOW, f"accuracy {_shown(accuracy)} below {policy.min_accuracy:.4f}"


def _faults(now: TeacherPoint, known: KnownTeacher, policy: TeacherPolicy) -> Iterator[_Fault]:
    measured, before = now.measured, [each.measured for each in known.reference]
    floor = min(each.confidence.low for each in before) - policy.confidence_fall
    if measured.confidence.high < floor:
        yield TeacherReason.CONFIDENCE_FALLEN, f"confidence {_shown(measured.confidence)} below {floor:.4f}"
    ceiling = max(each.entropy.high for each in before) + policy.entropy_rise
    if measured.entropy.low > ceiling:
        yield TeacherReason.ENTROPY_RISEN, f"entropy {_shown(measured.entropy)} above {ceiling:.4f} nats"
    if moved := _moved(now, known.reference, policy):
        yield TeacherReason.LABELS_MOVED, moved
    if known.predecessor is not None and (contradicted := _contradicted(now, known.reference)):
        yield TeacherReason.CONTRADICTS, f"against the student on most of {', '.join(contradicted)}"


def _moved(now: TeacherPoint, reference: Sequence[TeacherPoint], policy: TeacherPolicy) -> str | None:
    """Traffic that has changed moves the student's labels along; a broken teacher moves alone."""
    mix, usual = _mix([now]), _mix(reference)
    n, labels = now.measured.n_effective, len({**mix, **usual})
    shift, gap = mix_divergence(mix, usual), now.measured.label_gap
    surely_moved = shift - mix_noise(n, sum(each.measured.n_effective for each in reference), labels)
    surely_apart = gap - mix_noise(n, n, labels)
    if surely_moved <= policy.label_shift and min(surely_moved, surely_apart) <= policy.label_gap:
        return None
    return f"labels {shift:.4f} nats from their usual mix, {gap:.4f} from the student's"


def _contradicted(now: TeacherPoint, reference: Sequence[TeacherPoint]) -> list[str]:
    """All requests, or those of a label, to most of which the student answers otherwise; as it did not to
    the teacher before.
    """
    agreements = {"all": ([each.agreement for each in reference], now.agreement)}
    for name, label in now.labels.items():
        before = [each.labels[name].agreement for each in reference if name in each.labels]
        if label.n >= LABEL_SAMPLES and before:
            agreements[repr(name)] = (before, label.agreement)
    return [
        f"{name} (agreement {_shown(agreement)})"
        for name, (before, agreement) in agreements.items()
        if agreement.high < 0.5 < min(each.estimate for each in before)  # noqa: PLR2004 - most of them
    ]


def _mix(points: Sequence[TeacherPoint]) -> dict[str, float]:
    """The share of each label, in the mean over the cycles."""
    labels = {name: None for point in points for name in point.labels}
    return {
        name: math.fsum(point.labels[name].share for point in points if name in point.labels) / len(points)
        for name in labels
    }


def _introduced(known: KnownTeacher, text: str) -> str:
    if known.predecessor is None:
        return text
    return f"new teacher {known.version[:_SHORT]} after {known.predecessor[:_SHORT]}: {text}"


def _described(now: TeacherPoint) -> str:
    return f"confidence {_shown(now.measured.confidence)}, entropy {_shown(now.measured.entropy)} nats"


def _shown(interval: Interval) -> str:
    return f"{interval.estimate:.4f} [{interval.low:.4f}, {interval.high:.4f}]"
