"""The calibration temperatures of teachers, one fit per version and labelled file."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select

from db.records import TemperatureFit
from db.tables import teacher_calibrations


@dataclass(frozen=True, kw_only=True)
class TeacherCalibration:
    """The fit of a teacher."""

    temperature: float
    n: int  #: rows of the labelled file
    sha256: str  #: of the file
    calibrated_at: datetime


def add(
    connection: Connection, monitor: str, version: str, fit: TemperatureFit, *, sha256: str, now: datetime
) -> None:
    """Store a fit to the file with that content, which is the version's temperature until a newer one."""
    connection.execute(
        insert(teacher_calibrations).values(
            monitor=monitor,
            version=version,
            sha256=sha256,
            temperature=fit.temperature,
            n=fit.n,
            ece_before=fit.ece_before,
            ece_after=fit.ece_after,
            calibrated_at=now,
        )
    )


def in_force(connection: Connection, monitor: str, version: str) -> TeacherCalibration | None:
    """Return the newest calibration of a teacher, or None if it has none."""
    rows = teacher_calibrations
    query = select(rows).where(rows.c.monitor == monitor, rows.c.version == version)
    newest = connection.execute(query.order_by(rows.c.id.desc()).limit(1)).one_or_none()
    if newest is None:
        return None
    return TeacherCalibration(
        temperature=newest.temperature,
        n=newest.n,
        sha256=newest.sha256,
        calibrated_at=newest.calibrated_at,
    )
