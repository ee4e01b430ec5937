"""A usable request of the log, or why a record is none."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, NamedTuple

import msgspec

from db.states import RejectReason


def _from_text(value: str) -> datetime:
    time: datetime = msgspec.convert(value, Annotated[datetime, msgspec.Meta(tz=True)])
    return time


class Request(NamedTuple):
    """A usable record: what a user asked, when, and, if logged, what the student answered and what is true.

    A named tuple, since one is made per line, and a frozen dataclass takes four times as long.
    """

    id: str
    time: datetime
    text: str
    student_label: str | None = None
    student_logits: tuple[float, ...] | None = None
    label: str | None = None  #: the true one, which the models need not know


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a record cannot be used; its time, where that at least is usable."""

    reason: RejectReason
    time: datetime | None = None


def true_label(value: object) -> str | None:
    """The true label of a record; None where it is not a string, or blank: then it has none."""
    return value if isinstance(value, str) and value.strip() else None


def parse_time(value: object) -> datetime | None:
    """A time in UTC from an RFC 3339 string with an offset or from epoch seconds; None if it is neither.

    Digits of a second beyond the sixth are rounded. A string without an offset, epoch milliseconds
    and a leap second (:60) are not times. A datetime, as databases and Parquet have them, is one; it is
    UTC where it has no offset.
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
