"""The mix of labels that a teacher gives: against its usual mix, and against the student's.

A mix moves because traffic moves, because the student does not know what is asked, or because the teacher is
damaged. Labels that the student has never given tell the second from the third: on them the two models differ
by construction, so the comparison with the student is made on the other labels, the *familiar* ones.
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

#: Noise alone exceeds the allowance for it in this share of cycles, as with one end of a 95% interval.
_TAIL: Final = 0.025
#: A label is familiar when the student surely gives it to this share of the requests that the teacher does.
_FAMILIAR: Final = 0.5

Mix = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class MixComparison:
    """A cycle's mix of labels against its reference's and the student's. Divergences are JS in nats."""

    shift: float  #: of all labels, from the reference
    sure_shift: float  #: the same, less what noise explains
    unfamiliar: Mix  #: shares of the window with labels that the student never gave, the largest first
    familiar_shift: float  #: of the familiar labels; NaN where no request has one
    familiar_gap: float  #: of the familiar labels, from the student's mix on the same requests; or NaN
    sure_familiar_shift: float  #: the same two, less what noise explains
    sure_familiar_gap: float
    familiar_agreement: (
        float  #: share of the requests with a familiar label that the student gives it to; or NaN
    )
    n_familiar: float  #: effective number of requests with a familiar label

    @property
    def familiar_share(self) -> float:
        """The share of the window's requests with a familiar label, in [0, 1]."""
        return 1 - math.fsum(self.unfamiliar.values())

    @property
    def stored(self) -> MixShift:
        """The numbers that are stored with the cycle."""
        return MixShift(
            label_shift=self.shift,
            familiar_share=self.familiar_share,
            familiar_shift=None if math.isnan(self.familiar_shift) else self.familiar_shift,
            familiar_gap=None if math.isnan(self.familiar_gap) else self.familiar_gap,
        )

    def is_fault(self, policy: TeacherPolicy) -> bool:
        """Return whether the teacher moved the mix, and neither traffic nor an untaught student did.

        A fault is a shift beyond `label_shift`, of all labels or of the familiar ones, or a shift and a gap
        of the familiar ones that are both beyond `label_gap`. NaN is beyond nothing.
        """
        alone = self.sure_shift > policy.label_shift or self.sure_familiar_shift > policy.label_shift
        apart = self.sure_familiar_shift > policy.label_gap and self.sure_familiar_gap > policy.label_gap
        return alone or apart


def mix_divergence(one: Mix, other: Mix) -> float:
    """Return the Jensen-Shannon divergence of two mixes of labels, in nats.

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
    """Return what `mix_divergence` of two samples of one mix exceeds in 2.5% of cases, in nats.

    `n` and `m` are the (effective) sizes of the samples, and so many labels occur. To second order the
    divergence is (1 / n + 1 / m) / 8 times a χ² of labels - 1 degrees of freedom. 0 for one label.

    Example:
        >>> [round(mix_noise(n, 3 * n, 10), 5) for n in (500, 1_000, 10_000)]
        [0.00634, 0.00317, 0.00032]
    """
    return 0.0 if labels < 2 else float(chdtri(labels - 1, _TAIL)) / 8 * (1 / n + 1 / m)  # noqa: PLR2004


def familiar_labels(reference: Sequence[TeacherPoint]) -> frozenset[str]:
    """Return the labels that the student is known to give.

    In the reference cycles, taken together, it surely agreed with the teacher on at least half of the
    requests of such a label (by the lower end of Wilson's interval). A label of fewer than four requests is
    not familiar.
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
    """The shares of a part of the window as those of a whole one."""
    total = math.fsum(mix.values())
    return {name: share / total for name, share in mix.items()}


def _students(confusion: Mapping[tuple[str, str], float], labels: Collection[str]) -> Mix:
    """The student's mix on the requests to which the teacher gives one of the labels."""
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
