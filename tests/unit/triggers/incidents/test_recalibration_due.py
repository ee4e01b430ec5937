"""When a student is to be calibrated, and when the on-call hears that nobody did."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import ModelVersion, ServingStudent
from db.states import IncidentKind, Role, Severity
from tests.support.records.factories import START
from triggers.incidents.lifecycle import SignalState
from triggers.incidents.recalibration_due import is_due, overdue

DAY = timedelta(days=1)
MONTH = 31 * DAY
MODEL = ModelVersion(monitor="mangaassist", version="ab" * 32, role=Role.STUDENT, uri="models/student")


def student(*, served: float, calibrated: float | None = None) -> ServingStudent:
    """One in service for so many days, calibrated so many days ago."""
    return ServingStudent(
        model=MODEL,
        since=START - served * DAY,
        calibrated_at=None if calibrated is None else START - calibrated * DAY,
        temperature=None if calibrated is None else 1.3125,
    )


@pytest.mark.parametrize(
    ("served", "calibrated", "due", "state", "sentence"),
    [
        (0, None, True, "unknown", "a new one is calibrated at once"),
        (31, None, True, "unknown", "a month is not yet more than a month"),
        (32, None, True, "raised", "nobody did for a month"),
        (0, 0, False, "cleared", "a job's candidate comes with a calibration"),
        (400, 27, False, "cleared", "there is time"),
        (400, 28, True, "cleared", "the worker has three days to do it"),
        (400, 31, True, "cleared", "and is late only after them"),
        (400, 31.01, True, "raised", "as it is now"),
        (1, 40, True, "unknown", "one of long ago that serves again: the worker does it at once"),
        (31.01, 40, True, "raised", "unless it does not"),
        (1, -1, False, "cleared", "a clock was set back"),
    ],
)
def test_what_is_found(
    served: float, calibrated: float | None, *, due: bool, state: str, sentence: str
) -> None:
    serving = student(served=served, calibrated=calibrated)
    assert is_due(serving, MONTH, START) is due, sentence
    signal = overdue(serving, MONTH, START)
    assert (signal.kind, signal.state) == (IncidentKind.CALIBRATION_OVERDUE, state), sentence


def test_nothing_is_found_where_nobody_serves() -> None:
    assert overdue(None, MONTH, START).state is SignalState.UNKNOWN


@pytest.mark.parametrize("serving", [None, student(served=400), student(served=400, calibrated=300)])
def test_where_calibration_is_off_it_is_not_overdue(serving: ServingStudent | None) -> None:
    signal = overdue(serving, None, START)
    assert (signal.state, signal.summary) == (SignalState.CLEARED, "calibration is off")


@pytest.mark.parametrize(
    ("serving", "summary"),
    [
        (
            student(served=40),
            (
                "student abababababab has been in service since 2026-10-15 10:00 UTC (40 days) and has never "
                "been calibrated; calibrate_every is 31 days: check the worker's log, or run `redistill "
                "models calibrate`"
            ),
        ),
        (
            student(served=400, calibrated=32),
            (
                "student abababababab has been in service since 2025-10-20 10:00 UTC and was last calibrated "
                "at 2026-10-23 10:00 UTC, 32 days ago (T = 1.31); calibrate_every is 31 days: check the "
                "worker's log, or run `redistill models calibrate`"
            ),
        ),
    ],
)
def test_the_summary_says_since_when_and_what_to_do(serving: ServingStudent, summary: str) -> None:
    signal = overdue(serving, MONTH, START)
    assert (signal.severity, signal.summary) == (Severity.WARNING, summary)


def test_what_is_short_is_told_in_hours() -> None:
    signal = overdue(student(served=2), timedelta(hours=36), START)
    assert "(48 hours)" in signal.summary
    assert "calibrate_every is 36 hours" in signal.summary


MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(  # noqa: DTZ001 - made aware here
    lambda at: at.replace(tzinfo=START.tzinfo)
)


@given(MOMENTS, st.none() | MOMENTS, st.timedeltas(timedelta(hours=1), 90 * DAY), MOMENTS)
def test_a_worker_is_always_asked_before_the_on_call(
    since: datetime, calibrated_at: datetime | None, every: timedelta, now: datetime
) -> None:
    serving = replace(student(served=0), since=since, calibrated_at=calibrated_at, temperature=1.0)
    signal = overdue(serving, every, now)
    if signal.state is SignalState.RAISED:
        assert is_due(serving, every, now)
        assert is_due(serving, every, now - 0.09 * every)
        assert now - since > every
    if not is_due(serving, every, now):
        assert signal.state is SignalState.CLEARED
