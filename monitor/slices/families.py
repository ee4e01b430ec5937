"""Families of slices: by the teacher's label, by confusion, by length, and by word.

Candidates are chosen without looking at the disagreements, so that their p-values hold.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from db.states import SliceKind
from monitor.slices.texts import Texts
from monitor.slices.words import incidence, vocabulary

#: A slice of fewer distinct texts is not tested.
MIN_TEXTS: Final = 20
#: Confusions with a label of the student are tested if it is the wrong one for at least this many texts.
MIN_WRONG: Final = 5
#: A word in a larger share of the distinct texts is not tested.
MAX_TEXTS_SHARE: Final = 0.5
_QUANTILES: Final = (0.2, 0.4, 0.6, 0.8)

Marks = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Family:
    """Slices of one kind, and the event that is counted in them."""

    kind: SliceKind
    names: tuple[str, ...]
    members: Callable[[Texts], sparse.csr_array]  #: (texts, slices), as 0 and 1
    event: Callable[[Texts], Marks]  #: the disagreements that count
    base: Callable[[Texts], Marks]  #: the texts that could have the event
    student_label: str | None = None  #: of each confusion


def by_label(now: Texts, labels: Sequence[str]) -> Family:
    """Return a slice for each label of the teacher."""
    kept = np.flatnonzero(np.bincount(now.teacher, minlength=len(labels)) >= MIN_TEXTS)
    return Family(
        kind=SliceKind.LABEL,
        names=tuple(labels[label] for label in kept.tolist()),
        members=lambda texts: _one_of(texts.teacher, kept),
        event=lambda texts: texts.disagrees,
        base=lambda texts: np.ones(texts.teacher.size, dtype=bool),
    )


def by_confusion(now: Texts, labels: Sequence[str]) -> Iterator[Family]:
    """Yield for each label of the student the slices by the teacher's other labels.

    The event is that the student gives this label. It is compared with the requests to which the teacher
    gives any third label.
    """
    frequent = np.bincount(now.teacher, minlength=len(labels)) >= MIN_TEXTS
    wrong = np.bincount(now.student[now.disagrees], minlength=len(labels))
    for student in np.flatnonzero(wrong >= MIN_WRONG).tolist():
        yield _confused_with(student, np.flatnonzero(frequent & (np.arange(len(labels)) != student)), labels)


def _confused_with(student: int, teachers: NDArray[np.intp], labels: Sequence[str]) -> Family:
    return Family(
        kind=SliceKind.CONFUSION,
        names=tuple(labels[label] for label in teachers.tolist()),
        members=lambda texts: _one_of(texts.teacher, teachers),
        event=lambda texts: (texts.student == student) & texts.disagrees,
        base=lambda texts: texts.teacher != student,
        student_label=labels[student],
    )


def by_length(now: Texts) -> Family:
    """Return slices by the number of characters, between quintiles of the distinct texts."""
    edges = sorted(set(_quantiles(now.lengths)))
    bins = np.searchsorted(edges, now.lengths)
    kept = np.flatnonzero(np.bincount(bins, minlength=len(edges) + 1) >= MIN_TEXTS)
    names = [
        *(f"{low + 1} to {high} characters" for low, high in pairwise([-1, *edges])),
        *(f"{edge + 1} or more characters" for edge in edges[-1:]),
    ]
    return Family(
        kind=SliceKind.LENGTH,
        names=tuple(names[each] for each in kept.tolist()),
        members=lambda texts: _one_of(np.searchsorted(edges, texts.lengths), kept),
        event=lambda texts: texts.disagrees,
        base=lambda texts: np.ones(texts.teacher.size, dtype=bool),
    )


def _quantiles(lengths: NDArray[np.intp]) -> list[int]:
    found = np.quantile(lengths, _QUANTILES, method="inverted_cdf") if lengths.size else np.array([0])
    return [int(each) for each in found.tolist()]


def by_word(now: Texts) -> Family:
    """Return a slice for each word that is neither rare nor in most texts."""
    words = vocabulary(now.texts, at_least=MIN_TEXTS, at_most=MAX_TEXTS_SHARE * len(now.texts))
    return Family(
        kind=SliceKind.WORD,
        names=words,
        members=lambda texts: incidence(texts.texts, words),
        event=lambda texts: texts.disagrees,
        base=lambda texts: np.ones(texts.teacher.size, dtype=bool),
    )


def _one_of(values: NDArray[np.intp], kept: NDArray[np.intp]) -> sparse.csr_array:
    """Return which of the kept values each text has, (texts, kept)."""
    columns = np.full(max(values.max(initial=0), kept.max(initial=0)) + 1, -1)
    columns[kept] = np.arange(kept.size)
    of_texts = columns[values]
    starts = np.concatenate([[0], np.cumsum(of_texts >= 0)])
    indices = of_texts[of_texts >= 0]
    return sparse.csr_array((np.ones(indices.size), indices, starts), shape=(values.size, kept.size))
