"""Teacher and student on one labelled file, side by side."""

from dataclasses import dataclass
from pathlib import Path

import torch

from db.records import Metric
from distill.calibration.fitting import fitted
from distill.evaluate import evaluate, latency, refer, teacher_metrics
from distill.training.dataset import LabelledSet, chosen, read_labelled
from distill.training.fields import TEXT_AND_LABEL, LabelledFields
from monitor.scoring.models import Model, load, match_labels
from monitor.scoring.placement import Placement
from monitor.settings import MetricsSection, ScoringSection
from monitor.stop import never_stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.location import Location
from redistill.display.progress import ShowProgress


@dataclass(frozen=True, kw_only=True)
class ModelMetrics:
    """A model and its metrics."""

    version: str
    directory: str
    metrics: tuple[Metric, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Both models on the same rows; agreement and KL are among the student's metrics."""

    data: str
    n: int
    temperature: float  #: of kl and js
    labels: tuple[str, ...]
    teacher: ModelMetrics
    student: ModelMetrics
    calibrated_at: float | None  #: the student's temperature; None: fitted on each half for the other


def compare(
    data: Location,
    teacher_directory: Location,
    student_directory: Location,
    *,
    artifacts: Artifacts,
    metrics: MetricsSection,
    scoring: ScoringSection,
    placement: Placement,
    show: ShowProgress,
    fields: LabelledFields = TEXT_AND_LABEL,
    validation: Location | None = None,
    validation_fields: LabelledFields = TEXT_AND_LABEL,
) -> Comparison:
    """Score the rows of a file with both models, and compare them with the labels and with each other.

    The student is calibrated on the rows of `validation`, as in a job. Without that file, or if it is the
    data itself, each half of the rows is calibrated on the other half.

    Raises:
        ArtifactReadError: a model or a file is in S3 and cannot be read.
        ModelError: a directory has no usable model, or the labels of the models differ.
        DatasetUnreadableError, DatasetRowError, DatasetEmptyError: a file is not usable.
    """
    if scoring.threads:
        torch.set_num_threads(scoring.threads)
    directories = [artifacts.directory(each) for each in (teacher_directory, student_directory)]
    teacher, student = (load(each, placement) for each in directories)
    file = artifacts.file(data)
    rows = read_labelled(file, teacher.labels, fields)
    n, budget = len(rows.texts), scoring.tokens_per_batch
    reference = refer(
        file.name,
        teacher,
        rows.texts,
        rows.labels,
        tokens_per_batch=budget,
        stopped=never_stopped,
        progress=lambda done: show("teacher", done, n),
    )
    temperature = fit_temperature(
        student,
        teacher,
        None if validation is None else artifacts.file(validation),
        fields=validation_fields,
        tested_on=rows,
        tokens_per_batch=budget,
        show=show,
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
        teacher=_model(teacher, teacher_directory, teacher_metrics(reference, metrics)),
        student=_model(student, student_directory, (*found.metrics, latency(student, rows.texts))),
        calibrated_at=temperature,
    )


def fit_temperature(
    student: Model,
    teacher: Model,
    validation: Path | None,
    *,
    fields: LabelledFields,
    tested_on: LabelledSet,
    at_most: int | None = None,
    tokens_per_batch: int,
    show: ShowProgress,
) -> float | None:
    """Return a student's calibration temperature, fitted on at most `at_most` rows of a labelled file.

    None without a file, or if the file is that of the rows that the result is `tested_on`.

    Raises:
        DatasetUnreadableError, DatasetRowError, DatasetEmptyError: the file is not usable.
        ScoringError: the model cannot score the rows.
    """
    if validation is None:
        return None
    rows = read_labelled(validation, teacher.labels, fields)
    if rows.sha256 == tested_on.sha256:
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


def _model(model: Model, directory: Location, metrics: tuple[Metric, ...]) -> ModelMetrics:
    return ModelMetrics(version=model.version, directory=str(directory), metrics=metrics)
