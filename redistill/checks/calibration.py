"""The check of the calibration: on which rows it is, and how old they are."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Final

from db import calibrations
from db.errors import RedistillError
from db.states import CalibrationSource
from redistill.checks.result import CheckResult, ok, warning
from redistill.configuration.settings import Settings
from redistill.database import reading_from
from redistill.display.times import length
from triggers.incidents.lifecycle import SignalState
from triggers.incidents.recalibration_due import SOURCES, fix, overdue, rows_of

_TRAFFIC: Final = {
    CalibrationSource.TRAFFIC_LABELS: "traffic with true labels",
    CalibrationSource.TEACHER: "traffic with a healthy teacher",
}


def calibration(settings: Settings, now: datetime) -> Iterator[CheckResult]:
    """Check on which rows the student is calibrated, and how old they are; `labelled` checks the file."""
    policy, path = settings.calibrating, settings.redistill.calibration_file
    if policy.on == "file" and path is None:
        yield ok("calibration", "off, because [redistill] has no labelled file (validation or test)")
        return
    if policy.every is None:
        yield ok("calibration", "off, as configured; `redistill models calibrate` calibrates once")
        return
    rows = [_TRAFFIC.get(source, str(path)) for source in SOURCES[policy.on] if source in _TRAFFIC or path]
    configured = f"every {length(policy.every)}, on {', else '.join(rows)}"
    student = None
    with suppress(RedistillError), reading_from(settings) as connection:
        student = calibrations.serving_student(connection, settings.monitor.name)
    held = student.calibration if student else None
    if held is None:
        yield ok("calibration", configured)
        return
    in_force = f"T = {held.temperature:.3g} is fitted {rows_of(held)}"
    signal = overdue(student, settings.calibration_watched, now)
    if signal.state is SignalState.RAISED:
        yield warning("calibration", f"{configured}; {in_force}, which is too old", fix(held, policy))
    else:
        yield ok("calibration", f"{configured}; {in_force}")
