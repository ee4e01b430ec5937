"""The calibration of the teacher on the labelled file: validation, or else test.

With its temperature the teacher's probability of the student's label estimates the student's accuracy on
traffic, and the teacher's probabilities calibrate students.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import Engine

from db import leases
from db.accuracy import teacher_calibrations
from db.archives import cycle_archives
from db.connection.session import reading, writing
from db.errors import RedistillError
from db.records import Lease, TemperatureFit
from distill.calibration.fitting import fitted, sha256_of
from distill.calibration.lease import calibration_lease, heartbeat
from distill.settings import RedistillSection
from distill.training.dataset import read_labelled
from monitor.cycle import Show
from monitor.scoring.models import load
from monitor.scoring.placement import ON_CPU, Placement
from monitor.stop import Stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.location import Location


class TeacherMovedError(RedistillError):
    """The archives are of the teacher {wanted}, but {directory} holds {found}: the calibration is done once
    a cycle with the new teacher is archived.
    """


@dataclass(frozen=True, kw_only=True)
class TeacherCalibrator:
    """The configured calibrator of one monitor's teacher."""

    engine: Engine
    monitor: str
    section: RedistillSection
    every: timedelta | None  #: the age at which a changed file replaces a calibration; None: never calibrate
    artifacts: Artifacts
    teacher: Location
    tokens_per_batch: int
    show: Show
    placement: Placement = ON_CPU

    def temperature(self, version: str, stopped: Stopped) -> float:
        """Return the teacher's temperature on the labelled file, or 1 without a file; nothing is written.

        Errors are as for `calibrate_due`.
        """
        path = self.section.calibration_file
        if path is None:
            return 1.0
        file = self.artifacts.file(path)
        with reading(self.engine) as connection:
            held = teacher_calibrations.in_force(connection, self.monitor, version)
        if held is not None and held.sha256 == sha256_of(file):
            return held.temperature
        return self._fitted(version, file, stopped)[0].temperature

    def calibrate_due(self, owner: str, stopped: Stopped, now: datetime) -> TemperatureFit | None:
        """Calibrate the teacher of the newest cycle if it is not, or if its file has changed; None if not.

        A changed file counts once the calibration is older than `every`. Only one process does it at a time.

        Raises:
            DatasetUnreadableError, DatasetRowError, DatasetEmptyError, ModelError, TeacherMovedError,
            ScoringError: a file is missing or unusable; the error names it.
            LeaseLostError: another process has taken over; nothing was written.
            StoppedError: `stopped` returned True.
        """
        version = self._due(now)
        if version is None or self.section.calibration_file is None:
            return None
        with calibration_lease(self.engine, self.monitor, owner) as lease:
            # check again: another process may just have done it
            return self._under(lease, version, stopped, now) if lease and self._due(now) else None

    def _due(self, now: datetime) -> str | None:
        """Return the version of the teacher that should be calibrated, or None."""
        path = self.section.calibration_file
        if self.every is None or path is None:
            return None
        with reading(self.engine) as connection:
            teacher = cycle_archives.newest_teacher(connection, self.monitor)
            if teacher is None:
                return None
            held = teacher_calibrations.in_force(connection, self.monitor, teacher.version)
        if held is None:
            return teacher.version
        is_old = now - held.calibrated_at >= self.every
        return teacher.version if is_old and sha256_of(self.artifacts.file(path)) != held.sha256 else None

    def _under(self, lease: Lease, version: str, stopped: Stopped, now: datetime) -> TemperatureFit:
        path = self.section.calibration_file
        assert path is not None  # noqa: S101 - nothing is due without a file
        with heartbeat(self.engine, lease) as beat:
            fit, sha256 = self._fitted(version, self.artifacts.file(path), lambda: stopped() or beat.lost)
        with writing(self.engine) as connection:
            leases.guard(connection, lease)
            teacher_calibrations.add(connection, self.monitor, version, fit, sha256=sha256, now=now)
        return fit

    def _fitted(self, version: str, file: Path, stopped: Stopped) -> tuple[TemperatureFit, str]:
        """Return the teacher's fit to the file, and the file's SHA-256."""
        model = load(self.artifacts.directory(self.teacher), self.placement)
        if model.version != version:
            raise TeacherMovedError(wanted=version[:12], directory=self.teacher, found=model.version[:12])
        rows = read_labelled(file, model.labels, self.section.fields)
        fit = fitted(
            model,
            rows,
            model.labels,
            tokens_per_batch=self.tokens_per_batch,
            stopped=stopped,
            progress=lambda done: self.show("calibrating", done, len(rows.texts)),
        )
        structlog.get_logger().info(
            "teacher calibrated", monitor=self.monitor, version=version, temperature=fit.temperature
        )
        return fit, rows.sha256
