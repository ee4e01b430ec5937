"""One raw line of the request log, as a usable request or a reason why it is none."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, cast

import numpy as np
import orjson

from db.records import RejectReason
from monitor.settings import TrafficSection

_BOM = b"\xef\xbb\xbf"
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)
_NOT_FINITE = re.compile(rb"-?\b(?:NaN|Infinity)\b")  #: what some writers put where JSON has no word
_NUMBERS = frozenset({int, float})  #: the types; a bool is not among them
_LARGEST_LOGIT = float(np.finfo(np.float32).max)


class Request(NamedTuple):
    """A usable record: what a user asked, when, and, if logged, what the student answered.

    A named tuple, since one is made per line, and a frozen dataclass takes four times as long.
    """

    id: str
    time: datetime
    text: str
    student_label: str | None = None
    student_logits: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """Why a record cannot be used; its time, where that at least is usable."""

    reason: RejectReason
    time: datetime | None = None


def parse_time(value: object) -> datetime | None:
    """A time in UTC from an RFC 3339 string with an offset or from epoch seconds; None if it is neither.

    Digits of a second beyond the sixth are cut off. A string without an offset, epoch milliseconds
    and a leap second (:60) are not times.
    """
    try:
        if isinstance(value, str):
            return _parse_stamp(value) if _RFC3339.fullmatch(value) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _parse_stamp(stamp: str) -> datetime:
    time = datetime.fromisoformat(stamp.upper())
    return time if time.tzinfo is UTC else time.astimezone(UTC)


class RecordParser:
    """Reads lines by the field names of `section`.

    Args:
        section: the names of the fields, and the longest text that is taken.
        labels: the models' label names, which decide on `student_label` and the length of
            `student_logits`; None where the models are not known yet, and neither is checked.
    """

    def __init__(self, section: TrafficSection, labels: Collection[str] | None) -> None:
        self._names = (section.id, section.time, section.text)
        self._student_names = (section.student_label, section.student_logits)
        self._max_text_chars = section.max_text_chars
        self._labels = None if labels is None else frozenset(labels)

    def parse(self, line: bytes) -> Request | Refusal:
        """One line without its line feed. The first reason in the order of `RejectReason` is given.

        The last of duplicate keys counts; an integer id becomes a string; a byte order mark and
        white space around the object are passed over.
        """
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return self._parse_damaged(line)
        return self._parse_row(row)

    def _parse_damaged(self, line: bytes) -> Request | Refusal:
        try:
            line.decode()
        except UnicodeDecodeError:
            return Refusal(reason=RejectReason.NOT_UTF8)
        try:
            return self._parse_row(orjson.loads(line.removeprefix(_BOM)))
        except orjson.JSONDecodeError:
            return self._parse_not_finite(line)

    def _parse_not_finite(self, line: bytes) -> Refusal:
        """Never usable, but its time, and whether the logits are to blame, can be told."""
        try:
            found = self._parse_row(orjson.loads(_NOT_FINITE.sub(b"null", line)))
        except orjson.JSONDecodeError:
            return Refusal(reason=RejectReason.NOT_JSON)
        if isinstance(found, Refusal) and found.reason is RejectReason.BAD_LOGITS:
            return found
        return Refusal(reason=RejectReason.NOT_JSON, time=found.time)

    def _parse_row(self, row: object) -> Request | Refusal:
        if not isinstance(row, dict):
            return Refusal(reason=RejectReason.NOT_JSON)
        raw_id, raw_time, text = map(row.get, self._names)
        label, logits = map(row.get, self._student_names)
        request_id = str(raw_id) if type(raw_id) is int else raw_id
        time = parse_time(raw_time)
        if not (isinstance(request_id, str) and request_id):
            return Refusal(reason=RejectReason.NO_ID, time=time)
        if time is None:
            return Refusal(reason=RejectReason.NO_TIME if raw_time is None else RejectReason.BAD_TIME)
        reason = self._refuse_text(text) or self._refuse_answer(label, logits)
        if reason is not None:
            return Refusal(reason=reason, time=time)
        return Request(
            id=request_id,
            time=time,
            text=cast("str", text),
            student_label=label,
            student_logits=None if logits is None else tuple(logits),
        )

    def _refuse_text(self, text: object) -> RejectReason | None:
        if text is None:
            return RejectReason.NO_TEXT
        if not isinstance(text, str):
            return RejectReason.TEXT_NOT_STRING
        if not text or text.isspace():
            return RejectReason.TEXT_EMPTY
        return RejectReason.TEXT_TOO_LONG if len(text) > self._max_text_chars else None

    def _refuse_answer(self, label: object, logits: object) -> RejectReason | None:
        if label is not None and not self._is_label(label):
            return RejectReason.UNKNOWN_LABEL
        if logits is not None and not self._are_logits(logits):
            return RejectReason.BAD_LOGITS
        return None

    def _is_label(self, label: object) -> bool:
        return isinstance(label, str) and (self._labels is None or label in self._labels)

    def _are_logits(self, logits: object) -> bool:
        return (
            isinstance(logits, list)
            and (self._labels is None or len(logits) == len(self._labels))
            and _NUMBERS.issuperset(map(type, logits))
            and max(map(abs, logits), default=0) <= _LARGEST_LOGIT
        )
