"""The distinct texts of a sample, with the answers of both models."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Texts:
    """Distinct texts, each with its requests and the top-1 labels of both models.

    A text with several answers counts once for each: recorded answers may differ, and two texts may be equal
    after their redaction. All arrays are (texts,).
    """

    texts: tuple[str, ...]  #: as archived; empty if only the rest is needed
    lengths: NDArray[np.intp]  #: in characters
    teacher: NDArray[np.intp]  #: the index of the teacher's label
    student: NDArray[np.intp]  #: the index of the student's label
    counts: NDArray[np.intp]  #: sampled requests
    shares: NDArray[np.float64]  #: share of the window's requests; the sum is 1
    weights: NDArray[np.float64]  #: mean weight of its requests; 1 on average in a uniform sample

    @property
    def disagrees(self) -> NDArray[np.bool_]:
        """Return whether the two models answer differently."""
        return np.asarray(self.teacher != self.student)

    def without_words(self) -> "Texts":
        """Return the same, except the texts themselves, for families that do not read them."""
        return replace(self, texts=())


def distinct_texts(
    texts: Sequence[str],
    teacher: NDArray[np.intp],
    student: NDArray[np.intp],
    weights: NDArray[np.float64],
) -> Texts:
    """Return the distinct texts of a sample, in the order in which they first occur.

    Args:
        texts: (n,) the text of each request.
        teacher: (n,) the index of the teacher's top-1 label.
        student: (n,) the index of the student's top-1 label.
        weights: (n,) the weight of each request in the window (`Strata.weights`).

    Example:
        >>> labels, ones = np.array([0, 0, 1]), np.ones(3)
        >>> found = distinct_texts(["hi", "hi", "bye"], labels, np.array([0, 0, 0]), ones)
        >>> found.texts, found.counts.tolist(), found.shares.round(3).tolist(), found.disagrees.tolist()
        (('hi', 'bye'), [2, 1], [0.667, 0.333], [False, True])
    """
    numbers: dict[tuple[str, int, int], int] = {}
    of = np.fromiter(
        (
            numbers.setdefault(key, len(numbers))
            for key in zip(texts, teacher.tolist(), student.tolist(), strict=True)
        ),
        dtype=np.intp,
        count=len(texts),
    )
    counts = np.bincount(of, minlength=len(numbers))
    totals = np.bincount(of, weights, minlength=len(numbers)).astype(np.float64)
    return Texts(
        texts=tuple(text for text, _, _ in numbers),
        lengths=np.array([len(text) for text, _, _ in numbers], dtype=np.intp),
        teacher=np.array([label for _, label, _ in numbers], dtype=np.intp),
        student=np.array([label for _, _, label in numbers], dtype=np.intp),
        counts=counts,
        shares=totals / totals.sum() if totals.size else totals,
        weights=totals / counts,
    )
