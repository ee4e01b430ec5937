"""Calibrations: the temperatures fitted to students, and the student in service with its temperature."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, insert, select

from db import versions
from db.records import Calibration, ServingStudent
from db.states import CalibrationReason, Role
from db.tables import calibrations


def add(
    connection: Connection,
    monitor: str,
    calibration: Calibration,
    reason: CalibrationReason,
    now: datetime,
    *,
    job_id: int | None = None,
) -> None:
    """Store a fit, which is the version's temperature until a newer one."""
    connection.execute(
        insert(calibrations).values(
            monitor=monitor,
            version=calibration.version,
            dataset=calibration.dataset,
            sha256=calibration.sha256,
            **asdict(calibration.fit),
            reason=reason,
            job_id=job_id,
            calibrated_at=now,
        )
    )


def serving_student(connection: Connection, monitor: str) -> ServingStudent | None:
    """Return the student in service with its newest calibration, or None before the first student."""
    model = versions.current(connection, monitor, Role.STUDENT)
    since = versions.current_since(connection, monitor, Role.STUDENT)
    if model is None or since is None:
        return None
    newest = connection.execute(
        select(calibrations.c.calibrated_at, calibrations.c.temperature)
        .where(calibrations.c.monitor == monitor, calibrations.c.version == model.version)
        .order_by(calibrations.c.id.desc())
        .limit(1)
    ).one_or_none()
    return ServingStudent(
        model=model,
        since=since,
        calibrated_at=newest.calibrated_at if newest else None,
        temperature=newest.temperature if newest else None,
    )
