"""Labelled requests that both models answered: the test set, or the newest archived sample with labels."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from db import calibrations
from db.archives import cycle_archives
from db.cycles import labels
from db.errors import RedistillError
from distill.calibration.rows import post_stratified
from distill.evaluation.traffic_labels import ENOUGH
from distill.training.dataset import read_labelled
from monitor.archive import files
from monitor.archive.sample import ScoredSample
from monitor.labels.truth import Late, known_labels
from monitor.scoring.batches import score
from monitor.scoring.latency import paired_times, processor
from monitor.scoring.models import load, match_labels
from monitor.stop import never_stopped
from redistill.artifacts import artifacts
from redistill.assembly import training_placement
from redistill.configuration.settings import Settings
from redistill.database import reading_from
from redistill.display.progress import ShowProgress
from redistill.economics.outcomes import Floats, Source
from redistill.economics.paired_rows import PairedRows
from redistill.serving import serving_student
from triggers.teacher.correctness import OUT_OF_SCOPE

#: The number of single texts that are timed.
_TIMED: Final = 300


class NoTestSetError(RedistillError):
    """[redistill] 'test' is not set: name a labelled file that no model was trained on."""


class NoLabelledSampleError(RedistillError):
    """No archived sample of the student in service has {needed} true labels: {fix}."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledPairs:
    """Labelled rows, and the times of single texts where models ran."""

    rows: PairedRows
    origin: str  #: the file, or the window
    times: Floats | None = None  #: (n, 2) milliseconds, teacher and student
    processor: str | None = None


def of_test_set(settings: Settings, progress: ShowProgress) -> LabelledPairs:
    """Score the labelled test set with the teacher and the student in service, and time both.

    Raises:
        NoTestSetError: none is configured.
        ArtifactReadError, ModelError, ScoringError, DatasetUnreadableError, DatasetRowError,
        DatasetEmptyError: a model or the file is not usable.
    """
    section, budget = settings.redistill, settings.scoring.tokens_per_batch
    if section.test is None:
        raise NoTestSetError
    opener, placement = artifacts(settings, progress), training_placement(settings)
    teacher = load(opener.directory(settings.teacher.uri), placement)
    student = load(opener.directory(serving_student(settings)), placement)
    columns = match_labels(teacher, student)
    rows = read_labelled(opener.file(section.test), teacher.labels, section.fields)
    n = len(rows.texts)

    def answers(name: str) -> NDArray[np.float32]:
        return score(
            {"teacher": teacher, "student": student}[name],
            rows.texts,
            tokens_per_batch=budget,
            stopped=never_stopped,
            progress=lambda done: progress(name, done, n),
        )

    return LabelledPairs(
        rows=PairedRows(
            texts=rows.texts,
            truth=rows.labels,
            teacher=answers("teacher").argmax(axis=1),
            student=answers("student")[:, columns].argmax(axis=1),
            weights=np.ones(n),
            labels=teacher.labels,
            source=Source.TEST,
        ),
        origin=str(section.test),
        times=paired_times(teacher, student, rows.texts, pairs=_TIMED, stopped=never_stopped),
        processor=processor(placement),
    )


def of_traffic(settings: Settings, now: datetime) -> LabelledPairs:
    """Read the newest archived sample of the student in service that has at least 100 true labels.

    People label disagreements of the two models more often than other requests: agreements and disagreements
    have the shares that they have in the whole sample.

    Raises:
        NoLabelledSampleError: there is none, or labels are of requests that somebody selected.
        NoDatabaseError: there is no database.
        ArchiveReadError: the archive is missing or damaged.
    """
    if settings.redistill.label_source == "selected":
        raise NoLabelledSampleError(
            needed="randomly drawn",
            fix="label requests at random, and set label_source = 'random' in [redistill]",
        )
    since, monitor = now - timedelta(days=settings.monitor.archive_days), settings.monitor.name
    with reading_from(settings) as connection:
        student = calibrations.serving_student(connection, monitor)
        version = student.model.version if student else ""
        archives = cycle_archives.of_student(connection, monitor, version, since=since)
        newest = next((each for each in archives if each.n_labelled >= ENOUGH), None)
        if newest is None:
            raise NoLabelledSampleError(needed=ENOUGH, fix="import some with `redistill labels import`")
        late = labels.of_cycle(connection, newest.cycle_id)
    sample = files.read(newest.uri, sha256=newest.sha256)
    return LabelledPairs(
        rows=of_sample(sample, late), origin=f"window until {newest.window_end:%Y-%m-%d %H:%M}"
    )


def of_sample(sample: ScoredSample, late: Late) -> PairedRows:
    """Return the labelled requests of a sample, by late labels, else by those of the log."""
    known = known_labels(sample, late)
    rows, number = list(known), {label: index for index, label in enumerate(sample.labels)}
    teacher, student = (each.argmax(axis=1) for each in (sample.teacher_logits, sample.student_logits))
    agrees, weights = teacher == student, sample.strata.weights
    return PairedRows(
        texts=[sample.requests[row].text for row in rows],
        truth=np.array([number.get(label or "", OUT_OF_SCOPE) for label in known.values()], dtype=np.int64),
        teacher=teacher[rows],
        student=student[rows],
        weights=post_stratified(weights[rows], agrees[rows], weights, agrees),
        labels=sample.labels,
        source=Source.TRAFFIC,
    )
