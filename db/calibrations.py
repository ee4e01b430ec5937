"""Calibrations: the temperatures fitted to students, and the student in service with its temperature."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from db import versions
from db.records import Calibration, CalibrationInForce, ServingStudent
from db.states import CalibrationReason, CalibrationSource, Role
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
    rows_until = calibration.rows_until or first_used(connection, monitor, calibration.sha256) or now
    connection.execute(
        insert(calibrations).values(
            monitor=monitor,
            version=calibration.version,
            dataset=calibration.dataset,
            sha256=calibration.sha256,
            source=calibration.source,
            rows_until=rows_until,
            **asdict(calibration.fit),
            reason=reason,
            job_id=job_id,
            calibrated_at=now,
        )
    )


def first_used(connection: Connection, monitor: str, sha256: str) -> datetime | None:
    """Return when the monitor first calibrated a student on the file with that content; None if never."""
    query = select(func.min(calibrations.c.calibrated_at)).where(
        calibrations.c.monitor == monitor, calibrations.c.sha256 == sha256
    )
    found: datetime | None = connection.scalar(query)
    return found


def in_force(connection: Connection, monitor: str, version: str) -> CalibrationInForce | None:
    """Return the newest calibration of a version, or None if it has none.

    A row from before revision 0029 is of a file, and does not say how old its rows are.
    """
    newest = connection.execute(
        select(calibrations)
        .where(calibrations.c.monitor == monitor, calibrations.c.version == version)
        .order_by(calibrations.c.id.desc())
        .limit(1)
    ).one_or_none()
    if newest is None:
        return None
    rows_until = newest.rows_until or first_used(connection, monitor, newest.sha256)
    return CalibrationInForce(
        temperature=newest.temperature,
        source=CalibrationSource(newest.source or CalibrationSource.FILE),
        n=newest.n,
        sha256=newest.sha256,
        rows_until=rows_until or newest.calibrated_at,
        calibrated_at=newest.calibrated_at,
    )


def serving_student(connection: Connection, monitor: str) -> ServingStudent | None:
    """Return the student in service with its newest calibration, or None before the first student."""
    model = versions.current(connection, monitor, Role.STUDENT)
    since = versions.current_since(connection, monitor, Role.STUDENT)
    if model is None or since is None:
        return None
    return ServingStudent(model=model, since=since, calibration=in_force(connection, monitor, model.version))
