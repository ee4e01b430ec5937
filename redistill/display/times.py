"""Times and durations, as people write and read them."""

from datetime import UTC, datetime, timedelta
from typing import Final

import durationpy

from db.errors import RedistillError

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


#: The years whose times have windows before and after them.
_YEARS: Final = range(1_000, 9_000)


class BadTimeError(RedistillError):
    """{option}: {text!r} is not a time: give one such as '2026-11-24T10:00:00Z' (UTC without an offset), or a
    duration back from now such as '24h'.
    """

    exit_code = 2


def moment(option: str, text: str, now: datetime) -> datetime:
    """Return the aware UTC time of `text`: a time, a day (its first instant) or a duration back from `now`.

    Raises:
        BadTimeError: `text` is none of these; the message names the option.
    """
    try:
        found = _parsed(text, now)
    except (durationpy.DurationError, ValueError, OverflowError) as error:
        raise BadTimeError(option=option, text=text) from error
    if found.year not in _YEARS:
        raise BadTimeError(option=option, text=text)
    return found


def _parsed(text: str, now: datetime) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return now - durationpy.from_str(text)
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def length(span: timedelta) -> str:
    """Return a duration in its largest fitting unit: '45 s', '3 min', '26 h' below two days, '9 d'."""
    seconds = abs(span.total_seconds())
    for size, unit in _UNITS:
        if seconds >= (2 if unit == "d" else 1) * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def relative(then: datetime, now: datetime) -> str:
    """Return a time relative to `now`: '3 min ago', 'in 12 min' or 'now'."""
    if abs(then - now) < timedelta(seconds=1):
        return "now"
    return f"{length(now - then)} ago" if then < now else f"in {length(then - now)}"
