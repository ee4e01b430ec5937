"""The ranking of slices by excess disagreement, with a false discovery rate.

Excess disagreement is the weighted relative accuracy of subgroup discovery. Sources: Klösgen 1996, "Explora:
a multipattern and multistrategy discovery assistant"; Lavrač, Flach, Zupan 1999, "Rule evaluation measures: a
unifying view"; Lavrač, Kavšek, Flach, Todorovski 2004, "Subgroup discovery with CN2-SD" (slices that others
explain); Berger 1982, "Multiparameter hypothesis testing and acceptance sampling" (both tests at once).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from db.records import Slice
from db.states import SliceKind
from monitor.slices.counting import Counted, count
from monitor.slices.exact_test import Numbers, false_discovery
from monitor.slices.families import Family
from monitor.slices.texts import Texts

#: Slices with a larger q-value are not reported.
FALSE_DISCOVERY_RATE: Final = 0.05
#: A slice is folded into stronger ones if they leave it less than this share of its excess.
MIN_OWN_SHARE: Final = 0.5
#: The most slices that are reported.
MOST: Final = 20
_MOST_ALSO: Final = 5
#: A folded slice is named if it has at least this share of the other's rate.
_SIMILAR_RATE: Final = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class _Tested:
    """A family that was counted and tested; arrays are (slices,)."""

    family: Family
    now: Counted
    then: Counted | None
    p_values: Numbers
    q_values: Numbers
    q_moved: Numbers | None


def rank(families: Sequence[Family], now: Texts, then: Texts | None = None) -> tuple[Slice, ...]:
    """Return the slices that disagree more often than the others, by their growth since the reference.

    Without the reference `then`, the order is that of their excess now. The false discovery rate holds for
    all families together. A slice whose disagreements stronger slices of its family explain is folded into
    one of them, and a range of lengths that the labels before it explain is left out. At most `MOST` slices
    are returned.

    Example:
        >>> from monitor.slices.families import by_label
        >>> from monitor.slices.texts import distinct_texts
        >>> teacher = np.repeat([0, 1], [60, 30])
        >>> student = np.where(np.arange(90) < 80, teacher, 0)
        >>> texts = distinct_texts([f"text {i}" for i in range(90)], teacher, student, np.ones(90))
        >>> (found,) = rank([by_label(texts, ["faq", "refund"])], texts)
        >>> found.name, round(found.now.excess, 3), found.part, found.q_value < 0.001
        ('refund', 0.074, 1.0, True)
    """
    n_disagreeing = float(now.shares[now.disagrees].sum())
    if not n_disagreeing:
        return ()
    found: list[Slice] = []
    in_labels = np.zeros(now.shares.size, dtype=bool)
    for tested in _tested(families, now, then):
        is_length = tested.family.kind is SliceKind.LENGTH
        kept = _folded(tested, now, in_labels if is_length else np.zeros_like(in_labels))
        found += (_slice(tested, now, at, also, n_disagreeing) for at, also in kept)
        if tested.family.kind is SliceKind.LABEL:
            in_labels[np.concatenate([[], *(tested.now.rows(at) for at, _ in kept)]).astype(np.intp)] = True
    return tuple(sorted(found, key=lambda each: (-each.growth, each.kind, each.name))[:MOST])


def _tested(families: Sequence[Family], now: Texts, then: Texts | None) -> list[_Tested]:
    counted = [count(family, now) for family in families]
    before = [None if then is None else count(family, then) for family in families]
    p_values = [each.more_than_others() for each in counted]
    q_values = _corrected(p_values)
    q_moved = _corrected(
        [
            p if old is None else np.maximum(p, each.more_than(old))
            for p, each, old in zip(p_values, counted, before, strict=True)
        ]
    )
    return [
        _Tested(
            family=family,
            now=counted[at],
            then=before[at],
            p_values=p_values[at],
            q_values=q_values[at],
            q_moved=None if then is None else q_moved[at],
        )
        for at, family in enumerate(families)
    ]


def _corrected(p_values: Sequence[Numbers]) -> list[Numbers]:
    """Return the q-values of all families together."""
    if not p_values:
        return []
    ends = np.cumsum([each.size for each in p_values])
    return np.split(false_discovery(np.concatenate(p_values)), ends[:-1])


def _folded(tested: _Tested, texts: Texts, taken: NDArray[np.bool_]) -> list[tuple[int, list[int]]]:
    """Return the slices that stronger ones do not explain, each with those that are folded into it.

    A slice is explained if its texts outside the stronger slices, and outside those that are `taken`, have
    less than `MIN_OWN_SHARE` of its excess. It is folded into the slice with which it shares most
    disagreements.
    """
    now, then = tested.now, tested.then
    growth = now.excess - (then.excess if then else 0.0)
    found = np.flatnonzero((tested.q_values <= FALSE_DISCOVERY_RATE) & (now.excess > 0)).tolist()
    kept: list[tuple[int, list[int]]] = []
    of_slice = np.full(texts.shares.size, -1)  #: the slice that a text belongs to first
    excess = texts.shares * (now.event - now.overall)
    for at in sorted(found, key=lambda at: (-growth[at], tested.family.names[at])):
        rows = now.rows(at)
        own = rows[(of_slice[rows] < 0) & ~taken[rows]]
        if excess[own].sum() >= MIN_OWN_SHARE * now.excess[at]:
            of_slice[own] = len(kept)
            kept.append((at, []))
        elif (shared := rows[(of_slice[rows] >= 0) & now.event[rows]]).size:
            most = np.bincount(of_slice[shared], texts.shares[shared]).argmax()
            kept[int(most)][1].append(at)
    return kept


def _slice(tested: _Tested, texts: Texts, at: int, also: Sequence[int], n_disagreeing: float) -> Slice:
    family, now, then = tested.family, tested.now, tested.then
    rows = now.rows(at)
    similar = [each for each in also if now.rate[each] >= _SIMILAR_RATE * now.rate[at]]
    similar.sort(key=lambda each: (-now.rate[each], family.names[each]))
    return Slice(
        kind=family.kind,
        name=family.names[at],
        student_label=family.student_label,
        n=int(texts.counts[rows].sum()),
        n_texts=rows.size,
        n_disagreements=int(texts.counts[rows][now.event[rows]].sum()),
        now=now.numbers(at),
        part=float(now.rate[at] * now.share[at]) / n_disagreeing,
        p_value=float(tested.p_values[at]),
        q_value=float(tested.q_values[at]),
        reference=then.numbers(at) if then else None,
        q_moved=None if tested.q_moved is None else float(tested.q_moved[at]),
        also=tuple(family.names[each] for each in similar[:_MOST_ALSO]),
    )
