"""What many records at a time are decoded to is what each alone is parsed to."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from monitor.settings import FilesTraffic
from monitor.sources.formats.readers import Decoded, _batch
from monitor.sources.formats.records import RecordParser
from monitor.sources.request import Refusal, Request

LABELS = ("faq", "promotion")
GOOD: dict[str, Any] = {"id": "r", "time": "2026-11-24T10:00:03Z", "text": "where is my order?"}

ODD_TEXTS = st.sampled_from([" ", "\u3000", "}\n{", '}{"id":', "x" * 21])
NUMBERS = st.lists(st.floats() | st.integers(-9, 9) | st.booleans() | st.none(), max_size=3)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "id": st.text(max_size=4) | st.integers(-(2**63), 2**64 - 1) | st.none() | st.booleans() | st.floats(),
    "time": st.sampled_from(
        [
            "2026-11-24T10:00:03Z",
            "2026-11-24 10:00:03.25+05:30",
            "2026-11-24T10:00:03.123456789Z",
            "2026-11-24",
            "2026-11-24T10:00:03",
            "0001-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
            "",
            0,
            1795514403.5,
            None,
        ]
    ),
    "text": st.text(max_size=12) | ODD_TEXTS | st.none() | st.integers(),
    "student_label": st.sampled_from([*LABELS, "weather", "", None, 1, True]),
    "student_logits": NUMBERS | st.none(),
    "session": st.text(max_size=5) | st.lists(st.floats(), max_size=2),
}
CHANGES = st.fixed_dictionaries({}, optional=VALUES)
LINES = st.one_of(
    CHANGES.map(lambda change: json.dumps(GOOD | change).encode()),
    CHANGES.map(lambda change: json.dumps(change, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.binary(max_size=12).filter(lambda line: b"\n" not in line and bool(line.strip())),
    st.sampled_from([b"{", b"}", b'{"id": "r",', b'"text": "x"}', b"{}", b'{"id": {}']),
)


def parser() -> RecordParser:
    return RecordParser(FilesTraffic.model_validate({"uri": "log", "max_text_chars": 20}), LABELS)


@given(st.lists(LINES, min_size=1, max_size=6))
@example([b'{"id": "r", "time": "2026-11-24T10:00:03Z",', b'"text": "over two lines"}'])
@example([json.dumps(GOOD).encode() * 2, b'{"id": "r", "time": "2026-11-24T10:00:03Z",', b'"text": "x"}'])
def test_a_record_is_the_same_alone_and_among_others(lines: list[bytes]) -> None:
    together = [found.record for found in _batch(list(lines), parser())]
    alone = [found.record for line in lines for found in _batch([line], parser())]
    assert together == alone


@given(LINES)
def test_what_is_decoded_is_what_is_parsed_step_by_step(line: bytes) -> None:
    slow = parser()
    slow._decoder = None
    assert parser().parse(line) == slow.parse(line)


def test_usable_records_are_decoded_together() -> None:
    lines = [json.dumps(GOOD | {"id": number, "student_label": "faq"}).encode() for number in range(9)]
    batch = _batch(list(lines), parser())
    assert isinstance(batch, Decoded)
    assert [found.record.id for found in batch if isinstance(found.record, Request)] == [*map(str, range(9))]


@pytest.mark.parametrize(
    "bad", [b"", b"not json", b'{"id": "\xff", "time": "2026-11-24T10:00:03Z", "text": "x"}']
)
def test_one_bad_record_costs_no_other(bad: bytes) -> None:
    good = json.dumps(GOOD).encode()
    records = [found.record for found in _batch([good, bad, good], parser())]
    assert sum(isinstance(record, Request) for record in records) == 2
    assert sum(isinstance(record, Refusal) for record in records) == (1 if bad else 0)
