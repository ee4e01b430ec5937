"""A classifier that is ready to score, and how its labels are matched with those of another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from db.errors import RedistillError
from monitor.labels.spelling import alike
from monitor.scoring.placement import ON_CPU, Placement


class ModelError(RedistillError):
    """The model {model} cannot be used: {problem}."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A classifier that is ready to score, with weights in float32 and in evaluation mode."""

    version: str  #: the fingerprint of its directory
    labels: tuple[str, ...]  #: one per logit, in the model's own order
    tokenizer: PreTrainedTokenizerBase
    network: PreTrainedModel  #: its last layer computes only the first token, if that suffices
    max_length: int  #: tokens, including special ones; longer texts are truncated
    placement: Placement = ON_CPU

    def logits(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return logits (rows, labels) in float32, on the model's device."""
        return self.placement.forward(self.network, inputs)


def match_labels(teacher: Model, student: Model) -> NDArray[np.intp]:
    """Return the index of each of the teacher's labels among the student's, matched by name.

    `student_logits[:, match_labels(teacher, student)]` are in the teacher's order.

    Raises:
        ModelError: only one of the models has a certain label.
    """
    for one, other, names in ((student, teacher, "the teacher"), (teacher, student, "the student")):
        lacking = [label for label in other.labels if label not in one.labels]
        if lacking:
            problem = f"it lacks {lacking[0]!r}, a label of {names}{_instead(lacking[0], one.labels)}"
            raise ModelError(model=one.version[:12], problem=problem)
    return np.array([student.labels.index(label) for label in teacher.labels], dtype=np.intp)


def _instead(lacking: str, labels: Sequence[str]) -> str:
    """Return what to do about a label that a model lacks, or has in another spelling."""
    meant = alike(lacking, labels)
    if meant is None:
        return "; both must know the same labels"
    return f", and has {meant!r}; labels are compared letter by letter, so rename one in id2label"


def is_failure(error: BaseException) -> bool:
    """Return whether an error is a failure of foreign code, not a request to end or an error of this code.

    A panic of Rust code, such as the tokenizers', is a BaseException of a class that cannot be imported.
    """
    if isinstance(error, RedistillError):
        return False
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def in_a_line(error: BaseException) -> str:
    """Return an error's class and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {' '.join(lines[:1])}".rstrip(": .")
