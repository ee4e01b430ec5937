"""A month of the design's traffic, 1.4 million requests by day and night, through the product's own cycles.

An hourly schedule runs twice on the same requests: with slots that wait for more requests (max_window of 24
hours), and without. The runner of slots, the ledger, the rules, the incidents and the watchdog are the
product's; only reading and scoring are simulated. The student drifts in one night of the month.

    make bench-windows
    PYTHONPATH=. python bench/quiet_month.py --days 7 --drift-hour 3
"""

import argparse
import logging
import tempfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from sqlalchemy import Engine, select

from db.connection.migrate import upgrade
from db.connection.session import connect, reading
from db.states import CycleStatus, IncidentKind, IncidentState, VerdictReason
from db.tables import cycles, incidents, rule_outcomes
from monitor.daemon.watchdog import Watchdog
from monitor.settings import MonitorSection
from tests.support.records.cycles import MONITOR, UNCALIBRATED, make_audience
from tests.support.world.counted_log import HOUR, CountedLog, by_day_and_night, run_due, runner

START: Final = datetime(2026, 6, 1, tzinfo=UTC)
PER_HOUR: Final = 1_400_000 / 720
SWING: Final = 0.8  #: the night has a fifth of the mean rate, the day nine fifths
#: The watchdog looks more often; between the ends of cycles it sees nothing new.
_LOOK: Final = timedelta(minutes=15)


@dataclass(frozen=True, kw_only=True)
class Month:
    """A month of requests in its windows."""

    n_requests: int
    short_hours: float  #: share of hours with fewer requests than `min_samples`
    windows: int
    judged: int
    slots: Counter[int]  #: number of judged windows by their slots
    blind: int  #: incidents
    hours_not_once: int  #: hours that are in no window or in several
    requests_not_once: int  #: requests of judged windows that were counted never or twice
    unjudged_requests: int  #: in windows without a verdict
    windows_to_alarm: int | None  #: windows with drifted requests up to the alarm of the KL rule, included
    hours_to_alarm: float | None


def simulate(
    engine: Engine, *, days: int, drift_hour: float, max_window: timedelta, seed: int = 2025
) -> Month:
    """Run the month's slots, each as it falls due, and the watchdog in between."""
    rng = np.random.default_rng(seed)
    section = MonitorSection(name=MONITOR, every=HOUR, max_window=max_window)
    times = by_day_and_night(START, days=days, per_hour=PER_HOUR, swing=SWING, rng=rng)
    drifts_at = START + timedelta(days=2 * days // 3, hours=drift_hour)
    log = CountedLog(times=times, section=section, rng=rng, drifts_at=drifts_at)
    slots = runner(engine, log)
    dog = Watchdog(engine, section, make_audience(()), calibration=UNCALIBRATED, started_at=START)
    n_hours = days * 24
    for hour in range(1, n_hours + 1):
        due = START + hour * HOUR + section.lateness
        run_due(slots, due)
        for look in range(4):
            dog.check(due + look * _LOOK + timedelta(minutes=1))
    return _of(engine, log, n_hours)


def _of(engine: Engine, log: CountedLog, n_hours: int) -> Month:
    edges = [START + hour * HOUR for hour in range(n_hours + 1)]
    counts = [log.count(start, end) for start, end in pairwise(edges)]
    with reading(engine) as connection:
        found = connection.execute(select(cycles).order_by(cycles.c.window_end)).all()
        opened = connection.scalars(
            select(incidents.c.id).where(
                incidents.c.kind == IncidentKind.BLIND, incidents.c.state != IncidentState.PENDING
            )
        ).all()
        fired = connection.scalars(
            select(cycles.c.window_end)
            .join(rule_outcomes, rule_outcomes.c.cycle_id == cycles.c.id)
            .where(rule_outcomes.c.fired, rule_outcomes.c.metric == "kl")
            .order_by(cycles.c.window_end)
        ).all()
    within = [
        sum(row.window_start <= start and end <= row.window_end for row in found)
        for start, end in pairwise(edges)
    ]
    judged = [row for row in found if row.status == CycleStatus.EVALUATED]
    drifted = [row.window_end for row in judged if row.window_end > log.drifts_at]
    in_windows = sum(row.n_seen for row in found if row.verdict_reason != VerdictReason.QUIET)
    waiting = sum(
        log.count(row.window_start, row.window_end)
        for row in found
        if row.verdict_reason == VerdictReason.QUIET
    )
    return Month(
        n_requests=len(log.times),
        short_hours=float(np.mean(np.array(counts) < log.section.min_samples)),
        windows=len(found),
        judged=len(judged),
        slots=Counter(row.n_slots for row in judged),
        blind=len(opened),
        hours_not_once=sum(n != 1 for n in within),
        requests_not_once=abs(len(log.times) - waiting - in_windows),
        unjudged_requests=sum(row.n_seen for row in found if row.status != CycleStatus.EVALUATED),
        windows_to_alarm=drifted.index(fired[0]) + 1 if fired else None,
        hours_to_alarm=(fired[0] - log.drifts_at) / HOUR if fired else None,
    )


def main() -> None:
    """Print the month with and without merging."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--drift-hour", type=float, default=1.0, help="UTC (%(default)s)")
    wanted = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print("| max_window | windows | judged, by slots | `blind` | requests without a verdict | alarm after |")
    print("|---|---|---|---|---|---|")
    for hours in (24, 1):
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'redistill.db'}"
            upgrade(url)
            engine = connect(url)
            found = simulate(
                engine, days=wanted.days, drift_hour=wanted.drift_hour, max_window=timedelta(hours=hours)
            )
            engine.dispose()
        slots = ", ".join(f"{n}: {count}" for n, count in sorted(found.slots.items()))
        alarm = (
            f"{found.hours_to_alarm:g} h, {found.windows_to_alarm} windows" if found.windows_to_alarm else "-"
        )
        cells = (f"{hours}h", found.windows, slots, found.blind, found.unjudged_requests, alarm)
        print("| " + " | ".join(map(str, cells)) + " |")
        print(
            f"  {found.n_requests} requests, {found.short_hours:.1%} of hours short; hours not once: "
            f"{found.hours_not_once}; requests not counted once: {found.requests_not_once}"
        )


if __name__ == "__main__":
    main()
