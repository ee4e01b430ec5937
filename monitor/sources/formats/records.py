"""Parsing raw records of the request log into usable requests, or the reasons for refusing them."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import cast

import jmespath
import orjson

from db.states import RejectReason
from monitor.setting_values import is_plain_name
from monitor.settings import ObjectsSection, TrafficSection
from monitor.sources.formats import sagemaker_capture
from monitor.sources.formats.lines import BOM
from monitor.sources.formats.schema import LARGEST_LOGIT, Row, RowDecoder
from monitor.sources.request import Refusal, Request
from monitor.sources.values import as_text, logits, parse_time, request_id, true_label

_NOT_FINITE = re.compile(rb"-?\b(?:NaN|Infinity)\b")  #: values that some writers use and JSON does not have
_NUMBERS = frozenset({int, float})  #: the exact types; bool is not one of them

#: Returns the values of a row for id, time, text, student_label, student_logits and, if configured, label.
_Values = Callable[[dict[str, object]], Iterable[object]]


class RecordParser:
    """A parser of records, by the field names of `section`.

    Args:
        section: the format, the field names, and the length of the longest text that is accepted.
        labels: the models' label names, against which `student_label` and the length of `student_logits` are
            checked; None if the models are not known yet, to skip both checks.
    """

    def __init__(self, section: TrafficSection, labels: Collection[str] | None) -> None:
        self._values = _values_by(section.names)
        self._is_capture = isinstance(section, ObjectsSection) and section.format == "sagemaker-capture"
        self._max_text_chars = section.max_text_chars
        self._labels = None if labels is None else frozenset(labels)
        self._decoder = self._row_decoder(section)

    def _row_decoder(self, section: TrafficSection) -> RowDecoder | None:
        names = section.names
        if self._is_capture or len(set(names)) < len(names) or not all(map(is_plain_name, names)):
            return None
        return RowDecoder(names, self._labels, self._max_text_chars)

    def parse(self, line: bytes) -> Request | Refusal:
        """Parse one line without its line feed; a refusal has the first reason that applies.

        Reasons are in the order of `RejectReason`. Of duplicate keys, the last one counts. An integer id
        becomes a string. A byte order mark and white space around the object are ignored.
        """
        if rows := self.decode([line]):
            return rows[0].as_request()
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            return self._parse_damaged(line)
        return self.parse_row(row)

    def decode(self, lines: Sequence[bytes]) -> list[Row] | None:
        """Return the parsed lines if a fast decoder finds all of them usable; else None."""
        return self._decoder.decode(lines) if self._decoder else None

    def _parse_damaged(self, line: bytes) -> Request | Refusal:
        try:
            line.decode()
        except UnicodeDecodeError:
            return Refusal(reason=RejectReason.NOT_UTF8)
        try:
            return self.parse_row(orjson.loads(line.removeprefix(BOM)))
        except orjson.JSONDecodeError:
            return self._parse_not_finite(line)

    def _parse_not_finite(self, line: bytes) -> Refusal:
        """Refuse a record with values that are not finite, with its time and the reason, where possible."""
        try:
            found = self.parse_row(orjson.loads(_NOT_FINITE.sub(b"null", line)))
        except orjson.JSONDecodeError:
            return Refusal(reason=RejectReason.NOT_JSON)
        if isinstance(found, Refusal) and found.reason is RejectReason.BAD_LOGITS:
            return found
        return Refusal(reason=RejectReason.NOT_JSON, time=found.time)

    def parse_row(self, row: object) -> Request | Refusal:
        """Parse a decoded record, whose values may be of the types of Parquet and of databases."""
        if not isinstance(row, dict):
            return Refusal(reason=RejectReason.NOT_JSON)
        if self._is_capture:
            row = sagemaker_capture.unwrap(row)
            if isinstance(row, Refusal):
                return row
        return self._parse_values([*self._values(row)])

    def _parse_values(self, values: Sequence[object]) -> Request | Refusal:
        try:
            raw_id, raw_time, text, label, raw_logits, *true = map(as_text, values)
        except UnicodeDecodeError:
            return Refusal(reason=RejectReason.NOT_UTF8, time=parse_time(values[1]))
        known_as, time, scores = request_id(raw_id), parse_time(raw_time), logits(raw_logits)
        if known_as is None:
            return Refusal(reason=RejectReason.NO_ID, time=time)
        if time is None:
            return Refusal(reason=RejectReason.NO_TIME if raw_time is None else RejectReason.BAD_TIME)
        reason = self._refuse_text(text) or self._refuse_answer(label, scores)
        if reason is not None:
            return Refusal(reason=reason, time=time)
        return Request(
            id=known_as,
            time=time,
            text=cast("str", text),
            student_label=cast("str | None", label),
            student_logits=None if scores is None else tuple(cast("list[float]", scores)),
            label=true_label(true[0]) if true else None,
        )

    def _refuse_text(self, text: object) -> RejectReason | None:
        if text is None:
            return RejectReason.NO_TEXT
        if not isinstance(text, str):
            return RejectReason.TEXT_NOT_STRING
        if not text or text.isspace():
            return RejectReason.TEXT_EMPTY
        return RejectReason.TEXT_TOO_LONG if len(text) > self._max_text_chars else None

    def _refuse_answer(self, label: object, scores: object) -> RejectReason | None:
        if label is not None and not self._is_label(label):
            return RejectReason.UNKNOWN_LABEL
        if scores is not None and not self._are_logits(scores):
            return RejectReason.BAD_LOGITS
        return None

    def _is_label(self, label: object) -> bool:
        return isinstance(label, str) and (self._labels is None or label in self._labels)

    def _are_logits(self, scores: object) -> bool:
        return (
            isinstance(scores, list)
            and (self._labels is None or len(scores) == len(self._labels))
            and _NUMBERS.issuperset(map(type, scores))
            and max(map(abs, scores), default=0) <= LARGEST_LOGIT
        )


def _values_by(names: tuple[str, ...]) -> _Values:
    """Return a lookup by key, which is faster, if all names are plain; else a lookup by JMESPath."""
    if all(map(is_plain_name, names)):
        return lambda row: map(row.get, names)
    searches = [_search(name) for name in names]
    return lambda row: [search(row) for search in searches]


def _search(name: str) -> Callable[[dict[str, object]], object]:
    if is_plain_name(name):
        return lambda row: row.get(name)
    expression = jmespath.compile(name)

    def search(row: dict[str, object]) -> object:
        try:
            return expression.search(row)
        except Exception:  # noqa: BLE001 - a function that does not accept the value raises anything
            return None

    return search
