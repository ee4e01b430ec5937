"""The mix of labels that a teacher gives, compared with its reference and with the student's mix.

The mix moves because the traffic moves, because requests have labels that the student was not taught, or
because the teacher is damaged. On labels that the student has never given, the two models differ by
construction, so the comparison with the student uses only the other, *familiar* labels.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scipy.special import chdtri

from db.records import MixShift, TeacherPoint
from triggers.settings import TeacherPolicy
from triggers.wilson import score_interval

#: The share of cycles in which noise alone exceeds its allowance: one tail of a 95% interval.
_TAIL: Final = 0.025
#: A label is familiar if the lower end of its agreement's interval is at least this.
_FAMILIAR: Final = 0.5

Mix = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class MixComparison:
    """A cycle's label mix compared with the reference's and the student's; divergences are JS in nats."""

    shift: float  #: of all labels, from the reference
    sure_shift: float  #: `shift` less the allowance for noise
    unfamiliar: Mix  #: shares of the window by label that the student has never given, the largest first
    familiar_shift: float  #: of the familiar labels, from the reference; NaN without requests with one
    familiar_gap: float  #: of the familiar labels, from the student's mix on the same requests; or NaN
    sure_familiar_shift: float  #: `familiar_shift` less the allowance for noise
    sure_familiar_gap: float  #: `familiar_gap` less the allowance for noise
    familiar_agreement: float  #: agreement on the requests with a familiar label; or NaN
    n_familiar: float  #: effective number of requests with a familiar label

    @property
    def familiar_share(self) -> float:
        """The share of the window's requests with a familiar label, in [0, 1]."""
        return 1 - math.fsum(self.unfamiliar.values())

    @property
    def stored(self) -> MixShift:
        """The numbers to store with the cycle."""
        return MixShift(
            label_shift=self.shift,
            familiar_share=self.familiar_share,
            familiar_shift=None if math.isnan(self.familiar_shift) else self.familiar_shift,
            familiar_gap=None if math.isnan(self.familiar_gap) else self.familiar_gap,
        )

    def is_fault(self, policy: TeacherPolicy) -> bool:
        """Return whether the teacher moved the mix, rather than the traffic or labels unknown to the student.

        A fault is a shift above `label_shift`, of all labels or of the familiar ones, or a shift and a gap of
        the familiar ones that are both above `label_gap`. NaN never exceeds a bound.
        """
        alone = self.sure_shift > policy.label_shift or self.sure_familiar_shift > policy.label_shift
        apart = self.sure_familiar_shift > policy.label_gap and self.sure_familiar_gap > policy.label_gap
        return alone or apart


def mix_divergence(one: Mix, other: Mix) -> float:
    """Return the Jensen-Shannon divergence of two label mixes, in nats.

    A mix has shares by label that sum to 1. Symmetric, in [0, ln 2]: a label that is missing from one mix
    counts as a share of 0. NaN if one is empty.

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
    """Return the value that `mix_divergence` of two samples from one mix exceeds in 2.5% of cases, in nats.

    `n` and `m` are the (effective) sizes of the samples, `labels` is the number of labels that occur. To
    second order the divergence is (1 / n + 1 / m) / 8 times a χ² with labels - 1 degrees of freedom. The
    result is 0 for one label.

    Example:
        >>> [round(mix_noise(n, 3 * n, 10), 5) for n in (500, 1_000, 10_000)]
        [0.00634, 0.00317, 0.00032]
    """
    return 0.0 if labels < 2 else float(chdtri(labels - 1, _TAIL)) / 8 * (1 / n + 1 / m)  # noqa: PLR2004


def familiar_labels(reference: Sequence[TeacherPoint]) -> frozenset[str]:
    """Return the labels that the student is known to give.

    In the reference cycles together, it agreed with the teacher on at least half of the requests with such a
    label, by the lower end of Wilson's interval. A label of fewer than four requests is never familiar.
    """
    n: dict[str, int] = defaultdict(int)
    agreeing: dict[str, float] = defaultdict(float)
    for point in reference:
        for name, label in point.labels.items():
            n[name] += label.n
            agreeing[name] += label.n * label.agreement.estimate
    return frozenset(
        name for name in n if n[name] and score_interval(agreeing[name] / n[name], n[name]).low >= _FAMILIAR
    )


def compare_with_reference(now: TeacherPoint, reference: Sequence[TeacherPoint]) -> MixComparison:
    """Compare a cycle's mix of labels with that of its reference cycles, of which there is at least one."""
    n, m = now.measured.n_effective, math.fsum(each.measured.n_effective for each in reference)
    mix, usual = label_mix([now]), label_mix(reference)
    familiar = familiar_labels(reference)
    here, then = _of(mix, familiar), _of(usual, familiar)
    n_here, n_then = n * math.fsum(here.values()), m * math.fsum(then.values())
    students = _students(now.measured.confusion, familiar)
    shift = mix_divergence(mix, usual)
    familiar_shift = mix_divergence(_whole(here), _whole(then))
    familiar_gap = mix_divergence(_whole(here), _whole(students))
    return MixComparison(
        shift=shift,
        sure_shift=shift - mix_noise(n, m, len({**mix, **usual})),
        unfamiliar=dict(
            sorted(
                ((name, mix[name]) for name in mix.keys() - familiar), key=lambda each: (-each[1], each[0])
            )
        ),
        familiar_shift=familiar_shift,
        familiar_gap=familiar_gap,
        sure_familiar_shift=familiar_shift - _noise(n_here, n_then, len({**here, **then})),
        sure_familiar_gap=familiar_gap - _noise(n_here, n_here, len({**here, **students})),
        familiar_agreement=_agreement(now.measured.confusion, familiar),
        n_familiar=n_here,
    )


def label_mix(points: Sequence[TeacherPoint]) -> dict[str, float]:
    """Return the share of each label, on average over the cycles."""
    labels = {name: None for point in points for name in point.labels}
    return {
        name: math.fsum(point.labels[name].share for point in points if name in point.labels) / len(points)
        for name in labels
    }


def _of(mix: Mix, labels: Collection[str]) -> Mix:
    return {name: share for name, share in mix.items() if name in labels and share > 0}


def _whole(mix: Mix) -> Mix:
    """Rescale shares to sum to 1."""
    total = math.fsum(mix.values())
    return {name: share / total for name, share in mix.items()}


def _students(confusion: Mapping[tuple[str, str], float], labels: Collection[str]) -> Mix:
    """Return the student's mix on the requests to which the teacher gives one of the labels."""
    found: dict[str, float] = defaultdict(float)
    for (teacher, student), share in confusion.items():
        if teacher in labels:
            found[student] += share
    return found


def _agreement(confusion: Mapping[tuple[str, str], float], labels: Collection[str]) -> float:
    whole = math.fsum(share for (teacher, _), share in confusion.items() if teacher in labels)
    same = math.fsum(share for (one, other), share in confusion.items() if one in labels and one == other)
    return same / whole if whole else math.nan


def _noise(n: float, m: float, labels: int) -> float:
    return mix_noise(n, m, labels) if n and m else math.nan
