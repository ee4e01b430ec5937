"""The shortest window of a request log that has enough requests for a cycle, nights included."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from monitor.daemon.schedule import make_trigger, slots_between
from monitor.settings import MonitorSection

#: The window lengths to choose from, shortest first, in the notation of `every` in [monitor].
PERIODS: Final = ("1h", "2h", "3h", "4h", "6h", "8h", "12h", "24h", "2d", "3d", "7d")
_SHORTEST_SPAN: Final = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """The arrival times of the requests in a log."""

    times: Sequence[datetime]  #: of a uniform sample of the requests, in any order; at least one
    n: int  #: number of all requests

    @property
    def first(self) -> datetime:
        """The earliest time."""
        return min(self.times)

    @property
    def last(self) -> datetime:
        """The latest time."""
        return max(self.times)

    def since(self, start: datetime) -> int:
        """Return the estimated number of requests after `start`."""
        return round(sum(time > start for time in self.times) * self.n / len(self.times))


@dataclass(frozen=True, kw_only=True)
class Period:
    """A window length, and the number of requests in the quietest window."""

    every: str  #: one of PERIODS
    n_windows: int  #: complete windows in the log; 0: the log is shorter than a window
    quietest: int  #: requests in the window with the fewest; with `n_windows` 0, expected by the log's rate


def shortest_period(arrivals: Arrivals, enough: int) -> Period:
    """Return the shortest period in which each complete window of the log has `enough` requests.

    The windows are those of the schedule. For a period without a complete window in the log, the rate over
    the whole log is used. If no period has enough requests, the longest is returned.

    Example:
        >>> from datetime import UTC
        >>> start = datetime(2026, 11, 23, tzinfo=UTC)
        >>> times = [start + index * timedelta(minutes=1) for index in range(24 * 60 + 1)]
        >>> shortest_period(Arrivals(times=times, n=len(times)), 150)
        Period(every='3h', n_windows=8, quietest=180)
    """
    periods = (_period(arrivals, every) for every in PERIODS)
    return next((each for each in periods if each.quietest >= enough), _period(arrivals, PERIODS[-1]))


def _period(arrivals: Arrivals, every: str) -> Period:
    section = MonitorSection.model_validate({"every": every})
    slots = slots_between(make_trigger(section), section.name, arrivals.first, arrivals.last)
    if not slots or section.every is None:
        span = max(arrivals.last - arrivals.first, _SHORTEST_SPAN)
        expected = arrivals.n * ((section.every or span) / span)
        return Period(every=every, n_windows=0, quietest=int(expected))
    edges = [slots[0].window_start, *(slot.window_end for slot in slots)]
    places = np.searchsorted(
        np.sort([time.timestamp() for time in arrivals.times]), [edge.timestamp() for edge in edges]
    )
    fewest = np.diff(places).min() * arrivals.n / len(arrivals.times)
    return Period(every=every, n_windows=len(slots), quietest=int(fewest))
