"""How people write and read times."""

from datetime import UTC, datetime, timedelta

import pytest

from redistill.display.times import BadTimeError, length, moment, relative

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-11-24T10:00:00Z", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("2026-11-24T10:00:00+02:00", datetime(2026, 11, 24, 8, tzinfo=UTC)),
        ("2026-11-24 10:00", datetime(2026, 11, 24, 10, tzinfo=UTC)),
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC)),
        ("24h", NOW - timedelta(hours=24)),
        ("7d", NOW - timedelta(days=7)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("0s", NOW),
    ],
)
def test_a_time_a_day_or_a_duration_back_is_a_moment(text: str, wanted: datetime) -> None:
    assert moment("--since", text, NOW) == wanted


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "24", "24x", "2026-13-01", "h", "99999999999d"),
        # Times before or after which there is no window.
        *("0001-01-01", "0001-01-01T00:00:00+01:00", "0999-12-31", "9999-12-31T23:59:59-01:00", "730000d"),
    ],
)
def test_anything_else_is_refused_with_the_option_and_an_example(text: str) -> None:
    with pytest.raises(BadTimeError) as refused:
        moment("--since", text, NOW)
    assert str(refused.value).startswith(f"--since: '{text}' is not a time: give one such as")


@pytest.mark.parametrize(
    ("span", "wanted"),
    [
        (timedelta(seconds=45), "45 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(minutes=59), "59 min"),
        (timedelta(hours=1), "1 h"),
        (timedelta(hours=47), "47 h"),
        (timedelta(days=2), "2 d"),
        (timedelta(days=400), "400 d"),
    ],
)
def test_a_length_is_told_in_its_largest_fitting_unit(span: timedelta, wanted: str) -> None:
    assert length(span) == wanted


def test_a_time_is_told_from_now() -> None:
    assert relative(NOW - timedelta(minutes=3), NOW) == "3 min ago"
    assert relative(NOW + timedelta(minutes=12), NOW) == "in 12 min"
    assert relative(NOW, NOW) == "now"
