"""A usable request of the log, or the reason why a record is refused."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import msgspec

from db.states import RejectReason


def _from_text(value: str) -> datetime:
    time: datetime = msgspec.convert(value, Annotated[datetime, msgspec.Meta(tz=True)])
    return time


class Request(NamedTuple):
    """A usable record: a user's text and time and, if logged, the student's answer and the true label.

    It is a named tuple because one is created per line, and a frozen dataclass takes four times as long.
    """

    id: str
    time: datetime
    text: str
    student_label: str | None = None
    student_logits: tuple[float, ...] | None = None
    label: str | None = None  #: the true label, which the models may not know


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """The reason why a record cannot be used, and its time if that is usable."""

    reason: RejectReason
    time: datetime | None = None


def true_label(value: object) -> str | None:
    """Return the true label of a record; None if the value is blank or not a string."""
    return value if isinstance(value, str) and value.strip() else None


def parse_time(value: object) -> datetime | None:
    """Return the time in UTC of an RFC 3339 string with an offset, or of epoch seconds; else None.

    Fractions of a second are rounded to microseconds. A string without an offset, epoch milliseconds and a
    leap second (:60) are not times. A datetime, as from a database or Parquet, is a time, in UTC if it has no
    offset.
    """
    try:
        if isinstance(value, datetime):
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, str):
            return _from_text(value).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError, msgspec.ValidationError):
        return None
    return None
