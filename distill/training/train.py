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

from db.records import TrainedEpoch
from distill.training.adamw import TakenStep
from distill.training.batches import TokenRows
from distill.training.checkpoint import Checkpoints
from distill.training.dataset import LabelledSet, TrainingSet
from distill.training.loop import NoRecorder, Progress, minimise
from distill.training.objective import Distillation
from distill.training.schedule import Schedule
from distill.training.steps import TrainingStep, dumped, logged, restored, summarised
from monitor.scoring.batches import score
from monitor.scoring.models import Model, match_labels
from monitor.stop import Stopped, StoppedError

_TOKENS_PER_BATCH: Final = 4_096
#: The gradients over the weights take two backward passes, so that they are measured now and then.
_STEPS_PER_WEIGHTS: Final = 50


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
    history: tuple[TrainingStep, ...] = ()  #: step by step; it is stored beside the candidate

    @property
    def trained_epochs(self) -> tuple[TrainedEpoch, ...]:
        """The epochs as they are stored in SQL."""
        return tuple(
            summarised(
                [step for step in self.history if step.epoch == number],
                accuracy=None if epoch.validation is None else epoch.validation.accuracy,
                agreement=None if epoch.validation is None else epoch.validation.agreement,
            )
            for number, epoch in enumerate(self.epochs, start=1)
        )


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
    recorder = _TrainingRecorder(objective, _validator(student, teacher, validation, stopped))
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
    return TrainingLog(steps=steps, epochs=tuple(recorder.epochs), history=tuple(recorder.history))


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
    history: tuple[tuple[object, ...], ...]


class _TrainingRecorder:
    """Logs each step and each epoch."""

    def __init__(self, objective: Distillation, validate: Callable[[], Validation | None]) -> None:
        self._objective = objective
        self._validate = validate
        self.epochs: list[EpochLog] = []
        self.history: list[TrainingStep] = []
        self._choose_measurement()

    def end_step(self, taken: TakenStep) -> None:
        parts = self._objective.logs.pop()
        self.history.append(logged(taken, parts, epoch=len(self.epochs) + 1))
        self._choose_measurement()

    def end_epoch(self) -> None:
        validation = self._validate()
        number = len(self.epochs) + 1
        steps = [step for step in self.history if step.epoch == number]
        self.epochs.append(_epoch_log(steps, validation))

    def dump(self) -> str:
        dumped_steps = dumped(self.history)
        return json.dumps({"epochs": [asdict(epoch) for epoch in self.epochs], "history": dumped_steps})

    def restore(self, text: str) -> None:
        found = msgspec.convert(json.loads(text), type=_DumpedLog)
        self.epochs, self.history = [*found.epochs], restored(found.history)
        self._choose_measurement()

    def _choose_measurement(self) -> None:
        self._objective.over_weights = len(self.history) % _STEPS_PER_WEIGHTS == 0


def _epoch_log(steps: Sequence[TrainingStep], validation: Validation | None) -> EpochLog:
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
