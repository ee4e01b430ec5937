"""The dead man's switch: notices that no cycle is evaluated any more, also when none comes to an end."""

from datetime import datetime

from sqlalchemy import Engine

from db import clock, ledger
from db.session import writing
from monitor.schedule import make_trigger, slot_at, slots_between
from monitor.settings import MonitorSection
from triggers import signals
from triggers.announce import Audience, Occasion, announce
from triggers.rules import BLIND_AFTER


class Watchdog:
    """Looks at the clock beside the cycles: one that hangs is told, and slots that nobody may take."""

    def __init__(
        self, engine: Engine, section: MonitorSection, audience: Audience, *, started_at: datetime
    ) -> None:
        self._engine = engine
        self._section = section
        self._trigger = make_trigger(section)
        self._audience = audience
        self._started_at = started_at

    def look(self, now: datetime) -> bool:
        """Whether the monitor is blind by the clock: as many slots as make it so have fallen due since an
        evaluated cycle last ended, or since this process began. Then its incident is raised.
        """
        section = self._section
        with writing(self._engine) as connection:
            now = clock.earlier(connection, now)
            self._started_at = min(self._started_at, now)  # by a clock that has been set back since
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
