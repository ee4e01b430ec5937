"""The calibration of students on labelled rows that are not used for training."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine

from db import calibrations, leases
from db.connection.session import reading, writing
from db.connection.unavailable import UNAVAILABLE
from db.errors import RedistillError
from db.heartbeat import Heartbeat
from db.records import Calibration, Lease, ModelVersion, TemperatureFit
from db.states import CalibrationReason
from distill.evaluation.temperature import calibrate
from distill.settings import RedistillSection
from distill.training.dataset import LabelledSet, read_labelled
from monitor.cycle import Show
from monitor.scoring.batches import Progress, score
from monitor.scoring.models import Model
from monitor.scoring.placement import ON_CPU, Placement
from monitor.stop import Stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.student_places import StudentPlaces
from triggers.incidents.recalibration_due import is_due

LEASE_SECONDS: Final = 60.0


class NoLabelledFileError(RedistillError):
    """[redistill] names neither 'validation' nor 'test': name a labelled file to calibrate on."""


def fitted(
    model: Model,
    rows: LabelledSet,
    label_names: Sequence[str],
    *,
    tokens_per_batch: int,
    stopped: Stopped,
    progress: Progress,
) -> TemperatureFit:
    """Fit a model's temperature to rows that were read with `label_names`, its own labels in any order.

    Raises:
        ScoringError, StoppedError: as for `score`.
    """
    logits = score(model, rows.texts, tokens_per_batch=tokens_per_batch, stopped=stopped, progress=progress)
    columns = [model.labels.index(name) for name in label_names]
    return calibrate(logits[:, columns], rows.labels)


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """The configured calibrator of one monitor's students. It does not change their files."""

    engine: Engine
    monitor: str
    section: RedistillSection
    artifacts: Artifacts
    places: StudentPlaces
    tokens_per_batch: int
    show: Show
    placement: Placement = ON_CPU

    def calibrate(self, student: ModelVersion, stopped: Stopped) -> Calibration:
        """Calibrate a recorded student on the configured file; nothing is written.

        Raises:
            NoLabelledFileError, DatasetUnreadableError, DatasetRowError, DatasetEmptyError,
            ModelError, ModelLostError, ScoringError: a file is missing or unusable; the error names it.
            StoppedError: `stopped` returned True.
        """
        path = self.section.calibration_file
        if path is None:
            raise NoLabelledFileError
        model = self.places.load(student, self.placement)
        rows = read_labelled(self.artifacts.file(path), model.labels, self.section.fields)
        return self.fit(model, rows, model.labels, stopped)

    def fit(
        self, model: Model, rows: LabelledSet, label_names: Sequence[str], stopped: Stopped
    ) -> Calibration:
        """Calibrate a model on rows that were read with `label_names`, its own labels in any order.

        Raises:
            ScoringError, StoppedError: as for `score`.
        """
        return Calibration(
            version=model.version,
            dataset="test" if self.section.validation is None else "validation",
            sha256=rows.sha256,
            fit=fitted(
                model,
                rows,
                label_names,
                tokens_per_batch=self.tokens_per_batch,
                stopped=stopped,
                progress=lambda done: self.show("calibrating", done, len(rows.texts)),
            ),
        )

    def calibrate_due(self, owner: str, stopped: Stopped, now: datetime) -> Calibration | None:
        """Calibrate the student in service if that is due and no other process does it; None if not.

        Raises:
            LeaseLostError: another process has taken over; nothing was written. Other errors are as for
                `calibrate`.
        """
        with reading(self.engine) as connection:
            if self._due(connection, now) is None:
                return None
        with writing(self.engine) as connection:
            lease = leases.acquire(
                connection, f"calibration:{self.monitor}", owner=owner, seconds=LEASE_SECONDS
            )
            student = self._due(connection, now)  # check again: another process may just have done it
        if lease is None:
            return None
        try:
            return None if student is None else self._under(lease, student, stopped, now)
        finally:
            with (
                suppress(*UNAVAILABLE),
                writing(self.engine) as connection,
            ):  # without a release the lease expires
                leases.release(connection, lease)

    def _due(self, connection: Connection, now: datetime) -> ModelVersion | None:
        every = self.section.calibration_due_every
        student = calibrations.serving_student(connection, self.monitor)
        if every is None or student is None or not is_due(student, every, now):
            return None
        return student.model

    def _under(self, lease: Lease, student: ModelVersion, stopped: Stopped, now: datetime) -> Calibration:
        with Heartbeat(self.engine, lease, seconds=LEASE_SECONDS) as heartbeat:
            found = self.calibrate(student, lambda: stopped() or heartbeat.lost)
        with writing(self.engine) as connection:
            leases.guard(connection, lease)
            calibrations.add(connection, self.monitor, found, CalibrationReason.DUE, now)
        return found
