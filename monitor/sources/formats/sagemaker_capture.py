"""Conversion of a line of SageMaker Data Capture to a row with the names of [traffic].

The row has `id` (inferenceId, else eventId), `time` (inferenceTime), and `input` and `output`: the decoded
data of the two sides, None if a side was not captured. JSON is decoded to its value, CSV to a list of the
fields of its first line, other content to its text.

Source: "Data Capture", SageMaker developer guide.
"""

import base64
import re
from collections.abc import Mapping

import orjson

from db.states import RejectReason
from monitor.sources.formats import csv_text
from monitor.sources.request import Refusal
from monitor.sources.values import parse_time

_BOM = "\ufeff"
_NOT_FINITE = re.compile(r"-?\b(?:NaN|Infinity)\b")


class UndecodableError(ValueError):
    """The captured data does not match its declared encoding."""


def unwrap(line: object) -> dict[str, object] | Refusal:
    """Return the row of a line, given as decoded JSON, or the reason for refusing the line."""
    match line:
        case {"captureData": dict(sides), "eventMetadata": dict(event)}:
            pass
        case _:
            return Refusal(reason=RejectReason.NOT_CAPTURE)
    time = event.get("inferenceTime")
    try:
        return {
            "id": event.get("inferenceId") or event.get("eventId"),
            "time": time,
            "input": _decoded(sides.get("endpointInput")),
            "output": _decoded(sides.get("endpointOutput")),
        }
    except UndecodableError:
        return Refusal(reason=RejectReason.NOT_CAPTURE, time=parse_time(time))


def _decoded(side: object) -> object:
    match side:
        case None:
            return None
        case {"data": str(data), "encoding": str(encoding), **others}:
            return _value(data, encoding.upper(), _content_type(others))
        case _:
            raise UndecodableError


def _content_type(side: Mapping[object, object]) -> str:
    return str(side.get("observedContentType") or "").partition(";")[0].strip().lower()


def _value(data: str, encoding: str, content_type: str) -> object:
    if encoding == "BASE64":
        data = _from_base64(data)
        encoding = {"text/csv": "CSV", "text/plain": "TEXT"}.get(content_type, "JSON")
    data = data.removeprefix(_BOM)
    if encoding == "CSV":
        return _first_fields(data)
    return _from_json(data) if encoding == "JSON" else data


def _from_base64(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except ValueError as error:  # invalid base64, or invalid UTF-8 in it
        raise UndecodableError from error


def _from_json(data: str) -> object:
    """Decode JSON, with None for values that are not finite, so that they are not taken for numbers."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return orjson.loads(_NOT_FINITE.sub("null", data))
    except orjson.JSONDecodeError as error:
        raise UndecodableError from error


def _first_fields(data: str) -> list[str]:
    try:
        return csv_text.first_fields(data)
    except csv_text.InvalidCsvError as error:
        raise UndecodableError from error
