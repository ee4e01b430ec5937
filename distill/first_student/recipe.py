"""The recipe of a student: its start, its loss and its schedule."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Self

from distill.training.checkpoint import Checkpoints
from distill.training.dataset import LabelledSet, TrainingSet
from distill.training.loop import Progress
from distill.training.schedule import Schedule
from distill.training.start import load_start
from distill.training.train import TrainingLog, train
from monitor.scoring.models import Model
from monitor.stop import Stopped

#: Returns the checkpoints of a training, by its start.
CheckpointsOf = Callable[[Model], Checkpoints | None]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides on a student's weights, besides its teacher and the rows."""

    init: Path  #: a model directory: see `load_start`
    layers: int | None  #: of that model that the student has; None: all
    alpha: Decimal
    temperature: float
    schedule: Schedule  #: its seed also decides on the weights of a new head

    def with_seed(self, seed: int) -> Self:
        """Return the same recipe with another seed."""
        return replace(self, schedule=replace(self.schedule, seed=seed))


@dataclass(frozen=True, kw_only=True, eq=False)
class Distilled:
    """A trained student that is not saved yet."""

    student: Model  #: `version` names the weights that it started from
    log: TrainingLog


def distilled(
    recipe: Recipe,
    teacher: Model,
    rows: TrainingSet,
    *,
    validation: LabelledSet | None = None,
    checkpoints_of: CheckpointsOf = lambda _start: None,
    stopped: Stopped,
    progress: Progress,
) -> Distilled:
    """Train a student of the teacher on the rows, on the teacher's device.

    The same arguments give the same weights, bit for bit, on the same machine.

    Raises:
        LayersError, ModelError: the start cannot be used.
        StoppedError, TrainingDivergedError: as for `train`.
    """
    start = load_start(
        recipe.init,
        teacher.labels,
        seed=recipe.schedule.seed,
        layers=recipe.layers,
        placement=teacher.placement,
    )
    log = train(
        start,
        teacher,
        rows,
        recipe.schedule,
        alpha=recipe.alpha,
        temperature=recipe.temperature,
        stopped=stopped,
        progress=progress,
        validation=validation,
        checkpoints=checkpoints_of(start),
    )
    return Distilled(student=start, log=log)
