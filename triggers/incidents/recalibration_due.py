"""The calibration of the student in service: when it is due, and when it is overdue."""

from datetime import UTC, datetime, timedelta
from typing import Final

from db.records import ServingStudent
from db.states import IncidentKind, Severity
from triggers.incidents.lifecycle import Signal, SignalState

#: The part of `calibrate_every` after which a worker calibrates; the rest is its time to do so.
DUE_AFTER: Final = 0.9

_KIND: Final = IncidentKind.CALIBRATION_OVERDUE
_FEW_DAYS: Final = timedelta(days=3)


def is_due(student: ServingStudent, every: timedelta, now: datetime) -> bool:
    """Return whether a worker should calibrate the student; at once if it never was calibrated."""
    return student.calibrated_at is None or now - student.calibrated_at >= DUE_AFTER * every


def overdue(student: ServingStudent | None, every: timedelta | None, now: datetime) -> Signal:
    """Return the signal of `calibration-overdue` (warning); `every` is None if calibration is off.

    The incident is raised when the student has served for longer than `every` without a calibration, and
    cleared by a more recent calibration. A student that has served for less than `every` without one gives
    an unknown state: it does not resolve the incident of its predecessor.
    """
    if every is None:
        return Signal(kind=_KIND, state=SignalState.CLEARED, summary="calibration is off")
    if student is None:
        return Signal(kind=_KIND, state=SignalState.UNKNOWN)
    calibrated_at = student.calibrated_at
    if calibrated_at is not None and now - calibrated_at <= every:
        summary = f"student {_version(student)} was calibrated at {_time(calibrated_at)}"
        return Signal(kind=_KIND, state=SignalState.CLEARED, summary=summary)
    if now - max(student.since, calibrated_at or student.since) <= every:
        return Signal(kind=_KIND, state=SignalState.UNKNOWN)
    return Signal(
        kind=_KIND,
        state=SignalState.RAISED,
        severity=Severity.WARNING,
        summary=f"{_last(student, now)}; calibrate_every is {_length(every)}: check the worker's log, or run "
        "`redistill models calibrate`",
    )


def _last(student: ServingStudent, now: datetime) -> str:
    serves = f"student {_version(student)} has been in service since {_time(student.since)}"
    if student.calibrated_at is None:
        return f"{serves} ({_length(now - student.since)}) and has never been calibrated"
    age = _length(now - student.calibrated_at)
    last = f"was last calibrated at {_time(student.calibrated_at)}, {age} ago"
    return f"{serves} and {last} (T = {student.temperature:.3g})"


def _version(student: ServingStudent) -> str:
    return student.model.version[:12]


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _length(time: timedelta) -> str:
    if time < _FEW_DAYS:
        return f"{time / timedelta(hours=1):.0f} hours"
    return f"{time / timedelta(days=1):.0f} days"
