"""Lines of SageMaker Data Capture, as the service writes them and as it should not."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from db.states import RejectReason
from monitor.settings import FilesTraffic
from monitor.sources.formats.records import RecordParser
from monitor.sources.request import Refusal, Request

TEN = "2026-11-24T10:00:03Z"
EVENT = {"eventId": "e-1", "inferenceTime": TEN}


def side(data: str, encoding: str = "JSON", kind: str = "application/json") -> dict[str, str]:
    return {"observedContentType": kind, "mode": "INPUT", "data": data, "encoding": encoding}


def line(given: Any = None, answer: Any = None, **event: Any) -> dict[str, Any]:  # noqa: ANN401
    sides = {"endpointInput": given, "endpointOutput": answer}
    present = {name: value for name, value in sides.items() if value is not None}
    return {"captureData": present, "eventMetadata": EVENT | event, "eventVersion": "0"}


def parse(row: object, **names: str) -> Request | Refusal:
    section = FilesTraffic.model_validate({"uri": "log", "format": "sagemaker-capture", **names})
    return RecordParser(section, ("faq", "promotion")).parse(json.dumps(row).encode())


def request(text: str = "hello", request_id: str = "e-1", label: str | None = None) -> Request:
    return Request(request_id, datetime(2026, 11, 24, 10, 0, 3, tzinfo=UTC), text, label)


AS_BASE64 = base64.b64encode(b'{"inputs": "hello"}').decode()


@pytest.mark.parametrize(
    "given",
    [
        side('{"inputs": "hello"}'),
        side('{"text": "hello"}'),
        side('["hello"]'),
        side("hello,0.5,x", "CSV", "text/csv"),
        side('"hello"\nmore', "CSV", "text/csv; charset=utf-8"),
        side(AS_BASE64, "BASE64"),
        side(AS_BASE64, "base64", "application/json; charset=utf-8"),
        side(base64.b64encode(b"hello,1").decode(), "BASE64", "text/csv"),
    ],
)
def test_the_text_is_found_in_each_encoding(given: dict[str, str]) -> None:
    assert parse(line(given)) == request()


def test_plain_text_is_named_by_the_input_itself() -> None:
    given = side(base64.b64encode("größe, }{ and \n".encode()).decode(), "BASE64", "text/plain")
    assert parse(line(given), text="input") == request("größe, }{ and \n")


def test_the_inferences_id_wins_over_the_events() -> None:
    assert parse(line(side('{"inputs": "hello"}'), inferenceId="i-1")) == request(request_id="i-1")


@pytest.mark.parametrize("answer", ['[{"label": "faq", "score": 0.9}]', '{"label": "faq"}'])
def test_the_students_label_is_found_where_the_output_was_captured(answer: str) -> None:
    given = side('{"inputs": "hello"}')
    assert parse(line(given, side(answer))) == request(label="faq")
    assert parse(line(given)) == request()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "a", "time": TEN, "text": "hello"}, RejectReason.NOT_CAPTURE),
        ({"captureData": [], "eventMetadata": EVENT}, RejectReason.NOT_CAPTURE),
        ({"captureData": {}, "eventMetadata": None}, RejectReason.NOT_CAPTURE),
        (line(side("not json")), RejectReason.NOT_CAPTURE),
        (line(side("!", "BASE64")), RejectReason.NOT_CAPTURE),
        (line(side(base64.b64encode(b"\xff").decode(), "BASE64")), RejectReason.NOT_CAPTURE),
        (line(side('"a"b', "CSV", "text/csv")), RejectReason.NOT_CAPTURE),
        (line({"data": 1, "encoding": "JSON"}), RejectReason.NOT_CAPTURE),
        (line(side('{"inputs": "hello"}'), side("{")), RejectReason.NOT_CAPTURE),
        (line(), RejectReason.NO_TEXT),
        (line(side('{"inputs": ["hello"]}')), RejectReason.TEXT_NOT_STRING),
        (line(side("", "CSV", "text/csv")), RejectReason.NO_TEXT),
        (line(side('{"inputs": "hello"}'), eventId=None), RejectReason.NO_ID),
        (line(side('{"inputs": "hello"}'), inferenceTime="10 o'clock"), RejectReason.BAD_TIME),
        (line(side('{"inputs": "hello"}'), side('{"label": "other"}')), RejectReason.UNKNOWN_LABEL),
        (line(side('{"inputs": "hello"}'), side('{"logits": [NaN, 1]}')), RejectReason.BAD_LOGITS),
        (line(side('{"inputs": "hello"}'), side('{"logits": [0.5]}')), RejectReason.BAD_LOGITS),
    ],
)
def test_what_cannot_be_used_says_why(row: object, reason: RejectReason) -> None:
    found = parse(row)
    assert isinstance(found, Refusal)
    assert found.reason is reason


def test_an_undecodable_record_still_has_its_time() -> None:
    assert parse(line(side("not json"))).time == datetime(2026, 11, 24, 10, 0, 3, tzinfo=UTC)
