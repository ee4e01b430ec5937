"""When the student in service is to be calibrated again, and when that is overdue."""

from datetime import UTC, datetime, timedelta
from typing import Final

from db.records import ServingStudent
from db.states import IncidentKind, Severity
from triggers.incidents.lifecycle import Signal, SignalState

#: Of `calibrate_every`, after which a worker calibrates: the rest is its time to do so.
DUE_AFTER: Final = 0.9

_KIND: Final = IncidentKind.CALIBRATION_OVERDUE
_FEW_DAYS: Final = timedelta(days=3)


def is_due(student: ServingStudent, every: timedelta, now: datetime) -> bool:
    """Whether a worker is to calibrate it: at once where it never was."""
    return student.calibrated_at is None or now - student.calibrated_at >= DUE_AFTER * every


def overdue(student: ServingStudent | None, every: timedelta | None, now: datetime) -> Signal:
    """What is found of `calibration-overdue` (warning); `every` is None where nothing is to be calibrated.

    It is raised when the student has served for longer than `every` without a calibration, and cleared by
    one that is no older. A student that serves for less long and was not calibrated in that time, though it
    may have been before, says nothing: it ends no incident of the one before it.
    """
    if every is None:
        return Signal(kind=_KIND, state=SignalState.CLEARED, summary="calibration is off")
    if student is None:
        return Signal(kind=_KIND, state=SignalState.UNKNOWN)
    calibrated_at = student.calibrated_at
    if calibrated_at is not None and now - calibrated_at <= every:
        told = f"the student {_version(student)} was calibrated at {_time(calibrated_at)}"
        return Signal(kind=_KIND, state=SignalState.CLEARED, summary=told)
    if now - max(student.since, calibrated_at or student.since) <= every:
        return Signal(kind=_KIND, state=SignalState.UNKNOWN)
    return Signal(
        kind=_KIND,
        state=SignalState.RAISED,
        severity=Severity.WARNING,
        summary=f"{_last(student, now)}; it should be every {_length(every)} (calibrate_every): look at the "
        "worker's log, or do it now with `redistill models calibrate`",
    )


def _last(student: ServingStudent, now: datetime) -> str:
    serves = f"the student {_version(student)} serves since {_time(student.since)}"
    if student.calibrated_at is None:
        return f"{serves}, {_length(now - student.since)} ago, and was never calibrated"
    age = _length(now - student.calibrated_at)
    told = f"its last calibration is of {_time(student.calibrated_at)}, {age} ago"
    return f"{serves}, and {told} (T = {student.temperature:.3g})"


def _version(student: ServingStudent) -> str:
    return student.model.version[:12]


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _length(time: timedelta) -> str:
    if time < _FEW_DAYS:
        return f"{time / timedelta(hours=1):.0f} hours"
    return f"{time / timedelta(days=1):.0f} days"
