"""What is a usable record, and why others are refused."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from db.states import RejectReason
from monitor.settings import FilesTraffic
from monitor.sources.formats.records import RecordParser
from monitor.sources.request import Refusal, Request
from monitor.sources.values import parse_time

LABELS = ("faq", "promotion", "escalation")
TEN = datetime(2026, 11, 24, 10, 0, 3, tzinfo=UTC)
GOOD: dict[str, object] = {"id": "r-1", "time": "2026-11-24T10:00:03Z", "text": "where is my order?"}


def parser(labels: tuple[str, ...] | None = LABELS, **names: object) -> RecordParser:
    return RecordParser(FilesTraffic.model_validate({"uri": Path("log"), **names}), labels)


def parse(line: bytes | dict[str, object]) -> Request | Refusal:
    return parser().parse(line if isinstance(line, bytes) else json.dumps(line).encode())


def reason(line: bytes | dict[str, object]) -> RejectReason | None:
    found = parse(line)
    return found.reason if isinstance(found, Refusal) else None


def without(*names: str) -> dict[str, object]:
    return {name: value for name, value in GOOD.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"id": 17}, {"id": "17"}),
        ({"id": -1}, {"id": "-1"}),
        ({"text": " hi\u0000 "}, {"text": " hi\u0000 "}),
        ({"text": "x" * 10_000}, {"text": "x" * 10_000}),
        ({"student_label": "faq"}, {"student_label": "faq"}),
        ({"student_label": None, "student_logits": None}, {}),
        ({"student_logits": [1, -2.5, 0]}, {"student_logits": (1, -2.5, 0)}),
        ({"student_logits": [3.4e38, -3.4e38, 0]}, {"student_logits": (3.4e38, -3.4e38, 0)}),
        ({"label": "weather"}, {"label": "weather"}),
        ({"label": "faq", "student_label": "promotion"}, {"label": "faq", "student_label": "promotion"}),
        ({"label": None}, {}),
        ({"label": ""}, {}),
        ({"label": " \n"}, {}),
        ({"label": 3}, {}),
        ({"label": ["faq"]}, {}),
        ({"label": {"name": "faq"}}, {}),
        ({"label": 10**400}, {}),
        ({"anything": {"else": [1]}}, {}),
    ],
)
def test_a_usable_record_is_taken_as_it_is(change: dict[str, object], expected: dict[str, Any]) -> None:
    """Further fields are passed over, an absent and a null answer of the student are the same. A true label
    need not be one of the models', and what is none at all is passed over, too.
    """
    request = Request(id="r-1", time=TEN, text="where is my order?")
    assert parse(GOOD | change) == request._replace(**expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"id": "r", "text": "caf\xe9"}', RejectReason.NOT_UTF8),
        (b'{"id": "r", "text": "\xed\xa0\x80"}', RejectReason.NOT_UTF8),
        (json.dumps(GOOD).encode("utf-16"), RejectReason.NOT_UTF8),
        (b"where is my order?", RejectReason.NOT_JSON),
        (b'{"id": "r-1", "time": ', RejectReason.NOT_JSON),
        (b'["r-1"]', RejectReason.NOT_JSON),
        (b"null", RejectReason.NOT_JSON),
        (b'{"id": "a"}{"id": "b"}', RejectReason.NOT_JSON),
        (b"[" * 200_000, RejectReason.NOT_JSON),
        (b'{"a":' * 200_000, RejectReason.NOT_JSON),
        (b'{"id": "r", "text": "\\ud800"}', RejectReason.NOT_JSON),
        (without("id"), RejectReason.NO_ID),
        (GOOD | {"id": None}, RejectReason.NO_ID),
        (GOOD | {"id": ""}, RejectReason.NO_ID),
        (GOOD | {"id": True}, RejectReason.NO_ID),
        (GOOD | {"id": 1.5}, RejectReason.NO_ID),
        (GOOD | {"id": ["r-1"]}, RejectReason.NO_ID),
        (without("time"), RejectReason.NO_TIME),
        (GOOD | {"time": None}, RejectReason.NO_TIME),
        (GOOD | {"time": "2026-11-24T10:00:03"}, RejectReason.BAD_TIME),
        (without("text"), RejectReason.NO_TEXT),
        (GOOD | {"text": None}, RejectReason.NO_TEXT),
        (GOOD | {"text": 7}, RejectReason.TEXT_NOT_STRING),
        (GOOD | {"text": ["hi"]}, RejectReason.TEXT_NOT_STRING),
        (GOOD | {"text": ""}, RejectReason.TEXT_EMPTY),
        (GOOD | {"text": " \t\u3000\n"}, RejectReason.TEXT_EMPTY),
        (GOOD | {"text": "x" * 10_001}, RejectReason.TEXT_TOO_LONG),
        (GOOD | {"student_label": "weather"}, RejectReason.UNKNOWN_LABEL),
        (GOOD | {"student_label": 1}, RejectReason.UNKNOWN_LABEL),
        (GOOD | {"student_logits": [1.0, 2.0]}, RejectReason.BAD_LOGITS),
        (GOOD | {"student_logits": [1.0, 2.0, "3"]}, RejectReason.BAD_LOGITS),
        (GOOD | {"student_logits": [1.0, 2.0, True]}, RejectReason.BAD_LOGITS),
        (GOOD | {"student_logits": [1.0, 2.0, None]}, RejectReason.BAD_LOGITS),
        (GOOD | {"student_logits": [1.0, 2.0, 1e39]}, RejectReason.BAD_LOGITS),
        (GOOD | {"student_logits": [1.0, 2.0, float("nan")]}, RejectReason.BAD_LOGITS),
        (GOOD | {"student_logits": [1.0, 2.0, float("-inf")]}, RejectReason.BAD_LOGITS),
        (GOOD | {"student_logits": {"faq": 1.0}}, RejectReason.BAD_LOGITS),
        (GOOD | {"seconds": float("nan")}, RejectReason.NOT_JSON),
        (without("id", "time", "text"), RejectReason.NO_ID),
        (without("time", "text"), RejectReason.NO_TIME),
        (without("text") | {"student_label": "weather"}, RejectReason.NO_TEXT),
    ],
)
def test_an_unusable_record_is_refused_with_its_first_reason(
    line: bytes | dict[str, object], expected: RejectReason
) -> None:
    assert reason(line) is expected


@pytest.mark.parametrize(
    "line",
    [
        without("id"),
        without("text"),
        GOOD | {"student_label": "weather"},
        GOOD | {"student_logits": [float("nan")] * 3},
        GOOD | {"seconds": float("inf")},
    ],
)
def test_a_refused_record_keeps_its_time_where_that_is_usable(line: dict[str, object]) -> None:
    found = parse(line)
    assert isinstance(found, Refusal)
    assert found.time == TEN


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-11-24T10:00:03Z", TEN),
        ("2026-11-24t10:00:03z", TEN),
        ("2026-11-24 10:00:03+00:00", TEN),
        ("2026-11-24T10:00:03-00:00", TEN),
        ("2026-11-24T15:30:03+05:30", TEN),
        ("2026-11-24T10:00:03+0000", TEN),
        ("2026-11-24T10:00:03.5Z", TEN.replace(microsecond=500_000)),
        ("2026-11-24T10:00:03.123456789Z", TEN.replace(microsecond=123_457)),
        ("2026-11-24T10:00:02.9999999Z", TEN),
        (1795514403, TEN),
        (1795514403.25, TEN.replace(microsecond=250_000)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("2026-11-24T10:00:03", None),
        ("2026-11-24", None),
        ("2026-11-24T10:00Z", None),
        ("20261124T100003Z", None),
        ("2026-W48-2T10:00:03Z", None),
        ("2026-11-24T10:00:03,5Z", None),
        ("2026-11-24T10:00:03Z\n", None),
        (" 2026-11-24T10:00:03Z", None),
        ("2026-02-30T10:00:03Z", None),
        ("2026-11-24T24:00:00Z", None),
        ("2016-12-31T23:59:60Z", None),
        ("2026-11-24T10:00:03+24:00", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("٢٠٢٦-11-24T10:00:03Z", None),
        ("yesterday", None),
        ("", None),
        ("1795514403", None),
        (1795514403000, None),
        (1e300, None),
        (-1e300, None),
        (True, None),
        ([1795514403], None),
        ({}, None),
        (None, None),
    ],
)
def test_a_time_is_rfc_3339_with_an_offset_or_epoch_seconds(value: object, expected: datetime | None) -> None:
    assert parse_time(value) == expected


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_aware_time_is_read_back(time: datetime) -> None:
    assert parse_time(time.isoformat()) == time


def test_the_last_of_duplicate_keys_counts() -> None:
    line = b'{"id": "a", "id": "b", "time": "2026-11-24T10:00:03Z", "text": "hi"}'
    assert parse(line) == Request(id="b", time=TEN, text="hi")


@pytest.mark.parametrize(
    ("before", "after"), [(b"\xef\xbb\xbf", b""), (b"", b"\r"), (b"\xef\xbb\xbf", b"\r"), (b" \t", b" ")]
)
def test_a_byte_order_mark_and_white_space_around_a_record_are_passed_over(
    before: bytes, after: bytes
) -> None:
    assert parse(before + json.dumps(GOOD).encode() + after) == parse(GOOD)


def test_fields_have_the_names_of_the_settings() -> None:
    renamed = parser(id="rid", time="at", text="q", student_label="l", student_logits="z", max_text_chars=5)
    row = {"rid": 1, "at": 1795514403, "q": "hello", "l": "faq", "z": [0, 1, 2], "id": "no", "text": "no"}
    expected = Request(id="1", time=TEN, text="hello", student_label="faq", student_logits=(0, 1, 2))
    assert renamed.parse(json.dumps(row).encode()) == expected
    too_long = renamed.parse(json.dumps(row | {"q": "hello!"}).encode())
    assert too_long == Refusal(reason=RejectReason.TEXT_TOO_LONG, time=TEN)


def test_without_a_name_for_it_no_field_is_the_true_label() -> None:
    """A field that is named as another part is not taken for it either."""
    row = GOOD | {"label": "faq"}
    assert parser(student_label="label").parse(json.dumps(row).encode()) == Request(
        id="r-1", time=TEN, text="where is my order?", student_label="faq"
    )
    assert parser(label="truth").parse(json.dumps(row | {"truth": "promotion"}).encode()) == Request(
        id="r-1", time=TEN, text="where is my order?", label="promotion"
    )


def test_a_field_that_nobody_named_is_no_true_label_whatever_it_is_called() -> None:
    row = GOOD | {" ": "faq"}
    assert parser(label=None).parse(json.dumps(row).encode()) == Request(
        id="r-1", time=TEN, text="where is my order?"
    )


def test_the_students_answer_cannot_be_named_as_the_true_label() -> None:
    with pytest.raises(ValidationError, match="'label' and 'student_label' are both 'intent'"):
        parser(student_label="intent", label="intent")


def test_labels_and_lengths_are_not_checked_while_the_models_are_unknown() -> None:
    row = GOOD | {"student_label": "anything", "student_logits": [1.0]}
    assert isinstance(parser(None).parse(json.dumps(row).encode()), Request)
    assert isinstance(parser(None).parse(json.dumps(row | {"student_logits": "x"}).encode()), Refusal)


@given(st.binary(max_size=200))
def test_no_bytes_raise(line: bytes) -> None:
    assert isinstance(parse(line), Refusal)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(["id", "time", "text", "student_label", "student_logits", "label", "other"])


@given(st.dictionaries(FIELDS, JSON, max_size=6))
def test_no_values_raise_and_what_is_taken_is_well_formed(change: dict[str, object]) -> None:
    found = parse(GOOD | change)
    if isinstance(found, Request):
        assert found.id
        assert found.text.strip()
        assert found.time.tzinfo is UTC
        assert found.student_label in (None, *LABELS)
        assert found.label is None or found.label.strip()
        assert found.student_logits is None or len(found.student_logits) == len(LABELS)
