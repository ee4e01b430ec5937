"""Nobody calibrates the student: the incident's life, by a clock that a test moves."""

import json
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from db import calibrations
from db.connection.session import writing
from db.records import Calibration
from db.states import CalibrationReason
from db.tables import deliveries, incidents
from distill.evaluation.temperature import calibrate
from monitor.daemon.watchdog import CALIBRATION_GRACE, Watchdog
from monitor.settings import MonitorSection
from tests.support.records.cycles import MONITOR, Cycles, make_audience, stored, taken
from tests.support.records.factories import START, STUDENT
from triggers.calibration_settings import CalibrationPolicy
from triggers.incidents.announce import Audience
from triggers.settings import IncidentPolicy

DAY = timedelta(days=1)
#: So long ago that no time here lies ahead of the database's clock, by which nothing falls due.
BEGAN = START - 365 * DAY
MONTH = 31 * DAY
MINUTE = timedelta(minutes=1)
FIT = calibrate([[1.0, 0.0]] * 4, [0, 0, 0, 1])
FIRING, RESOLVED = (
    ("calibration-overdue", "warning", "firing"),
    ("calibration-overdue", "warning", "resolved"),
)


@dataclass(kw_only=True)
class Clock:
    """A monitor whose cycles are of no interest, and what its daemon says at each look."""

    run: Cycles
    started_at: datetime = BEGAN
    every: timedelta | None = MONTH
    audience: Audience = field(default_factory=make_audience)

    def look(self, now: datetime) -> list[tuple[str, str, str]]:
        """What has been told so far."""
        Watchdog(
            self.run.engine,
            MonitorSection(name=MONITOR, every=3_650 * DAY),  # so that it is never blind
            self.audience,
            calibration=CalibrationPolicy(every=self.every),
            started_at=self.started_at,
        ).check(now)
        rows = stored(self.run.engine, incidents)
        return [(row["kind"], row["severity"], row["state"]) for row in rows]

    def calibrate(self, now: datetime, version: str = STUDENT, *, content: str | None = None) -> None:
        """Calibrate on a file; a new one unless told otherwise."""
        sha256 = content or f"{version} {now}"
        found = Calibration(version=version, dataset="validation", sha256=sha256, fit=FIT)
        with writing(self.run.engine) as connection:
            calibrations.add(connection, MONITOR, found, CalibrationReason.DUE, now)

    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(row["payload"]) for row in stored(self.run.engine, deliveries)]


@pytest.fixture
def clock(engine: Engine) -> Clock:
    return Clock(run=Cycles(engine=engine, lease=taken(engine)))


def test_a_student_that_nobody_calibrates_is_told_once_and_its_calibration_ends_it(clock: Clock) -> None:
    clock.run.promote(now=BEGAN)
    assert clock.look(BEGAN + MONTH) == []
    assert clock.look(BEGAN + MONTH + MINUTE) == [FIRING]
    assert clock.look(BEGAN + 2 * MONTH) == [FIRING]
    clock.calibrate(BEGAN + 2 * MONTH)
    assert clock.look(BEGAN + 2 * MONTH + MINUTE) == [RESOLVED]
    fired, resolved = clock.messages()
    assert fired["summary"].startswith(
        "student student-1 has been in service since 2025-11-24 10:00 UTC (31 days)"
    )
    on_file = "is calibrated on a labelled file that has been in use since 2026-01-25 10:00 UTC"
    assert resolved["summary"] == f"student student-1 {on_file} (T = 0.91)"
    assert clock.look(BEGAN + 3 * MONTH) == [RESOLVED]
    assert clock.look(BEGAN + 3 * MONTH + MINUTE) == [RESOLVED, FIRING]
    assert f"and {on_file} (31 days ago; T = 0.91)" in clock.messages()[-1]["summary"]


def test_another_fit_to_the_same_rows_does_not_end_it(clock: Clock) -> None:
    """Its temperature is the same."""
    clock.run.promote(now=BEGAN)
    clock.calibrate(BEGAN, content="00")
    assert clock.look(BEGAN + MONTH + MINUTE) == [FIRING]
    clock.calibrate(BEGAN + MONTH + MINUTE, content="00")
    assert clock.look(BEGAN + MONTH + 2 * MINUTE) == [FIRING]
    clock.calibrate(BEGAN + MONTH + 2 * MINUTE, content="01")
    assert clock.look(BEGAN + MONTH + 2 * MINUTE) == [RESOLVED]


def test_a_student_that_is_calibrated_in_time_is_never_told(clock: Clock) -> None:
    clock.run.promote(now=BEGAN)
    for month in range(5):
        clock.calibrate(BEGAN + month * MONTH)
        assert clock.look(BEGAN + (month + 1) * MONTH) == []


def test_another_student_ends_it_if_it_is_calibrated(clock: Clock) -> None:
    """One that is not says nothing: the incident stays, and nothing new is told."""
    clock.run.promote(now=BEGAN)
    now = BEGAN + MONTH + DAY
    assert clock.look(now) == [FIRING]
    clock.run.promote("student-2", now=now)
    assert clock.look(now + DAY) == [FIRING]
    clock.calibrate(now + DAY, "student-3")
    clock.calibrate(now + DAY)
    assert clock.look(now + DAY) == [FIRING]
    clock.run.promote("student-3", now=now + DAY)
    assert clock.look(now + DAY) == [RESOLVED]
    assert len(clock.messages()) == 2


def test_before_the_first_student_there_is_nothing_to_say(clock: Clock) -> None:
    clock.calibrate(BEGAN)
    assert clock.look(BEGAN + 9 * MONTH) == []


def test_the_calibrations_of_another_monitor_count_for_nothing(clock: Clock, engine: Engine) -> None:
    clock.run.promote(now=BEGAN)
    found = Calibration(version=STUDENT, dataset="test", sha256="00", fit=FIT)
    with writing(engine) as connection:
        calibrations.add(connection, "another", found, CalibrationReason.DUE, BEGAN + MONTH)
    assert clock.look(BEGAN + MONTH + DAY) == [FIRING]


def test_a_daemon_that_has_just_begun_gives_a_worker_time(clock: Clock) -> None:
    """As after an upgrade: the student has served for long, and nobody could calibrate it."""
    clock.run.promote(now=BEGAN - 3 * MONTH)
    assert clock.look(BEGAN + CALIBRATION_GRACE - MINUTE) == []
    assert clock.look(BEGAN + CALIBRATION_GRACE) == [FIRING]
    clock.started_at = BEGAN + DAY
    clock.calibrate(BEGAN + DAY)
    assert clock.look(BEGAN + DAY) == [RESOLVED], "an end is told at once"


def test_where_calibration_is_switched_off_it_ends(clock: Clock) -> None:
    clock.run.promote(now=BEGAN)
    assert clock.look(BEGAN + MONTH + DAY) == [FIRING]
    clock.every = None
    assert clock.look(BEGAN + MONTH + DAY) == [RESOLVED]
    assert clock.messages()[-1]["summary"] == "calibration is off"
    assert clock.look(BEGAN + 9 * MONTH) == [RESOLVED]


def test_it_stays_open_for_as_long_as_ends_are_damped(clock: Clock) -> None:
    clock.audience = replace(
        clock.audience, policy=IncidentPolicy(keep_firing_for=2 * DAY, runbook="https://wiki.example/runbook")
    )
    clock.run.promote(now=BEGAN)
    now = BEGAN + MONTH + DAY
    assert clock.look(now) == [FIRING]
    assert clock.messages()[0]["links"] == {"runbook": "https://wiki.example/runbook#calibration-overdue"}
    clock.calibrate(now)
    assert clock.look(now) == [FIRING]
    assert clock.look(now + 2 * DAY - MINUTE) == [FIRING]
    assert clock.look(now + 2 * DAY) == [RESOLVED]
