"""The shortest window of a request log in which a cycle finds enough requests, nights included."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from monitor.daemon.schedule import make_trigger, slots_between
from monitor.settings import MonitorSection

#: Windows to choose from, the shortest first, as `every` in [monitor] is written.
PERIODS: Final = ("1h", "2h", "3h", "4h", "6h", "8h", "12h", "24h", "2d", "3d", "7d")
_SHORTEST_SPAN: Final = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """When the requests of a log came."""

    times: Sequence[datetime]  #: of a uniform sample of them, in any order; at least one
    n: int  #: how many requests there are

    @property
    def first(self) -> datetime:
        """The time of the first one."""
        return min(self.times)

    @property
    def last(self) -> datetime:
        """The time of the last one."""
        return max(self.times)

    def since(self, start: datetime) -> int:
        """Return how many requests came after `start`."""
        return round(sum(time > start for time in self.times) * self._each)

    @property
    def _each(self) -> float:
        """What a request of the sample stands for."""
        return self.n / len(self.times)


@dataclass(frozen=True, kw_only=True)
class Period:
    """A length of windows, and how many requests the quietest of them has."""

    every: str  #: one of PERIODS
    n_windows: int  #: complete windows in the log; 0: it is shorter, and its rate is used
    quietest: int  #: requests in the window that has fewest; without a complete one those expected in any


def shortest_period(profile: Profile, enough: int) -> Period:
    """Return the shortest period in which each complete window of the log holds `enough` requests.

    Windows lie where the schedule puts them. Where the log has no complete one of a period its rate over all
    of its span stands for them. If no period has enough the longest is returned.

    Example:
        >>> from datetime import UTC
        >>> start = datetime(2026, 11, 23, tzinfo=UTC)
        >>> times = [start + index * timedelta(minutes=1) for index in range(24 * 60 + 1)]
        >>> shortest_period(Profile(times=times, n=len(times)), 150)
        Period(every='3h', n_windows=8, quietest=180)
    """
    found = (_of_period(profile, every) for every in PERIODS)
    return next((each for each in found if each.quietest >= enough), _of_period(profile, PERIODS[-1]))


def _of_period(profile: Profile, every: str) -> Period:
    section = MonitorSection.model_validate({"every": every})
    slots = slots_between(make_trigger(section), section.name, profile.first, profile.last)
    if not slots or section.every is None:
        span = max(profile.last - profile.first, _SHORTEST_SPAN)
        expected = profile.n * ((section.every or span) / span)
        return Period(every=every, n_windows=0, quietest=int(expected))
    edges = [slots[0].window_start, *(slot.window_end for slot in slots)]
    places = np.searchsorted(
        np.sort([time.timestamp() for time in profile.times]), [edge.timestamp() for edge in edges]
    )
    fewest = np.diff(places).min() * profile.n / len(profile.times)
    return Period(every=every, n_windows=len(slots), quietest=int(fewest))
