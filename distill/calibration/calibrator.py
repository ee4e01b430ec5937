"""The calibration of students on labelled rows that they were not trained on, or on their traffic."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from scipy.special import softmax
from sqlalchemy import Engine

from db import calibrations, leases
from db.archives import cycle_archives
from db.connection.session import reading, writing
from db.cycles import labels
from db.errors import RedistillError
from db.records import Calibration, CalibrationInForce, Lease, ModelVersion
from db.states import CalibrationReason, CalibrationSource
from distill.calibration.fitting import fitted, sha256_of
from distill.calibration.lease import calibration_lease, heartbeat
from distill.calibration.rows import MIN_ROWS, ArchivesOffered, labelled_rows, offered, teacher_rows
from distill.calibration.teacher import TeacherCalibrator
from distill.evaluation.temperature import calibrate
from distill.settings import RedistillSection
from distill.training.dataset import LabelledSet, read_labelled
from monitor.cycle import Show
from monitor.labels.truth import Late
from monitor.scoring.models import Model
from monitor.scoring.placement import ON_CPU, Placement
from monitor.stop import Stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.location import Location
from monitor.storage.student_places import StudentPlaces
from triggers.calibration_settings import CalibrationPolicy
from triggers.incidents.recalibration_due import DUE_AFTER, SOURCES, RowsOffered, is_due, is_old


class NoCalibrationRowsError(RedistillError):
    """There are no rows to calibrate the student {version} on, with on = "{on}" in [calibration]: {fix}."""


@dataclass(frozen=True, kw_only=True)
class _Due:
    """A student, and the rows that it should be calibrated on."""

    student: ModelVersion
    rows: RowsOffered


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """The configured calibrator of one monitor's students. It does not change their files."""

    engine: Engine
    monitor: str
    section: RedistillSection
    policy: CalibrationPolicy
    labels_are_random: bool  #: whether true labels of traffic are of requests that were drawn at random
    artifacts: Artifacts
    places: StudentPlaces
    teacher: Location
    tokens_per_batch: int
    show: Show
    kept: timedelta  #: the time for which samples are archived
    placement: Placement = ON_CPU

    def calibrate(self, student: ModelVersion, stopped: Stopped, now: datetime) -> Calibration:
        """Calibrate a recorded student on the best rows that there are; nothing is written.

        Raises:
            NoCalibrationRowsError: there are none; the error says what to do.
            DatasetUnreadableError, DatasetRowError, DatasetEmptyError, ArchiveReadError,
            ModelError, ModelLostError, TeacherMovedError, ScoringError: a file is missing or unusable; the
                error names it.
            StoppedError: `stopped` returned True.
        """
        rows = self._offered(student.version, None, now)
        if rows is None:
            raise NoCalibrationRowsError(version=student.version[:12], on=self.policy.on, fix=self._fix())
        return self._on(rows, student, stopped)

    def fit(
        self, model: Model, rows: LabelledSet, label_names: Sequence[str], stopped: Stopped
    ) -> Calibration:
        """Calibrate a model on the rows of a file, read with `label_names`, its own labels in any order.

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
        if self._due(now) is None:
            return None
        with calibration_lease(self.engine, self.monitor, owner) as lease:
            due = lease and self._due(now)  # check again: another process may just have done it
            return self._under(lease, due, stopped, now) if lease and due else None

    def _due(self, now: datetime) -> _Due | None:
        every = self.policy.every
        with reading(self.engine) as connection:
            student = calibrations.serving_student(connection, self.monitor)
        if every is None or student is None:
            return None
        held = student.calibration
        rows = self._offered(student.model.version, held, now)
        if rows is None or not is_due(held, rows, every, now):
            return None
        return _Due(student=student.model, rows=rows)

    def _offered(self, version: str, held: CalibrationInForce | None, now: datetime) -> RowsOffered | None:
        """Return the best rows for a student. A file is only read if it could replace the calibration."""
        every = self.policy.every
        with reading(self.engine) as connection:
            found = offered(
                cycle_archives.of_student(
                    connection,
                    self.monitor,
                    version,
                    since=now - (self.kept if every is None else min(self.kept, DUE_AFTER * every)),
                ),
                cycle_archives.newest_teacher(connection, self.monitor),
                self.policy,
                labels_are_random=self.labels_are_random,
            )
        path = self.section.calibration_file if CalibrationSource.FILE in SOURCES[self.policy.on] else None
        if found is not None or path is None:
            return found
        if held is not None and every is not None and not is_old(held, every, now):
            return None
        sha256 = sha256_of(self.artifacts.file(path))
        with reading(self.engine) as connection:
            used_at = calibrations.first_used(connection, self.monitor, sha256)
        return RowsOffered(source=CalibrationSource.FILE, rows_until=used_at or now)

    def _under(self, lease: Lease, due: _Due, stopped: Stopped, now: datetime) -> Calibration:
        with heartbeat(self.engine, lease) as beat:
            found = self._on(due.rows, due.student, lambda: stopped() or beat.lost)
        with writing(self.engine) as connection:
            leases.guard(connection, lease)
            calibrations.add(connection, self.monitor, found, CalibrationReason.DUE, now)
        return found

    def _on(self, rows: RowsOffered, student: ModelVersion, stopped: Stopped) -> Calibration:
        if isinstance(rows, ArchivesOffered):
            return self._on_traffic(rows, student, stopped)
        model = self.places.load(student, self.placement)
        return self.fit(model, self._file_rows(model), model.labels, stopped)

    def _on_traffic(self, chosen: ArchivesOffered, student: ModelVersion, stopped: Stopped) -> Calibration:
        if chosen.source is CalibrationSource.TRAFFIC_LABELS:
            rows = labelled_rows(chosen, self._late, stopped)
            fit = calibrate(rows.student_logits, rows.truth, rows.weights)
        else:
            divisor = self.of_teacher.temperature(chosen.archives[0].teacher_version, stopped)
            rows = teacher_rows(chosen, stopped)
            probabilities = softmax(rows.teacher_logits / divisor, axis=1)
            fit = calibrate(rows.student_logits, probabilities, rows.weights)
        return Calibration(
            version=student.version,
            dataset="traffic",
            sha256=chosen.sha256,
            fit=fit,
            source=chosen.source,
            rows_until=chosen.rows_until,
        )

    @property
    def of_teacher(self) -> TeacherCalibrator:
        """Return the calibrator of the monitor's teacher."""
        return TeacherCalibrator(
            engine=self.engine,
            monitor=self.monitor,
            section=self.section,
            every=self.policy.every,
            artifacts=self.artifacts,
            teacher=self.teacher,
            tokens_per_batch=self.tokens_per_batch,
            show=self.show,
            placement=self.placement,
        )

    def _file_rows(self, model: Model) -> LabelledSet:
        path = self.section.calibration_file
        assert path is not None  # noqa: S101 - a file was offered
        return read_labelled(self.artifacts.file(path), model.labels, self.section.fields)

    def _late(self, cycle_id: int) -> Late:
        with reading(self.engine) as connection:
            return labels.of_cycle(connection, cycle_id)

    def _fix(self) -> str:
        fixes = {
            CalibrationSource.TRAFFIC_LABELS: f"import true labels of {MIN_ROWS} of its archived requests",
            CalibrationSource.TEACHER: f"let cycles with a healthy teacher archive {MIN_ROWS} requests",
            CalibrationSource.FILE: "name a labelled file with 'validation' or 'test' in [redistill]",
        }
        return ", or ".join(fixes[source] for source in SOURCES[self.policy.on])
