"""A daemon in this process whose slots are a second long and whose cycles measure nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import Engine

from db.records import Claim, CycleResult
from monitor.clock import utc_now
from monitor.daemon.delivery_threads import Deliveries
from monitor.daemon.loop import Daemon
from monitor.daemon.slot_runner import SlotRunner
from monitor.daemon.watchdog import Watchdog
from monitor.settings import MonitorSection
from monitor.stop import Stopped
from tests.support.records.cycles import MONITOR, UNCALIBRATED, make_audience, make_policy
from tests.support.records.factories import make_result

TICK: Final = timedelta(milliseconds=100)
NO_CHANNELS: Final = Deliveries(channels={}, due=lambda _now: ())


class Measuring:
    """Measures every slot as healthy, and calls `meanwhile` during the first one."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile: Callable[[], object] | None = meanwhile
        self.measured: list[Any] = []

    def __call__(self, claim: Claim, stopped: Stopped) -> CycleResult:
        del stopped
        self.measured.append(claim.slot.window_end)
        work, self._meanwhile = self._meanwhile, None
        if work:
            work()
        return make_result()


def runner(engine: Engine, measure: Measuring, *, every: str = "24h") -> SlotRunner:
    section = MonitorSection.model_validate({"name": MONITOR, "every": every, "lateness": "0s"})
    return SlotRunner(engine, section, measure, make_policy(alerts=()))


@contextmanager
def ticking(engine: Engine, measure: Measuring) -> Iterator[Daemon]:
    section = MonitorSection.model_validate({"name": MONITOR, "every": "1s", "lateness": "0s"})
    watchdog = Watchdog(engine, section, make_audience(), calibration=UNCALIBRATED, started_at=utc_now())
    daemon = Daemon(runner(engine, measure, every="1s"), watchdog, NO_CHANNELS, lambda _now: 0, tick=TICK)
    daemon.start()
    try:
        yield daemon
    finally:
        assert daemon.stop()
