"""The slices of a scored sample, and examples of their requests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from db.records import Slice
from db.states import SliceKind
from monitor.archive.sample import ScoredSample
from monitor.slices.families import by_confusion, by_label, by_length, by_word
from monitor.slices.ranking import rank
from monitor.slices.texts import Texts, distinct_texts
from monitor.slices.words import words_of


def texts_of(sample: ScoredSample) -> Texts:
    """Return the distinct texts of a sample."""
    return distinct_texts(
        [request.text for request in sample.requests],
        sample.teacher_logits.argmax(axis=1),
        sample.student_logits.argmax(axis=1),
        sample.strata.weights,
    )


def ranked(now: Texts, labels: Sequence[str], then: Texts | None) -> tuple[Slice, ...]:
    """Return the slices by label, confusion and length, which contain no words of requests."""
    return rank([by_label(now, labels), *by_confusion(now, labels), by_length(now)], now, then)


def ranked_words(now: Texts, then: Texts | None) -> tuple[Slice, ...]:
    """Return the slices by word, at a false discovery rate of their own."""
    return rank([by_word(now)], now, then)


def disagreements_in(found: Slice, now: Texts, labels: Sequence[str]) -> NDArray[np.intp]:
    """Return the texts of a slice on which the models disagree, in the random order of the sample."""
    rows = np.flatnonzero(now.disagrees)
    if found.kind is SliceKind.WORD:
        is_in = np.array([found.name in words_of(now.texts[row]) for row in rows.tolist()], dtype=bool)
    elif found.kind is SliceKind.LENGTH:
        family = by_length(now)
        is_in = family.members(now).toarray()[rows, family.names.index(found.name)] > 0
    else:
        is_in = now.teacher[rows] == labels.index(found.name)
        if found.student_label is not None:
            is_in &= now.student[rows] == labels.index(found.student_label)
    return np.asarray(rows[is_in])
