"""The window that `init` chooses: the shortest whose quietest one holds enough requests."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from monitor.daemon.schedule import make_trigger, slots_between
from monitor.settings import MonitorSection
from redistill.configuration.period import PERIODS, Arrivals, Period, shortest_period

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
HOUR = timedelta(hours=1)
ENOUGH = 1_000


def steady(per_hour: int) -> Callable[[int], int]:
    return lambda _hour: per_hour


def by_day(day: int, night: int) -> Callable[[int], int]:
    """Between 8:00 and 22:00, and between 22:00 and 8:00."""
    return lambda hour: day if 8 <= hour % 24 < 22 else night


def profile(rate: Callable[[int], int], *, hours: int, start: datetime = MONDAY, n_days: int = 7) -> Arrivals:
    """A log of that many requests in each hour, evenly spread."""
    assert hours <= 24 * n_days
    times = [
        start + hour * HOUR + number * HOUR / rate(hour)
        for hour in range(hours)
        for number in range(rate(hour))
    ]
    return Arrivals(times=times, n=len(times))


@pytest.mark.parametrize(
    ("rate", "hours", "expected", "sentence"),
    [
        (steady(1_500), 168, Period(every="1h", n_windows=167, quietest=1_500), "case 64"),
        (steady(1_500), 3, Period(every="1h", n_windows=2, quietest=1_500), "of a short log, too"),
        (steady(1_000), 24, Period(every="1h", n_windows=23, quietest=1_000), "exactly enough is enough"),
        (steady(999), 24, Period(every="2h", n_windows=11, quietest=1_998), "one less is not"),
        (steady(700), 168, Period(every="2h", n_windows=83, quietest=1_400), "two hours of 700"),
        (steady(260), 168, Period(every="4h", n_windows=41, quietest=1_040), "never more than are needed"),
        (by_day(2_000, 400), 168, Period(every="3h", n_windows=55, quietest=1_200), "the night counts"),
        (by_day(2_000, 120), 168, Period(every="12h", n_windows=13, quietest=8_960), "8 h of night are 960"),
        (steady(50), 168, Period(every="24h", n_windows=6, quietest=1_200), "a day"),
        (steady(15), 168, Period(every="3d", n_windows=1, quietest=1_080), "three days"),
        (steady(400), 3, Period(every="3h", n_windows=0, quietest=1_201), "the rate of a log of 3 hours"),
        (steady(5), 3, Period(every="7d", n_windows=0, quietest=900), "the longest, where none has enough"),
    ],
)  # fmt: skip
def test_the_shortest_period_whose_quietest_window_has_enough(
    rate: Callable[[int], int], hours: int, expected: Period, sentence: str
) -> None:
    assert shortest_period(profile(rate, hours=hours), ENOUGH) == expected, sentence


def test_a_sample_of_the_requests_stands_for_all() -> None:
    whole = profile(steady(3_000), hours=48)
    sampled = Arrivals(times=whole.times[::5], n=whole.n)
    assert shortest_period(sampled, ENOUGH) == shortest_period(whole, ENOUGH)
    assert sampled.since(sampled.last - timedelta(days=1)) == pytest.approx(72_000, rel=0.001)


def test_a_log_of_one_request_has_a_period() -> None:
    assert shortest_period(Arrivals(times=[MONDAY], n=1), ENOUGH).n_windows == 0


@pytest.mark.parametrize("every", PERIODS)
def test_every_period_is_one_that_the_schedule_takes(every: str) -> None:
    """Each window begins where one of those that are half as long, or a day, begins: at midnight at least."""
    section = MonitorSection.model_validate({"every": every})
    slots = slots_between(
        make_trigger(section), "x", MONDAY - timedelta(days=30), MONDAY + timedelta(days=30)
    )
    lengths = {slot.window_end - slot.window_start for slot in slots}
    assert lengths == {section.every}
    midnights: Sequence[datetime] = [slot.window_start for slot in slots if not slot.window_start.hour]
    assert midnights
