"""R1 and the sequential mode: exact and guaranteed rates, delays at equal false alarms, and slow ramps."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Final

import numpy as np
from levels import (
    ALARM_THRESHOLD,
    BUDGET,
    LEVEL,
    Detector,
    Evidence,
    Runs,
    false_alarm,
    first_alarms,
    mean_delay,
)
from rich.table import Table
from streams import HEALTHY, Ints

SIZES: Final = (1_000, 5_500, 10_000)
_DRIFTED: Final = (0.94, 0.93, 0.90)
_CLOSE: Final = 0.951  #: the agreement at which both modes get the same mean time to a false alarm
_RAMPS: Final = (0.0005, 0.001, 0.002, 0.004)
_HALVINGS: Final = 10


@dataclass(frozen=True, kw_only=True)
class Wavering:
    """A rate that varies from cycle to cycle, never above the level."""

    spread: float

    def __call__(self, cycle: int) -> float:
        drawn = np.random.default_rng(cycle).normal(LEVEL - self.spread / 2, self.spread)
        return float(np.clip(drawn, 0.0, LEVEL))


@dataclass(frozen=True, kw_only=True)
class Steady:
    """A constant rate."""

    rate: float

    def __call__(self, _cycle: int) -> float:
        return self.rate


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """A rate that rises from the usual one."""

    slope: float  #: the rise per cycle

    def __call__(self, cycle: int) -> float:
        return min(1.0, HEALTHY + self.slope * cycle)

    @property
    def crossing(self) -> float:
        """The cycle at which the rate reaches the level."""
        return (LEVEL - HEALTHY) / self.slope


HEALTHY_RATES: Final = {"exactly .95": Steady(rate=LEVEL), "varies up to .95": Wavering(spread=0.002)}


def mean(values: Ints, digits: int = 2) -> str:
    """Return the mean with its standard error."""
    return f"{values.mean():,.{digits}f} ± {values.std() / np.sqrt(values.size):.{digits}f}"


def share(values: Ints) -> str:
    """Return the share of streams with an alarm, with its standard error."""
    part = float((values > 0).mean())
    return f"{part:.3f} ± {np.sqrt(part * (1 - part) / values.size):.3f}"


def table(*headings: str) -> Table:
    made = Table()
    for at, heading in enumerate(headings):
        made.add_column(heading, justify="right" if at else "left")
    return made


def literal() -> Iterator[Table | str]:
    """Yield the exact numbers of R1."""
    agreements = (0.974, 0.96, 0.955, _CLOSE)
    found = table(
        "n", *(f"false at {a}" for a in agreements), *(f"delay at {a:.2f}" for a in _DRIFTED),
    )  # fmt: skip
    for n in (500, *SIZES):
        alarms = (f"{false_alarm(n, a):.3g}" for a in agreements)
        found.add_row(f"{n:,}", *alarms, *(f"{mean_delay(n, a):.2f}" for a in _DRIFTED))
    yield "R1, exact: probability of a false alarm in 1,000 cycles, and mean delay in cycles"
    yield found


def alarms_of(
    alarm_threshold: float | None, n: int, rate: Callable[[int], float], streams: int, cycles: int
) -> Ints:
    """Return the first alarms of the sequential mode, or of R1 without a threshold, on the same streams."""
    detector: Detector = (
        Runs(streams, n) if alarm_threshold is None else Evidence(streams, n, alarm_threshold=alarm_threshold)
    )
    return first_alarms(detector, n, rate, streams=streams, seed=2025, cycles=cycles)


def guaranteed(pool: Executor, streams: int) -> Iterator[Table | str]:
    """Yield the delays and false alarms of the sequential mode with its default budget."""
    agreements = (0.945, *_DRIFTED)
    delays = [
        pool.submit(alarms_of, ALARM_THRESHOLD, n, Steady(rate=1 - a), streams, 2_000)
        for n, a in product(SIZES, agreements)
    ]
    false = [
        pool.submit(alarms_of, ALARM_THRESHOLD, n, rate, streams, 1_000)
        for n, rate in product(SIZES, HEALTHY_RATES.values())
    ]
    found = table("n", *(f"at {a}" for a in agreements))
    for at, n in enumerate(SIZES):
        row = delays[at * len(agreements) :][: len(agreements)]
        cells = zip((mean(each.result()) for each in row), agreements, strict=True)
        found.add_row(f"{n:,}", *(f"{delay} ({mean_delay(n, a):.2f})" for delay, a in cells))
    yield f"sequential, budget {BUDGET} in 1,000 cycles: mean delay in cycles (of R1), {streams:,} streams"
    yield found
    found = table("n", *HEALTHY_RATES)
    worst = 0.0
    for at, n in enumerate(SIZES):
        row = [each.result() for each in false[at * len(HEALTHY_RATES) :][: len(HEALTHY_RATES)]]
        worst = max(worst, *(float((each > 0).mean()) for each in row))
        found.add_row(f"{n:,}", *map(share, row))
    allowed = BUDGET + 2 * np.sqrt(BUDGET * (1 - BUDGET) / streams)
    yield f"sequential: share of {streams:,} streams with an alarm in 1,000 cycles, none of them below .95"
    yield found
    yield goal(f"at most {BUDGET} plus two standard errors", met=worst <= allowed)


def matched(n: int, streams: int) -> tuple[float, list[float]]:
    """Return the threshold with R1's mean time to an alarm at .951, and its mean delays at `_DRIFTED`."""
    wanted, low, high = mean_delay(n, _CLOSE), 2.0, 200.0
    for _ in range(_HALVINGS):
        alarm_threshold = float(np.sqrt(low * high))
        time = alarms_of(alarm_threshold, n, Steady(rate=1 - _CLOSE), streams, 20_000).mean()
        low, high = (alarm_threshold, high) if time < wanted else (low, alarm_threshold)
    return high, [float(alarms_of(high, n, Steady(rate=1 - a), streams, 2_000).mean()) for a in _DRIFTED]


def equal(pool: Executor, streams: int) -> Iterator[Table | str]:
    """Yield the delays of both modes at R1's rate of false alarms."""
    found = table("n", "R1's time, cycles", "A for that time", *(f"at {a:.2f}" for a in _DRIFTED))
    ratios = {}
    for n, (alarm_threshold, delays) in zip(
        SIZES, pool.map(partial(matched, streams=streams), SIZES), strict=True
    ):
        ratios[n] = [mine / mean_delay(n, a) for mine, a in zip(delays, _DRIFTED, strict=True)]
        found.add_row(
            f"{n:,}",
            f"{mean_delay(n, _CLOSE):.1f}",
            f"{alarm_threshold:.1f}",
            *(f"{each:.2f}" for each in ratios[n]),
        )
    yield f"delay / R1's delay, both with R1's mean time to an alarm at {_CLOSE}; {streams:,} streams"
    yield found
    below_one = max(max(each) for each in ratios.values()) < 1
    yield goal("below 1 everywhere", met=below_one)
    yield goal("at most .40 at .94 with n = 5,500", met=ratios[5_500][0] <= 0.40)  # noqa: PLR2004


def ramps(pool: Executor, streams: int) -> Iterator[Table | str]:
    """Yield the delays in the mode's weak case, an agreement that falls slowly from .974."""
    found = table("n", *(f"{slope} per cycle" for slope in _RAMPS))
    cells = [
        [
            pool.submit(alarms_of, alarm_threshold, n, Ramp(slope=slope), streams, 2_000)
            for alarm_threshold in (None, ALARM_THRESHOLD)
        ]
        for n, slope in product(SIZES[:2], _RAMPS)
    ]
    for at, n in enumerate(SIZES[:2]):
        row = []
        for slope, (first, second) in zip(_RAMPS, cells[at * len(_RAMPS) :], strict=False):
            one, other = (each.result() - Ramp(slope=slope).crossing for each in (first, second))
            row.append(f"{other.mean():+.1f} (R1 {one.mean():+.1f}, {(one <= 0).mean():.0%} before)")
        found.add_row(f"{n:,}", *row)
    yield f"slow ramps from .974: mean number of cycles from crossing .95 to the alarm, {streams:,} streams"
    yield found


def goal(text: str, *, met: bool) -> str:
    return f"goal {'met' if met else 'MISSED'}: {text}"
