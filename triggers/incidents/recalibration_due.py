"""The calibration of the student in service: when it is due, and when it is overdue.

A calibration is as old as its newest rows: a later fit to the same rows would give the same temperature.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from db.records import CalibrationInForce, ServingStudent
from db.states import CalibrationSource, IncidentKind, Severity
from triggers.calibration_settings import CalibrationPolicy
from triggers.incidents.lifecycle import Signal, SignalState

#: The part of `every` after which a worker calibrates; the rest is its time to do so.
DUE_AFTER: Final = 0.9

_KIND: Final = IncidentKind.CALIBRATION_OVERDUE
_FEW_DAYS: Final = timedelta(days=3)
#: From the one that knows least about the present traffic to the one that knows most.
_ORDER: Final = (CalibrationSource.FILE, CalibrationSource.TEACHER, CalibrationSource.TRAFFIC_LABELS)
_ROWS: Final = {
    CalibrationSource.FILE: "on a labelled file that has been in use since",
    CalibrationSource.TEACHER: "on traffic with the teacher's probabilities, until",
    CalibrationSource.TRAFFIC_LABELS: "on traffic with true labels, until",
}
_NEEDED: Final = {
    CalibrationSource.FILE: "replace the labelled file of [redistill] by one with new rows",
    CalibrationSource.TEACHER: "check that cycles are evaluated with a healthy teacher",
    CalibrationSource.TRAFFIC_LABELS: "import labels of recent requests with `redistill labels import`",
}
#: The sources of each value of `on` that a person can renew, the best first.
SOURCES: Final = {
    "auto": _ORDER[::-1],
    "file": (CalibrationSource.FILE,),
    "teacher": (CalibrationSource.TEACHER,),
    "traffic-labels": (CalibrationSource.TRAFFIC_LABELS,),
}


@dataclass(frozen=True, kw_only=True)
class RowsOffered:
    """The best rows that a student can be calibrated on now."""

    source: CalibrationSource
    rows_until: datetime  #: the end of their newest window; for a file when it was first used, or now


def is_due(held: CalibrationInForce | None, offered: RowsOffered, every: timedelta, now: datetime) -> bool:
    """Return whether a worker should calibrate the student on these rows.

    It should at once if the student never was calibrated, or if they are of a better source; else when the
    newest rows of its calibration are old and these are newer.
    """
    if held is None or _ORDER.index(offered.source) > _ORDER.index(held.source):
        return True
    return is_old(held, every, now) and offered.rows_until > held.rows_until


def is_old(held: CalibrationInForce, every: timedelta, now: datetime) -> bool:
    """Return whether newer rows are wanted."""
    return now - held.rows_until >= DUE_AFTER * every


def overdue(student: ServingStudent | None, policy: CalibrationPolicy, now: datetime) -> Signal:
    """Return the signal of `calibration-overdue` (warning).

    The incident is raised when the student has served for longer than `every`, and its calibration, if it has
    one, has no rows that are newer than `every`. It is cleared by a calibration on newer rows. A student that
    has served for less than `every` gives an unknown state: it does not resolve its predecessor's incident.
    """
    if policy.every is None:
        return Signal(kind=_KIND, state=SignalState.CLEARED, summary="calibration is off")
    if student is None:
        return Signal(kind=_KIND, state=SignalState.UNKNOWN)
    held = student.calibration
    if held is not None and now - held.rows_until <= policy.every:
        summary = f"student {_version(student)} is calibrated {rows_of(held)} (T = {held.temperature:.3g})"
        return Signal(kind=_KIND, state=SignalState.CLEARED, summary=summary)
    if now - student.since <= policy.every:
        return Signal(kind=_KIND, state=SignalState.UNKNOWN)
    return Signal(
        kind=_KIND,
        state=SignalState.RAISED,
        severity=Severity.WARNING,
        summary=f"{_last(student, now)}; 'every' in [calibration] is {_length(policy.every)}: "
        f"{fix(held, policy)}",
    )


def _last(student: ServingStudent, now: datetime) -> str:
    serves = f"student {_version(student)} has been in service since {_time(student.since)}"
    held = student.calibration
    if held is None:
        return f"{serves} ({_length(now - student.since)}) and has never been calibrated"
    age = _length(now - held.rows_until)
    return f"{serves} and is calibrated {rows_of(held)} ({age} ago; T = {held.temperature:.3g})"


def rows_of(held: CalibrationInForce) -> str:
    """Return which rows a calibration is on, and how far they reach."""
    return f"{_ROWS[held.source]} {_time(held.rows_until)}"


def fix(held: CalibrationInForce | None, policy: CalibrationPolicy) -> str:
    """Return what to do for a calibration on newer rows, by the sources that the configuration allows."""
    if held is None:
        return "check the worker's log, or run `redistill models calibrate`"
    return ", or ".join(_NEEDED[source] for source in SOURCES[policy.on])


def _version(student: ServingStudent) -> str:
    return student.model.version[:12]


def _time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _length(time: timedelta) -> str:
    if time < _FEW_DAYS:
        return f"{time / timedelta(hours=1):.0f} hours"
    return f"{time / timedelta(days=1):.0f} days"
