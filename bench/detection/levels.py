"""The two modes with a level: R1 counts breaches in a row, the sequential mode accumulates wealth.

Both are checked once per cycle, with the numbers of disagreements of many streams at once.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Protocol

import numpy as np
from streams import Bools, Ints

from db.records import CyclePoint
from db.states import CycleStatus
from monitor.intervals import wilson
from triggers.rules import operating_characteristic
from triggers.rules.evaluation import replay
from triggers.rules.sequential import Stratum, add, share_boost, share_log_increments, statistic
from triggers.settings import DEFAULT_RULES, Rule

LEVEL: Final = 0.05  #: the rate of disagreement above which the agreement is below .95
_R1: Final = DEFAULT_RULES[0]
BUDGET: Final = 0.05  #: false alarms in 1,000 cycles
ALARM_THRESHOLD: Final = 1_000 / BUDGET
_LONGEST = 20_000  #: cycles after which a stream without an alarm is abandoned


class Detector(Protocol):
    """A detector with a state for each stream that is still watched."""

    def look(self, counts: Ints) -> Bools:
        """Return which streams raise an alarm, given their (streams,) disagreements in a cycle."""

    def keep(self, chosen: Bools) -> None:
        """Keep watching only these streams."""


class Runs:
    """R1 at a level of .95: breaches in a row. A tie is not a breach."""

    def __init__(self, streams: int, n: int) -> None:
        self._most = n // 20
        self.streaks = np.zeros(streams, dtype=np.int64)

    def look(self, counts: Ints) -> Bools:
        self.streaks = np.where(counts > self._most, self.streaks + 1, 0)
        return self.streaks >= _R1.for_cycles

    def keep(self, chosen: Bools) -> None:
        self.streaks = self.streaks[chosen]


class Evidence:
    """The sequential mode, with the functions of `triggers.rules.sequential`."""

    def __init__(self, streams: int, n: int, *, level: float = LEVEL, alarm_threshold: float) -> None:
        self._n, self._level, self._alarm_threshold = n, level, alarm_threshold
        self._log_increments = np.array(
            [share_log_increments([Stratum(weight=1.0, n=n, errors=k)], level) for k in range(n + 1)]
        )
        self.log_wealth = np.full((streams, self._log_increments.shape[1]), -np.inf)

    def look(self, counts: Ints) -> Bools:
        boost = share_boost(self.log_wealth, self._n, self._level, self._alarm_threshold)
        self.log_wealth = add(self.log_wealth, self._log_increments[counts] + boost[:, None])
        return statistic(self.log_wealth) >= np.log(self._alarm_threshold)

    def keep(self, chosen: Bools) -> None:
        self.log_wealth = self.log_wealth[chosen]


def first_alarms(
    detector: Detector,
    n: int,
    rate: Callable[[int], float],
    *,
    streams: int,
    seed: int,
    cycles: int = _LONGEST,
) -> Ints:
    """Return the cycle of each stream's first alarm, (streams,), counted from 1; 0 without an alarm.

    `rate` gives the rate of disagreement in a cycle by the cycle's number.
    """
    rng = np.random.default_rng([seed, n])
    found, watched = np.zeros(streams, dtype=np.int64), np.arange(streams)
    for cycle in range(1, cycles + 1):
        alarms = detector.look(rng.binomial(n, rate(cycle), size=streams)[watched])
        found[watched[alarms]] = cycle
        watched = watched[~alarms]
        if not watched.size:
            break
        detector.keep(~alarms)
    return found


def false_alarm(n: int, agreement: float) -> float:
    """Return the exact probability that R1 fires within 1,000 cycles."""
    return operating_characteristic.false_alarm(_R1, _cycle(n, 0), agreement, wilson)


def mean_delay(n: int, agreement: float) -> float:
    """Return the exact mean number of cycles to R1's first alarm, including the cycle that raises it."""
    return operating_characteristic.delay(_R1, _cycle(n, 0), agreement, wilson, np.random.default_rng()).mean


def assert_as_the_product(n: int, alarm_threshold: float, *, streams: int = 20, cycles: int = 40) -> None:
    """Raise AssertionError unless `triggers.rules` has the same first alarms for the same counts."""
    rng = np.random.default_rng(n)
    counts = rng.binomial(n, np.repeat([0.048, 0.07], cycles // 2)[:, None], size=(cycles, streams))
    rules = {
        "R1": _R1,
        "sequential": Rule(
            name="sequential",
            metric="agreement",
            below=Decimal("0.95"),
            mode="sequential",
            false_alarm_rate=1_000 / alarm_threshold,
        ),
    }
    points = [[_cycle(n, int(k), hour) for hour, k in enumerate(each)] for each in counts.T]
    detectors: dict[str, Detector] = {
        "R1": Runs(streams, n),
        "sequential": Evidence(streams, n, alarm_threshold=alarm_threshold),
    }
    for name, detector in detectors.items():
        ours = np.array([detector.look(row) for row in counts]).T
        for stream, alarms in enumerate(ours):
            fired = [each.fired for each in replay(rules[name], points[stream])]
            assert fired.index(True) == alarms.argmax(), (name, n, stream)  # noqa: S101


def _cycle(n: int, disagreements: int, hour: int = 0) -> CyclePoint:
    return CyclePoint(
        window_end=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour),
        status=CycleStatus.EVALUATED,
        n=n,
        disagreements=disagreements,
    )
