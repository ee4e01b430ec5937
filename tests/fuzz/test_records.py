"""Objects of the request log, with damage of any kind: each record is used or refused."""

import gzip
import io
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from monitor.settings import FilesTraffic
from monitor.sources.formats.readers import Found, reader
from monitor.sources.formats.records import RecordParser
from monitor.sources.request import Refusal, Request
from monitor.sources.stores.port import BrokenObjectError
from monitor.storage.zstandard import zstd
from tests.fuzz.inputs import VALUES, changed, edited, inputs

LABELS = ("Refund", "Search")
RECORD = {
    "id": "r-1",
    "time": "2026-11-24T10:30:00Z",
    "text": "where is it?",
    "student_label": "Refund",
    "student_logits": [0.5, -1.25],
    "label": "Search",
}
CAPTURE = {
    "captureData": {
        "endpointInput": {
            "observedContentType": "application/json",
            "mode": "INPUT",
            "data": '{"inputs": "where is it?"}',
            "encoding": "JSON",
        },
        "endpointOutput": {
            "observedContentType": "application/json",
            "mode": "OUTPUT",
            "data": '[{"label": "Refund", "score": 0.9}]',
            "encoding": "JSON",
        },
    },
    "eventMetadata": {
        "eventId": "e-1",
        "inferenceId": "r-1",
        "inferenceTime": "2026-11-24T10:30:00Z",
        "customAttributes": ["student_label=Refund"],
    },
    "eventVersion": "0",
}
CSV_CAPTURE = {
    **CAPTURE,
    "captureData": {
        "endpointInput": {"observedContentType": "text/csv", "data": '"where, is it?"\n', "encoding": "CSV"}
    },
}
BASE64_CAPTURE = {
    **CAPTURE,
    "captureData": {
        "endpointInput": {
            "observedContentType": "application/json",
            "data": "eyJpbnB1dHMiOiAid2hlcmU/In0=",
            "encoding": "BASE64",
        }
    },
}
CAPTURES = (CAPTURE, CSV_CAPTURE, BASE64_CAPTURE)
PLAIN = FilesTraffic.model_validate({"uri": "log"})
BY_PATH = FilesTraffic.model_validate(
    {"uri": "log", "id": "a.id", "time": "a.time", "text": "a.text || b[0].text", "label": "length(a.label)"}
)
CAPTURED = FilesTraffic.model_validate({"uri": "log", "format": "sagemaker-capture"})


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in records)


LOG = lines(
    RECORD, {**RECORD, "id": 17, "time": 1795516200.5}, {"id": "r-2", "time": 1795516200, "text": "é"}
)


def read(content: bytes, section: FilesTraffic) -> list[Found]:
    """All records of an object; a broken one gives those before the damage."""
    found: list[Found] = []
    batches = reader(section, RecordParser(section, LABELS))(io.BytesIO(content))
    with suppress(BrokenObjectError):
        for batch in batches:
            found += batch
    check([each.record for each in found])
    return found


def check(records: Iterable[Request | Refusal]) -> None:
    """What is accepted can be scored, stored and archived."""
    for each in records:
        if isinstance(each, Request):
            assert each.id
            assert each.text.strip()
            assert each.time.utcoffset() is not None
            each.text.encode()
            assert each.student_label in {None, *LABELS}
            orjson.dumps([each.id, each.text, each.label, each.student_logits])
        else:
            assert each.reason


@inputs(25_000)
@given(changed([LOG, lines(RECORD), LOG.replace(b"\n", b"\r\n"), json.dumps([RECORD, RECORD]).encode()]))
def test_json_lines(content: bytes) -> None:
    read(content, PLAIN)


@inputs(10_000)
@given(st.lists(edited([RECORD]), min_size=1, max_size=3))
def test_values_of_json_lines(records: list[Any]) -> None:
    found = read(_dumped(records), PLAIN)
    assert len(found) == len(records)


@inputs(10_000)
@given(edited([{"a": RECORD, "b": [{"text": "else"}]}]))
def test_values_by_path(record: object) -> None:
    read(_dumped([record]), BY_PATH)


@inputs(12_000)
@given(edited(CAPTURES))
def test_captures(record: object) -> None:
    read(_dumped([record]), CAPTURED)


@inputs(12_000)
@given(changed([lines(each) for each in CAPTURES]))
def test_damaged_captures(content: bytes) -> None:
    read(content, CAPTURED)


@inputs(12_000)
@given(
    changed(
        [
            gzip.compress(LOG, mtime=0),
            gzip.compress(LOG, mtime=0) * 2,
            zstd.compress(LOG),
            zstd.compress(LOG) + zstd.compress(LOG),
        ]
    )
)
def test_compressed(content: bytes) -> None:
    read(content, PLAIN)


@inputs(12_000)
@given(
    st.dictionaries(
        st.sampled_from(PLAIN.names),
        VALUES | st.binary(max_size=5) | st.decimals() | st.uuids() | st.datetimes(),
    )
)
def test_rows_of_any_types(row: dict[str, Any]) -> None:
    """As Parquet and databases give them."""
    for section in (PLAIN, CAPTURED):
        check([RecordParser(section, LABELS).parse_row(row)])


def _dumped(records: Iterable[Any]) -> bytes:
    """As json writes it: NaN, lone surrogates and integers of any length included."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in records)
