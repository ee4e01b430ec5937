"""When a student is to be calibrated, and when the on-call hears that its calibration is old."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import CalibrationInForce, ModelVersion, ServingStudent
from db.states import CalibrationSource, IncidentKind, Role, Severity
from tests.support.records.factories import START
from triggers.calibration_settings import CalibrationPolicy
from triggers.incidents.lifecycle import SignalState
from triggers.incidents.recalibration_due import RowsOffered, is_due, overdue

DAY = timedelta(days=1)
MONTH = 31 * DAY
MONTHLY = CalibrationPolicy(every=MONTH)
FILE, TEACHER, LABELS = CalibrationSource.FILE, CalibrationSource.TEACHER, CalibrationSource.TRAFFIC_LABELS
MODEL = ModelVersion(monitor="mangaassist", version="ab" * 32, role=Role.STUDENT, uri="models/student")


def held(age: float, source: CalibrationSource = TEACHER) -> CalibrationInForce:
    """A calibration whose newest rows are so many days old, fitted just now."""
    return CalibrationInForce(
        temperature=1.3125,
        source=source,
        n=900,
        sha256="00",
        rows_until=START - age * DAY,
        calibrated_at=START,
    )


def student(
    *, served: float, rows: float | None = None, source: CalibrationSource = TEACHER
) -> ServingStudent:
    """One in service for so many days, calibrated on rows that are so many days old."""
    return ServingStudent(
        model=MODEL,
        since=START - served * DAY,
        calibration=None if rows is None else held(rows, source),
    )


def rows(age: float, source: CalibrationSource = TEACHER) -> RowsOffered:
    return RowsOffered(source=source, rows_until=START - age * DAY)


@pytest.mark.parametrize(
    ("before", "offered", "due", "sentence"),
    [
        (None, rows(0, FILE), True, "a new one is calibrated at once"),
        (None, rows(400, FILE), True, "also on an old file: there is no better"),
        (held(0, FILE), rows(0, TEACHER), True, "traffic is better than a file, at once"),
        (held(0, FILE), rows(0, LABELS), True, "so are its labels"),
        (held(0, TEACHER), rows(9, LABELS), True, "which are better than the teacher's answers"),
        (held(27, LABELS), rows(0, TEACHER), False, "what is worse waits until the better is old"),
        (held(28, LABELS), rows(0, TEACHER), True, "and is taken then"),
        (held(27), rows(0), False, "there is time"),
        (held(28), rows(0), True, "new rows after nine tenths of a month"),
        (held(28), rows(28), False, "the same rows would give the same"),
        (held(28, FILE), rows(28, FILE), False, "the same file would give the same, however often"),
        (held(28, FILE), rows(0, FILE), True, "a new file would not"),
        (held(28), rows(40, FILE), False, "a file that is older still knows less"),
        (held(-1), rows(0), False, "a clock was set back"),
    ],
)
def test_what_is_due(
    before: CalibrationInForce | None, offered: RowsOffered, *, due: bool, sentence: str
) -> None:
    assert is_due(before, offered, MONTH, START) is due, sentence


@pytest.mark.parametrize(
    ("served", "age", "state", "sentence"),
    [
        (0, None, "unknown", "a worker does it at once"),
        (31, None, "unknown", "a month is not yet more than a month"),
        (32, None, "raised", "nobody did for a month"),
        (0, 0, "cleared", "it has new rows"),
        (400, 31, "cleared", "late only after a month"),
        (400, 31.01, "raised", "as it is now, whenever it was fitted"),
        (1, 400, "unknown", "a promoted one comes with a calibration on an old file"),
        (31.01, 400, "raised", "and had a month to get a better one"),
        (1, -1, "cleared", "a clock was set back"),
    ],
)
def test_what_is_overdue(served: float, age: float | None, *, state: str, sentence: str) -> None:
    signal = overdue(student(served=served, rows=age), MONTHLY, START)
    assert (signal.kind, signal.state) == (IncidentKind.CALIBRATION_OVERDUE, state), sentence


def test_nothing_is_found_where_nobody_serves() -> None:
    assert overdue(None, MONTHLY, START).state is SignalState.UNKNOWN


@pytest.mark.parametrize("serving", [None, student(served=400), student(served=400, rows=300)])
def test_where_calibration_is_off_it_is_not_overdue(serving: ServingStudent | None) -> None:
    signal = overdue(serving, CalibrationPolicy(every=None), START)
    assert (signal.state, signal.summary) == (SignalState.CLEARED, "calibration is off")


SERVES = "student abababababab has been in service since 2025-10-20 10:00 UTC"
LABELLED = "import labels of recent requests with `redistill labels import`"
HEALTHY = "check that cycles are evaluated with a healthy teacher"
RENEWED = "replace the labelled file of [redistill] by one with new rows"


@pytest.mark.parametrize(
    ("source", "on", "said", "fix"),
    [
        (FILE, "file", "on a labelled file that has been in use since", RENEWED),
        (
            FILE,
            "auto",
            "on a labelled file that has been in use since",
            f"{LABELLED}, or {HEALTHY}, or {RENEWED}",
        ),
        (TEACHER, "teacher", "on traffic with the teacher's probabilities, until", HEALTHY),
        (LABELS, "traffic-labels", "on traffic with true labels, until", LABELLED),
    ],
)
def test_the_summary_says_on_which_rows_how_old_they_are_and_what_to_do(
    source: CalibrationSource, on: Literal["auto", "file", "teacher", "traffic-labels"], said: str, fix: str
) -> None:
    signal = overdue(student(served=400, rows=32, source=source), CalibrationPolicy(on=on), START)
    assert (signal.severity, signal.summary) == (
        Severity.WARNING,
        (
            f"{SERVES} and is calibrated {said} 2026-10-23 10:00 UTC (32 days ago; T = 1.31); 'every' in "
            f"[calibration] is 31 days: {fix}"
        ),
    )


def test_the_summary_of_one_that_never_was_calibrated_sends_to_the_worker() -> None:
    assert overdue(student(served=400), MONTHLY, START).summary == (
        f"{SERVES} (400 days) and has never been calibrated; 'every' in [calibration] is 31 days: check the "
        "worker's log, or run `redistill models calibrate`"
    )


def test_what_is_short_is_told_in_hours() -> None:
    signal = overdue(student(served=2), CalibrationPolicy(every=timedelta(hours=36)), START)
    assert "(48 hours)" in signal.summary
    assert "'every' in [calibration] is 36 hours" in signal.summary


MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(  # noqa: DTZ001 - made aware here
    lambda at: at.replace(tzinfo=START.tzinfo)
)


@given(MOMENTS, MOMENTS, st.timedeltas(timedelta(hours=1), 90 * DAY), MOMENTS)
def test_a_worker_with_new_rows_is_always_asked_before_the_on_call(
    since: datetime, rows_until: datetime, every: timedelta, now: datetime
) -> None:
    before = replace(held(0), rows_until=rows_until)
    serving = ServingStudent(model=MODEL, since=since, calibration=before)
    new = RowsOffered(source=TEACHER, rows_until=now)
    signal = overdue(serving, CalibrationPolicy(every=every), now)
    if signal.state is SignalState.RAISED:
        assert is_due(before, new, every, now)
        assert is_due(before, new, every, now - 0.09 * every)
        assert now - since > every
    if not is_due(before, new, every, now) and now > rows_until:
        assert signal.state is SignalState.CLEARED


@given(
    st.none() | st.tuples(st.floats(0, 90), st.sampled_from(CalibrationSource)),
    st.floats(0, 0.9 * 31, exclude_max=True),
    st.sampled_from(CalibrationSource),
)
def test_rows_that_were_just_taken_are_not_due_again(
    before: tuple[float, CalibrationSource] | None, age: float, source: CalibrationSource
) -> None:
    """Else a worker would calibrate for ever."""
    offered = rows(age, source)
    if is_due(before and held(*before), offered, MONTH, START):
        assert not is_due(held(age, source), offered, MONTH, START)
