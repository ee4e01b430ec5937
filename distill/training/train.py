"""Training a student on its teacher and on labels, or a model on labels alone."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from statistics import fmean
from typing import Final

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from distill.training.batches import TokenRows
from distill.training.checkpoint import Checkpoints
from distill.training.dataset import LabelledSet, TrainingSet
from distill.training.loop import NoRecorder, Progress, minimise
from distill.training.objective import Distillation, StepLog
from distill.training.schedule import Schedule
from monitor.scoring.batches import score
from monitor.scoring.models import Model, match_labels
from monitor.stop import Stopped, StoppedError

_TOKENS_PER_BATCH: Final = 4_096


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The quality of a student after an epoch, on rows that are not used for training."""

    accuracy: float  #: share in [0, 1] of rows with the right top-1 label
    agreement: float  #: share in [0, 1] of rows with the teacher's top-1 label


@dataclass(frozen=True, kw_only=True)
class EpochLog:
    """One epoch: the means over its steps, while the weights change, and the validation after it."""

    loss: float  #: see `job_loss`
    kl: float  #: mean over all rows of KL(p_teacher^T || p_student^T), nats, without weights and T² factor
    ce: float  #: mean cross-entropy of the labelled rows, nats, without weights
    kl_gradient_share: float  #: share in [0, 1] of the KL term in both terms' gradient norms at the logits
    validation: Validation | None  #: None without a validation set


@dataclass(frozen=True, kw_only=True)
class TrainingLog:
    """The log of a distillation."""

    steps: int
    epochs: tuple[EpochLog, ...]


def train(
    student: Model,
    teacher: Model,
    data: TrainingSet,
    schedule: Schedule,
    *,
    alpha: float | Decimal,
    temperature: float,
    stopped: Stopped,
    progress: Progress,
    validation: LabelledSet | None = None,
    checkpoints: Checkpoints | None = None,
) -> TrainingLog:
    """Minimise the `job_loss` of the data by changing the student's weights in place.

    `labels` of data and validation are indices into the teacher's labels; the student's are matched
    by name. `minimise` describes the loop, `Distillation` the source of the soft labels. `student.version`
    still names the weights that the training started from. The training resumes from the last of
    `checkpoints`, and ends with the same weights and the same log as without an interruption.

    Raises:
        ModelError: the two models have different labels.
        AlphaError, TemperatureError: out of range.
        StoppedError, TrainingDivergedError: as for `minimise`; the student is half-trained then.
    """
    objective = Distillation(student, teacher, data, alpha=alpha, temperature=temperature)
    recorder = _EpochRecorder(objective, _validator(student, teacher, validation, stopped))
    with _interruptible(teacher, student, stopped):
        steps = minimise(
            student.network,
            objective.loss,
            objective.lengths,
            schedule,
            stopped=stopped,
            progress=progress,
            recorder=recorder,
            checkpoints=checkpoints,
        )
    return TrainingLog(steps=steps, epochs=tuple(recorder.epochs))


def fit(
    model: Model,
    data: LabelledSet,
    schedule: Schedule,
    *,
    stopped: Stopped,
    progress: Progress,
) -> None:
    """Train a model, such as a teacher, on labels alone by changing its weights in place.

    `data.labels` are indices into the model's own labels. Everything else, errors included, is as for
    `minimise`.
    """
    tokens = TokenRows(model, data.texts)
    labels = torch.from_numpy(data.labels).to(model.placement.device)

    def loss(rows: Tensor) -> Tensor:
        return functional.cross_entropy(model.logits(tokens.padded(rows)), labels[rows])

    minimise(
        model.network,
        loss,
        tokens.lengths,
        schedule,
        stopped=stopped,
        progress=progress,
        recorder=NoRecorder(),
        checkpoints=None,
    )


@dataclass(frozen=True, kw_only=True)
class _DumpedLog:
    epochs: tuple[EpochLog, ...]
    steps: tuple[StepLog, ...]  #: of the current epoch


class _EpochRecorder:
    """Logs each epoch from the logs of its steps."""

    def __init__(self, objective: Distillation, validate: Callable[[], Validation | None]) -> None:
        self._objective = objective
        self._validate = validate
        self.epochs: list[EpochLog] = []

    def end_epoch(self) -> None:
        validation = self._validate()
        self.epochs.append(_epoch_log(self._objective.logs, validation))
        self._objective.logs = []

    def dump(self) -> str:
        dumped = _DumpedLog(epochs=tuple(self.epochs), steps=tuple(self._objective.logs))
        return json.dumps(asdict(dumped))

    def restore(self, text: str) -> None:
        dumped = msgspec.convert(json.loads(text), type=_DumpedLog)
        self.epochs, self._objective.logs = [*dumped.epochs], [*dumped.steps]


def _epoch_log(steps: Sequence[StepLog], validation: Validation | None) -> EpochLog:
    return EpochLog(
        loss=fmean(step.loss for step in steps),
        kl=fmean(step.kl for step in steps),
        ce=fmean(step.ce for step in steps),
        kl_gradient_share=fmean(step.kl_gradient_share for step in steps),
        validation=validation,
    )


@contextmanager
def _interruptible(teacher: Model, student: Model, stopped: Stopped) -> Iterator[None]:
    """Ask `stopped` before each layer: a forward pass of a large batch takes longer than a stop may."""

    def poll(*_: object) -> None:
        if stopped():
            raise StoppedError

    modules = (*teacher.network.modules(), *student.network.modules())
    hooks = [module.register_forward_pre_hook(poll) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _validator(
    student: Model, teacher: Model, rows: LabelledSet | None, stopped: Stopped
) -> Callable[[], Validation | None]:
    """Return a function that validates the student's current weights; the teacher is scored only once."""
    if rows is None:
        return lambda: None
    columns = match_labels(teacher, student)
    teacher_labels = _logits(teacher, rows, stopped).argmax(axis=1)

    def validate() -> Validation:
        student_labels = _logits(student, rows, stopped)[:, columns].argmax(axis=1)
        return Validation(
            accuracy=float(np.mean(student_labels == rows.labels)),
            agreement=float(np.mean(student_labels == teacher_labels)),
        )

    return validate


def _logits(model: Model, rows: LabelledSet, stopped: Stopped) -> NDArray[np.float32]:
    return score(
        model, rows.texts, tokens_per_batch=_TOKENS_PER_BATCH, stopped=stopped, progress=lambda _: None
    )
