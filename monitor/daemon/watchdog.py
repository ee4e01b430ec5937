"""The dead man's switch: it notices when cycles are no longer evaluated, even if none ends, and when the
student's calibration is overdue.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from db import calibrations, incidents, monitors
from db.connection import clock
from db.connection.session import writing
from db.cycles import windows
from db.records import Slot
from db.states import IncidentKind
from monitor.daemon.schedule import make_trigger, slot_at, slots_between
from monitor.settings import MonitorSection
from triggers.calibration_settings import CalibrationPolicy
from triggers.incidents import recalibration_due, signals
from triggers.incidents.announce import Audience, Occasion, announce
from triggers.incidents.lifecycle import Signal, SignalState
from triggers.incidents.undelivered import report_delivered
from triggers.rules.evaluation import BLIND_AFTER

#: The time after the start of this process in which an overdue calibration is not reported, so that a worker
#: that started with it has time to calibrate.
CALIBRATION_GRACE: Final = timedelta(hours=1)


class Watchdog:
    """The checks by the clock: for cycles that hang, slots that are not run, and an overdue calibration."""

    def __init__(
        self,
        engine: Engine,
        section: MonitorSection,
        audience: Audience,
        *,
        calibration: CalibrationPolicy,
        started_at: datetime,
    ) -> None:
        self._engine = engine
        self._section = section
        self._trigger = make_trigger(section)
        self._audience = audience
        self._calibration = calibration
        self._started_at = started_at

    def check(self, now: datetime) -> bool:
        """Raise or clear the incidents that go by the clock, and return whether the monitor is blind.

        The monitor is blind if `BLIND_AFTER` slots have fallen due since the last conclusive cycle, or since
        the first attempt. The incident about undelivered messages is cleared here as well: there may be no
        later message that would clear it.

        Raises:
            MonitorRenamedError: the monitor has another name now.
        """
        with writing(self._engine) as connection:
            monitors.refuse_renamed(connection, self._section.name)
            now = clock.capped_by_database(connection, now)
            self._started_at = min(self._started_at, now)  # the clock may have been set back
            report_delivered(connection, self._audience, now)
            self._check_calibration(connection, now)
            return self._check_cycles(connection, now)

    def _check_cycles(self, connection: Connection, now: datetime) -> bool:
        since = self._without_result_since(connection, now)
        missed = self._slots_between(since, now)
        if len(missed) >= BLIND_AFTER:
            signal = signals.blind_by_the_clock(len(missed), f"{since:%Y-%m-%d %H:%M} UTC")
            self._announce(connection, signal, at=missed[-1].window_end, now=now)
            return True
        if windows.is_retrying_without_result(connection, self._section.name):
            self._announce(connection, signals.TRIED_IN_VAIN, at=now, now=now)
        return False

    def _without_result_since(self, connection: Connection, now: datetime) -> datetime:
        """Return the time since which no cycle was conclusive.

        A process that dies in each cycle does not reset that time: the pending incident keeps the time of the
        first failure.
        """
        name = self._section.name
        found = incidents.unresolved(connection, name)
        tried = (each.opened_at for each in found if each.kind is IncidentKind.BLIND)
        began = min([self._started_at, *tried])
        return max(began, windows.last_conclusive_at(connection, name, now=now) or began)

    def _slots_between(self, since: datetime, now: datetime) -> Sequence[Slot]:
        section = self._section
        first = slot_at(self._trigger, section.name, since - section.lateness)
        return slots_between(self._trigger, section.name, first.window_start, now - section.lateness)

    def _check_calibration(self, connection: Connection, now: datetime) -> None:
        student = calibrations.serving_student(connection, self._section.name)
        signal = recalibration_due.overdue(student, self._calibration, now)
        if signal.state is SignalState.RAISED and now - self._started_at < CALIBRATION_GRACE:
            return
        self._announce(connection, signal, at=now, now=now)

    def _announce(self, connection: Connection, signal: Signal, *, at: datetime, now: datetime) -> None:
        announce(connection, self._audience, [signal], Occasion(at=at, now=now, details={}))
