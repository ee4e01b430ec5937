"""The one decoder of the values of a record: an id, a time, a text, logits and a true label.

Every reader of the request log and of true labels uses it, so that a value has the same fate in a JSON line,
a Parquet object, a SageMaker capture, a table or a file of labels. docs/traffic.md has the table.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec
import orjson


def as_text(value: object) -> object:
    """Return bytes as the UTF-8 text that they hold, and any other value as it is.

    Raises:
        UnicodeDecodeError: the bytes are not UTF-8.
    """
    return bytes(value).decode() if isinstance(value, bytes | bytearray | memoryview) else value


def request_id(value: object) -> str | None:
    """Return a string that is not empty, an integer, a decimal or a UUID as text; else None.

    A float is not an id: its text depends on the program that writes it.

    Example:
        >>> request_id(17), request_id(Decimal("1E+2")), request_id(True), request_id(1.0)
        ('17', '100', None, None)
    """
    if isinstance(value, str):
        return value or None
    if isinstance(value, Decimal):
        return f"{value:f}" if value.is_finite() else None
    return str(value) if type(value) is int or isinstance(value, UUID) else None


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
        if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
            return datetime.fromtimestamp(float(value), UTC)
    except (ValueError, ArithmeticError, OSError, msgspec.ValidationError):
        return None
    return None


def logits(value: object) -> object:
    """Return the list that a JSON text holds, with decimals as floats; any other value as it is."""
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    if isinstance(value, list):
        return [float(each) if isinstance(each, Decimal) else each for each in value]
    return value


def true_label(value: object) -> str | None:
    """Return the true label of a record; None if the value is blank or not a string."""
    return value if isinstance(value, str) and value.strip() else None


def _from_text(value: str) -> datetime:
    time: datetime = msgspec.convert(value, Annotated[datetime, msgspec.Meta(tz=True)])
    return time
