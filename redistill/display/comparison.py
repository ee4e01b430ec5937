"""Teacher and student on one labelled file, side by side."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from db.records import Metric
from distill.calibrator import fitted
from distill.evaluate import Reference, evaluate, latency, refer
from distill.evaluation.label_metrics import label_metrics
from distill.training.dataset import LabelledSet, chosen, read_labelled
from monitor.scoring.models import Model, load, match_labels
from monitor.settings import MetricsSection, ScoringSection
from monitor.stop import never_stopped
from redistill.display.progress import ShowProgress


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A model and its metrics."""

    version: str
    directory: str
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both models on the same rows; agreement and KL are the student's, with the teacher."""

    data: str
    n: int
    temperature: float  #: of kl and js
    labels: tuple[str, ...]
    teacher: Judged
    student: Judged
    calibrated_at: float | None  #: the student's temperature; None: each half at that of the other


def compare(
    data: Path,
    teacher_directory: Path,
    student_directory: Path,
    *,
    metrics: MetricsSection,
    scoring: ScoringSection,
    show: ShowProgress,
    validation: Path | None = None,
) -> Comparison:
    """Score the file's rows with both and measure them against its labels and each other.

    The student is calibrated on the rows of `validation`, as a job does; without that file, or where it
    is the data itself, on one half of the rows for the other.

    Raises:
        ModelError: a directory holds no usable model, or the labels differ.
        DatasetUnreadableError, DatasetRowError, DatasetEmptyError: the file, the line and the field.
    """
    if scoring.threads:
        torch.set_num_threads(scoring.threads)
    teacher, student = load(teacher_directory), load(student_directory)
    rows = read_labelled(data, teacher.labels)
    n, budget = len(rows.texts), scoring.tokens_per_batch
    reference = refer(
        data.name,
        teacher,
        rows.texts,
        rows.labels,
        tokens_per_batch=budget,
        stopped=never_stopped,
        progress=lambda done: show("teacher", done, n),
    )
    temperature = temperature_by(
        student, teacher, validation, unlike=rows, tokens_per_batch=budget, show=show
    )
    found = evaluate(
        student,
        reference,
        metrics,
        temperature=temperature,
        tokens_per_batch=budget,
        stopped=never_stopped,
        progress=lambda done: show("student", done, n),
    )
    return Comparison(
        data=str(data),
        n=n,
        temperature=metrics.temperature,
        labels=teacher.labels,
        teacher=_judged(teacher, teacher_directory, _of_teacher(reference, metrics)),
        student=_judged(student, student_directory, (*found.metrics, latency(student, rows.texts))),
        calibrated_at=temperature,
    )


def temperature_by(
    student: Model,
    teacher: Model,
    validation: Path | None,
    *,
    unlike: LabelledSet,
    at_most: int | None = None,
    tokens_per_batch: int,
    show: ShowProgress,
) -> float | None:
    """Return the temperature that a labelled file, or `at_most` rows of it, gives a student.

    None without a file, or if the file is the one that the rows of `unlike` are of: those are to be
    judged, and not fitted to.

    Raises:
        DatasetUnreadableError, DatasetRowError, DatasetEmptyError, ScoringError: the file, or the model.
    """
    if validation is None:
        return None
    rows = read_labelled(validation, teacher.labels)
    if rows.sha256 == unlike.sha256:
        return None
    rows = rows if at_most is None else chosen(rows, at_most)
    match_labels(teacher, student)
    return fitted(
        student,
        rows,
        teacher.labels,
        tokens_per_batch=tokens_per_batch,
        stopped=never_stopped,
        progress=lambda done: show("calibrating", done, len(rows.texts)),
    ).temperature


def _judged(model: Model, directory: Path, metrics: tuple[Metric, ...]) -> Judged:
    return Judged(version=model.version, directory=str(directory), metrics=metrics)


def _of_teacher(reference: Reference, settings: MetricsSection) -> tuple[Metric, ...]:
    """What its logits, which are known already, are worth; with itself it agrees."""
    labels = np.empty(0, dtype=np.int64) if reference.labels is None else reference.labels
    panel = label_metrics(reference.teacher_logits, labels, reference.teacher.labels, settings)
    return (*(metric for metric in panel if metric.n), latency(reference.teacher, reference.texts))
