"""Archived requests as rows of a training, and the weight of their true labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distill.settings import LabelSource
from monitor.archive.sample import ScoredSample
from monitor.labels.truth import Late, known_labels
from triggers.teacher.correctness import OUT_OF_SCOPE

Logits = NDArray[np.float32]


class ArchivedRow(NamedTuple):
    """An archived request."""

    text: str
    #: The index of its true label; OUT_OF_SCOPE: not one of the models' labels; None: not known.
    label: int | None = None
    weight: float = 1.0  #: requests of its window that it represents; 1 on average
    #: The teacher's logits (labels,) for the text before it was redacted; None: the teacher is asked.
    teacher_logits: Logits | None = None


@dataclass(frozen=True, kw_only=True)
class TrafficLabels:
    """The true labels of the archived requests in a training set."""

    n: int = 0  #: requests with a label of the models
    n_out_of_scope: int = 0  #: requests left out because their label is not one of the models' labels
    source: LabelSource = "random"
    weight: float = 1.0  #: of each label in the loss: see `job_loss`


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownLogits:
    """The teacher's logits for some rows; the teacher is not asked about these."""

    rows: NDArray[np.int64]  #: (n,) indices into the rows of a data set
    logits: Logits  #: (n, labels)

    @classmethod
    def of(cls, rows: Sequence[ArchivedRow], *, first: int = 0) -> "KnownLogits | None":
        """Return those of rows of which the first one has the index `first`; None without any.

        Example:
            >>> rows = [ArchivedRow("hello"), ArchivedRow("[email]", teacher_logits=np.float32([1, 2]))]
            >>> KnownLogits.of(rows, first=10).rows.tolist()
            [11]
        """
        known = [(first + number, row.teacher_logits) for number, row in enumerate(rows)]
        found = [(row, logits) for row, logits in known if logits is not None]
        if not found:
            return None
        numbers, logits = zip(*found, strict=True)
        return cls(rows=np.array(numbers, dtype=np.int64), logits=np.stack(logits))


def with_first(first: Logits, others: KnownLogits | None) -> KnownLogits:
    """Return the logits (n, labels) of the first n rows, followed by those of others.

    Example:
        >>> with_first(np.zeros((2, 3), np.float32), None).rows.tolist()
        [0, 1]
    """
    found = KnownLogits(rows=np.arange(len(first)), logits=first)
    if others is None:
        return found
    return KnownLogits(
        rows=np.concatenate([found.rows, others.rows]), logits=np.concatenate([first, others.logits])
    )


NO_TRAFFIC_LABELS: Final = TrafficLabels()


def archived_rows(
    sample: ScoredSample, label_names: Sequence[str], late: Late | None, *, with_logits: bool = False
) -> list[ArchivedRow]:
    """Return the requests of a sample with their true labels: `late` ones, else those of the log.

    Labels are indices into `label_names`, which also give the order of logits. With None for `late`, no label
    is used. Redacted rows have the teacher's logits for the original text, and all rows do `with_logits`.
    """
    number = {name: index for index, name in enumerate(label_names)}
    names = {} if late is None else known_labels(sample, late)
    labels = {
        row: OUT_OF_SCOPE if name is None else number.get(name, OUT_OF_SCOPE) for row, name in names.items()
    }
    columns = [sample.labels.index(name) for name in label_names]
    redacted = sample.redacted or (False,) * len(sample.requests)
    weights = sample.strata.weights.tolist()
    return [
        ArchivedRow(
            text=request.text,
            label=labels.get(row),
            weight=weights[row],
            teacher_logits=sample.teacher_logits[row, columns] if with_logits or redacted[row] else None,
        )
        for row, request in enumerate(sample.requests)
    ]


def in_scope(rows: Sequence[ArchivedRow]) -> list[ArchivedRow]:
    """Return the rows without those whose true label is not one of the models' labels.

    The teacher is certainly wrong there, and no label can be taught.
    """
    return [row for row in rows if row.label != OUT_OF_SCOPE]


def is_labelled(rows: Sequence[ArchivedRow]) -> NDArray[np.bool_]:
    """Return which rows have a label, (n,)."""
    return np.array([row.label is not None for row in rows], dtype=np.bool_)


def traffic_labels(
    rows: Sequence[ArchivedRow], kept: Sequence[ArchivedRow], n_train: int, source: LabelSource
) -> TrafficLabels:
    """Describe the labels of the rows that were `kept` for training, beside `n_train` labelled ones.

    Labels drawn at random have the weight 1. Of selected ones, the weight is at most such that their share in
    the cross-entropy is their share s in the traffic: w · n = s · (w · n + n_train).

    Example:
        >>> rows = [ArchivedRow("broken again", label=1), *[ArchivedRow("hello")] * 3]
        >>> [traffic_labels(rows, rows, n_train=2, source=source).weight for source in ("random", "selected")]
        [1.0, 0.6666666666666666]
    """
    labelled = [row for row in kept if row.label is not None]
    weight = 1.0
    if source == "selected" and 0 < len(labelled) < len(kept):
        theirs, everything = (sum(row.weight for row in each) for each in (labelled, kept))
        weight = min(1.0, theirs / (everything - theirs) * n_train / len(labelled))
    return TrafficLabels(
        n=len(labelled), n_out_of_scope=len(rows) - len(in_scope(rows)), source=source, weight=weight
    )
