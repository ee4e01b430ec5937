"""The clock of this process. Everything below the loops takes the time as an argument."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the current time, timezone-aware, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - the one place that reads the clock
