"""The dead man's switch: notices that no cycle is evaluated any more, also when none comes to an end, and
that nobody calibrates the student.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine

from db import calibrations, clock, ledger
from db.session import writing
from monitor.schedule import make_trigger, slot_at, slots_between
from monitor.settings import MonitorSection
from triggers import recalibration, signals
from triggers.announce import Audience, Occasion, announce
from triggers.incidents import Finding
from triggers.rules import BLIND_AFTER

#: So long after its start this process says nothing of a calibration: a worker that began with it has time
#: for one.
CALIBRATION_GRACE: Final = timedelta(hours=1)


class Watchdog:
    """Looks at the clock beside the cycles: one that hangs is told, and slots that nobody may take; so is a
    student whose calibration is overdue.
    """

    def __init__(
        self,
        engine: Engine,
        section: MonitorSection,
        audience: Audience,
        *,
        calibrate_every: timedelta | None,
        started_at: datetime,
    ) -> None:
        self._engine = engine
        self._section = section
        self._trigger = make_trigger(section)
        self._audience = audience
        self._calibrate_every = calibrate_every
        self._started_at = started_at

    def look(self, now: datetime) -> bool:
        """Whether the monitor is blind by the clock: as many slots as make it so have fallen due since an
        evaluated cycle last ended, or since this process began. Then its incident is raised.
        """
        with writing(self._engine) as connection:
            now = clock.earlier(connection, now)
            self._started_at = min(self._started_at, now)  # by a clock that has been set back since
            self._look_at_calibration(connection, now)
            return self._look_at_cycles(connection, now)

    def _look_at_cycles(self, connection: Connection, now: datetime) -> bool:
        section = self._section
        last = ledger.last_evaluated_at(connection, section.name, now=now)
        since = max(self._started_at, last or self._started_at)
        first = slot_at(self._trigger, section.name, since - section.lateness)
        missed = slots_between(self._trigger, section.name, first.window_start, now - section.lateness)
        if len(missed) < BLIND_AFTER:
            return False
        signal = signals.blind_by_the_clock(len(missed), f"{since:%Y-%m-%d %H:%M} UTC")
        occasion = Occasion(at=missed[-1].window_end, now=now, details={})
        announce(connection, self._audience, [signal], occasion)
        return True

    def _look_at_calibration(self, connection: Connection, now: datetime) -> None:
        student = calibrations.serving_student(connection, self._section.name)
        signal = recalibration.overdue(student, self._calibrate_every, now)
        if signal.finding is Finding.RAISED and now - self._started_at < CALIBRATION_GRACE:
            return
        announce(connection, self._audience, [signal], Occasion(at=now, now=now, details={}))
