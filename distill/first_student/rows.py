"""The labelled rows of a first student."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from distill.training.archived import Logits, with_first
from distill.training.dataset import (
    LabelledSet,
    TrainingSet,
    read_labelled,
    refuse_overlap,
    training_set,
)
from distill.training.fields import LabelledFields


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledRows:
    """The rows of the three labelled files. No text of `test` is in one of the others."""

    train: LabelledSet
    validation: LabelledSet
    test: LabelledSet
    logits: Logits | None = None  #: of the teacher for `train`, (n, labels); None: it answers while training

    @property
    def soft_labels(self) -> Literal["online", "offline"]:
        """Return how the training gets the teacher's answers."""
        return "online" if self.logits is None else "offline"

    @property
    def training(self) -> TrainingSet:
        """The rows to train on."""
        found = training_set(self.train, (), self.test)
        return found if self.logits is None else replace(found, known_logits=with_first(self.logits, None))

    @property
    def sha256(self) -> dict[str, str]:
        """The SHA-256 of each file, by its role."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {role: rows.sha256 for role, rows in named.items()}


def read_rows(
    *, train: Path, validation: Path, test: Path, labels: Sequence[str], fields: LabelledFields
) -> LabelledRows:
    """Read the files of a first student.

    Raises:
        DatasetUnreadableError, DatasetRowError, DatasetEmptyError, DatasetOverlapError: a file is missing or
            not usable; the error names it.
    """
    train_rows, validation_rows, test_rows = (
        read_labelled(path, labels, fields) for path in (train, validation, test)
    )
    refuse_overlap(train_rows, test_rows, role="train")
    refuse_overlap(validation_rows, test_rows, role="validation")  # whose temperature the test rows judge
    return LabelledRows(train=train_rows, validation=validation_rows, test=test_rows)
