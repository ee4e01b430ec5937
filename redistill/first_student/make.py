"""The making of a first student, put together from the options of `redistill distill`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final

import torch

from db.errors import RedistillError
from db.records import Metric
from distill import registry
from distill.first_student.maker import FirstStudent, Maker
from distill.first_student.measured import Exam
from distill.first_student.recipe import Recipe
from distill.first_student.rows import LabelledRows, read_rows
from distill.settings import SoftLabelsMode
from distill.soft_labels import SoftLabels, used_mode
from distill.training.fields import LabelledFields
from distill.training.schedule import Schedule
from monitor.cores import keep_freed_memory, usable_cores
from monitor.scoring.device import DeviceMissingError, place
from monitor.scoring.models import load
from monitor.scoring.placement import Placement
from monitor.setting_values import Device, Precision
from monitor.settings import MetricsSection, ScoringSection
from monitor.stop import Stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.location import Location
from redistill.configuration.discover import rare_labels
from redistill.configuration.training_length import epochs_for
from redistill.display.progress import ShowProgress

_TOKENS_PER_BATCH: Final = ScoringSection().tokens_per_batch
#: With "auto": from the second training on, one pass of the teacher costs less than its answers online.
_ONLINE_RUNS: Final = 1


class NoGpuError(RedistillError):
    """--device cuda cannot be used: {problem}, or use --device auto."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The options of the command."""

    teacher: Location
    init: Location | None  #: None: the teacher
    layers: int | None
    train: Location
    validation: Location
    test: Location
    out: Location
    fields: LabelledFields
    alpha: Decimal
    temperature: float
    epochs: int | None  #: None: as many as `epochs_for` gives
    batch_size: int
    learning_rate: float
    seeds: Sequence[int]
    baseline: bool
    device: Device
    precision: Precision
    soft_labels: SoftLabelsMode
    threads: int | None  #: of torch; None: one per core that this process may use


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The first student, and what it was made from."""

    result: FirstStudent
    teacher: tuple[Metric, ...]
    teacher_version: str
    start: str  #: what the student started from, in words
    rows: dict[str, int]  #: by the role of the file
    rare_labels: tuple[str, ...]
    recipe: Recipe


def make(wanted: Wanted, *, stopped: Stopped, show: ShowProgress, now: datetime) -> Outcome:
    """Make the student. Errors are those of `Maker.make` and `read_rows`.

    Raises:
        NoGpuError: the options ask for CUDA, and torch finds no GPU.
    """
    keep_freed_memory()
    torch.set_num_threads(wanted.threads or usable_cores())
    artifacts = Artifacts(show=show)
    teacher = load(artifacts.directory(wanted.teacher), _placement(wanted))
    rows = read_rows(
        train=artifacts.file(wanted.train),
        validation=artifacts.file(wanted.validation),
        test=artifacts.file(wanted.test),
        labels=teacher.labels,
        fields=wanted.fields,
    )
    recipe = _recipe(wanted, artifacts.directory(wanted.init or wanted.teacher), rows)
    rare = rare_labels(teacher.labels[label] for label in rows.train.labels.tolist())
    exam = Exam.of(
        teacher,
        rows,
        MetricsSection(temperature=wanted.temperature, rare_labels=rare),
        tokens_per_batch=_TOKENS_PER_BATCH,
        stopped=stopped,
        show=show,
    )
    store = artifacts.store(wanted.out)
    kept = SoftLabels(store=store, teacher=teacher, tokens_per_batch=_TOKENS_PER_BATCH, show=show)
    n_runs = len(wanted.seeds)
    # whether they are kept does not count: the same command makes the same version, to the last bit
    mode = used_mode(wanted.soft_labels, n_runs=n_runs, offline_above=_ONLINE_RUNS, are_kept=False)
    if mode == "offline":
        registry.registry_id(store)  # a registry that cannot be written is found before the teacher is asked
        rows = replace(rows, logits=kept.of(rows.train, stopped))
    maker = Maker(store=store, teacher=teacher, rows=rows, recipe=recipe, exam=exam, show=show)
    result = maker.make(wanted.seeds, with_baseline=wanted.baseline, stopped=stopped, now=now)
    return Outcome(
        result=result,
        teacher=exam.teacher(),
        teacher_version=teacher.version,
        start=_start(wanted),
        rows={role: len(getattr(rows, role).texts) for role in ("train", "validation", "test")},
        rare_labels=rare,
        recipe=recipe,
    )


def _placement(wanted: Wanted) -> Placement:
    try:
        return place(wanted.device, wanted.precision, section="redistill")
    except DeviceMissingError as error:
        raise NoGpuError(problem=error.fields["problem"]) from error


def _recipe(wanted: Wanted, init: Path, rows: LabelledRows) -> Recipe:
    return Recipe(
        init=init,
        layers=wanted.layers,
        alpha=wanted.alpha,
        temperature=wanted.temperature,
        schedule=Schedule(
            epochs=wanted.epochs or epochs_for(len(rows.train.texts), 0),
            batch_size=wanted.batch_size,
            learning_rate=wanted.learning_rate,
            seed=wanted.seeds[0],
        ),
    )


def _start(wanted: Wanted) -> str:
    init = wanted.init or wanted.teacher
    return str(init) if wanted.layers is None else f"{wanted.layers} layers of {init}"
