"""The fast decoder of records with the usual fields, by msgspec."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from types import NoneType
from typing import Annotated, Any, Literal, cast

import msgspec
import numpy as np
from msgspec import Meta

from monitor.sources.request import Request
from monitor.sources.values import true_label

LARGEST_LOGIT = float(np.finfo(np.float32).max)
_NO_NAME = (
    " "  #: for a log without a true label; a record with a field of this name is left to `RecordParser`
)
_FIRST_YEAR, _LAST_YEAR = 2, 9_998  #: the years of times that exist in every time zone


class Row(msgspec.Struct, gc=False):
    """A record whose fields have the right types and sizes; its text may still be only white space."""

    id: str | int
    time: datetime
    text: str
    student_label: str | None = None
    student_logits: list[float] | None = None
    label: Any = None

    def as_request(self) -> Request:
        """Return the request, with the id as text and the time in UTC."""
        return Request(
            id=str(self.id),
            time=self.time.astimezone(UTC),
            text=self.text,
            student_label=self.student_label,
            student_logits=None if self.student_logits is None else tuple(self.student_logits),
            label=true_label(self.label),
        )


class RowDecoder:
    """A decoder of records that are certainly usable; `RecordParser` finds out what is wrong with others.

    Args:
        names: the plain names of id, time, text, student label, student logits and, if any, true label.
        labels: see `RecordParser`.
        max_text_chars: the length of the longest text that is accepted.
    """

    def __init__(self, names: Sequence[str], labels: Collection[str] | None, max_text_chars: int) -> None:
        named = msgspec.defstruct("NamedRow", _fields(names, labels, max_text_chars), bases=(Row,), gc=False)
        self._decoder = msgspec.json.Decoder(cast("type[Row]", named))

    def decode(self, lines: Sequence[bytes]) -> list[Row] | None:
        """Return one record per line, or None if not all lines are certainly usable."""
        try:
            b"".join(lines).decode()  # msgspec does not check the bytes of unknown fields
            rows = [*map(self._decoder.decode, lines)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        times = [row.time for row in rows]
        if any(map(str.isspace, [row.text for row in rows])):
            return None
        return rows if min(times).year >= _FIRST_YEAR and max(times).year <= _LAST_YEAR else None


def _fields(
    names: Sequence[str], labels: Collection[str] | None, max_text_chars: int
) -> list[tuple[str, Any, Any]]:
    kinds = {
        "id": Annotated[str, Meta(min_length=1)] | int,
        "time": Annotated[datetime, Meta(tz=True)],
        "text": Annotated[str, Meta(min_length=1, max_length=max_text_chars)],
        "student_label": _label(labels) | None,
        "student_logits": _logits(labels) | None,
        "label": Any if len(names) == len(Row.__struct_fields__) else None,
    }
    fields = []
    for name, (key, kind) in zip((*names, _NO_NAME), kinds.items(), strict=False):
        default = msgspec.NODEFAULT if key in {"id", "time", "text"} else None
        fields.append((key, kind, msgspec.field(name=name, default=default)))
    return fields


def _label(labels: Collection[str] | None) -> Any:  # noqa: ANN401 - a type that is created at run time
    if labels is None:
        return str
    return Literal[tuple(labels)] if labels else NoneType


def _logits(labels: Collection[str] | None) -> Any:  # noqa: ANN401 - as above
    one = Annotated[float, Meta(ge=-LARGEST_LOGIT, le=LARGEST_LOGIT)]
    n = None if labels is None else len(labels)
    return Annotated[list[one], Meta(min_length=n, max_length=n)]
