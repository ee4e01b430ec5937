"""A request log of which only the times of the requests are known, measured at no cost, at simulated times.

The slots run through the real runner, ledger and conclusion; only reading and scoring are simulated.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine

from db.records import Claim, CycleResult, QuietResult
from monitor.daemon import slot_runner
from monitor.daemon.slot_runner import SlotRunner
from monitor.settings import MonitorSection
from monitor.stop import Stopped, never_stopped
from tests.support.records.cycles import make_policy
from tests.support.records.factories import make_empty_result, make_measurement, make_result, make_traffic
from triggers.rules.verdict import SampleQuality

HOUR: Final = timedelta(hours=1)
_NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)


class Killed(BaseException):
    """The process of the daemon ends here."""


def by_day_and_night(
    start: datetime, *, days: float, per_hour: float, swing: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the times of requests (POSIX), whose rate is lowest at 3:00 and highest at 15:00 UTC."""
    minutes = np.arange(round(days * 24 * 60))
    hour = (start.hour + minutes / 60) % 24
    rate = per_hour / 60 * (1 - swing * np.cos((hour - 3) / 24 * 2 * np.pi))
    counts = rng.poisson(rate)
    offsets = np.repeat(minutes * 60.0, counts) + rng.uniform(0, 60, counts.sum())
    return np.sort(start.timestamp() + offsets)


@dataclass(kw_only=True)
class CountedLog:
    """The log, and a student that drifts at a time: from then on a request has the drifted numbers."""

    times: NDArray[np.float64]  #: POSIX, in order
    section: MonitorSection
    rng: np.random.Generator
    drifts_at: datetime = _NEVER
    agreement: tuple[float, float] = (0.968, 0.90)  #: healthy, drifted
    kl: tuple[float, float] = (0.083, 0.20)
    meanwhile: Callable[[Claim, Stopped], object] = lambda _claim, _stopped: None
    judged: list[tuple[datetime, datetime, int]] = field(default_factory=list)  #: windows that were scored

    def count(self, start: datetime, end: datetime) -> int:
        low, high = np.searchsorted(self.times, [start.timestamp(), end.timestamp()])
        return int(high - low)

    def __call__(self, claim: Claim, stopped: Stopped) -> CycleResult | QuietResult:
        start, end = claim.slot.window_start, claim.slot.window_end
        n = self.count(start, end)
        self.meanwhile(claim, stopped)
        quality = SampleQuality(
            n_scored=min(n, self.section.sample_size),
            n_seen=n,
            n_rejected=0,
            min_samples=self.section.min_samples,
            max_reject_share=self.section.max_reject_share,
        )
        traffic = make_traffic(n_seen=n, n_sampled=quality.n_scored)
        if claim.may_wait and quality.is_quiet:
            return QuietResult(traffic=traffic)
        self.judged.append((start, end, n))
        if not n:
            return make_empty_result()
        since = min(max(self.drifts_at, start), end)
        drifted = self.count(since, end) / n
        agreement, kl = (
            (1 - drifted) * healthy + drifted * other for healthy, other in (self.agreement, self.kl)
        )
        disagreements = int(self.rng.binomial(quality.n_scored, 1 - agreement))
        measured = make_measurement(n=quality.n_scored, disagreements=disagreements, kl=kl)
        return make_result(measurement=measured, traffic=traffic)


def runner(engine: Engine, log: CountedLog) -> SlotRunner:
    """A daemon's runner of the log's slots, with the user's rules."""
    policy = make_policy(min_samples=log.section.min_samples)
    return SlotRunner(engine, log.section, log, policy)


def run_due(slots: SlotRunner, now: datetime) -> int:
    """Run what is due at a simulated time, which must be in the past: the database's clock is real."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slot_runner, "utc_now", lambda: now)
        return slots.run_due(never_stopped)
