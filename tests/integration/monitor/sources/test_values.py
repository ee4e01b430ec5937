"""The same value has the same fate in every reader of the request log and of true labels.

docs/traffic.md has the table of values; this is its test.
"""

import base64
import json
import os
import re
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy import Column, DateTime, MetaData, Numeric, Table, Text, Uuid, create_engine
from sqlalchemy.types import TypeEngine

from db.states import RejectReason as Why
from monitor.labels.files import GivenLabel, read_labels
from monitor.settings import FilesTraffic, SqlTraffic
from monitor.sources.kinds import open_source
from monitor.stop import never_stopped

TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)
SECONDS = int(TEN.timestamp())
NEIGHBOUR = {"id": "neighbour", "time": TEN.isoformat(), "text": "hello"}
UUID_TEXT = "6f1c0f3e-0c1d-4d2a-9a52-0f4f3a1b2c3d"


@dataclass(frozen=True)
class Case:
    """A value of one field, and what becomes of the record: the value that is used, or the reason."""

    field: str
    value: Any
    fate: str | datetime | Why


#: The values that a JSON line can hold.
CASES = {
    "an id that is a string": Case("id", "r-1", "r-1"),
    "an id with white space around it": Case("id", " r-1 ", " r-1 "),
    "an id that is a whole number": Case("id", 17, "17"),
    "an id beyond 64 bits": Case("id", "123456789012345678901234567890", "123456789012345678901234567890"),
    "an id that is a UUID": Case("id", UUID_TEXT, UUID_TEXT),
    "an empty id": Case("id", "", Why.NO_ID),
    "no id": Case("id", None, Why.NO_ID),
    "an id with a fraction": Case("id", 1.5, Why.NO_ID),
    "a time with an offset": Case("time", "2026-11-24T12:30:00+02:00", TEN + timedelta(minutes=30)),
    "a time with Z": Case("time", "2026-11-24T10:30:00Z", TEN + timedelta(minutes=30)),
    "epoch seconds": Case("time", SECONDS + 60, TEN + timedelta(minutes=1)),
    "epoch seconds with a fraction": Case("time", SECONDS + 60.5, TEN + timedelta(minutes=1, seconds=0.5)),
    "epoch milliseconds": Case("time", SECONDS * 1000, Why.BAD_TIME),
    "a time that is out of range": Case("time", 1e300, Why.BAD_TIME),
    "an empty time": Case("time", "", Why.BAD_TIME),
    "a time that is a word": Case("time", "n/a", Why.BAD_TIME),
    "a leap second": Case("time", "2026-11-24T10:30:60Z", Why.BAD_TIME),
    "a time of day": Case("time", "10:30", Why.BAD_TIME),
    "a text": Case("text", "where is it?", "where is it?"),
    "a text with U+2028, U+0085 and a vertical tab": Case("text", "a\u2028b\x85c\x0bd", "a\u2028b\x85c\x0bd"),
    "a text with CR LF": Case("text", "a\r\nb\rc\nd", "a\r\nb\rc\nd"),
    "a text with a byte order mark in it": Case("text", "a\ufeffb", "a\ufeffb"),
    "a text with NUL": Case("text", "a\x00b", "a\x00b"),
    "a text of white space": Case("text", " \t\u3000", Why.TEXT_EMPTY),
    "an empty text": Case("text", "", Why.TEXT_EMPTY),
    "no text": Case("text", None, Why.NO_TEXT),
    "a text of 200,000 characters": Case("text", "x" * 200_000, Why.TEXT_TOO_LONG),
}


def row(case: Case) -> dict[str, Any]:
    return {"id": "own", "time": TEN.isoformat(), "text": "hello", case.field: case.value}


def fate_in(section: dict[str, Any], field: str) -> object:
    """What became of the one record that is not the neighbour."""
    settings = SqlTraffic if section.get("kind") == "sql" else FilesTraffic
    source = open_source(settings.model_validate(section), (), lambda _end: None)
    found = source.read_window(TEN, TEN + timedelta(hours=1), k=10, stopped=never_stopped)
    own = [each for each in found.requests if each.id != "neighbour"]
    reasons = [each.reason for each in found.traffic.rejects for _ in range(each.n)]
    assert len(own) + len(reasons) == 1, (own, reasons)
    return getattr(own[0], field) if own else reasons[0]


def as_json(folder: Path, value: dict[str, Any], field: str) -> object:
    lines = (json.dumps(each, ensure_ascii=False) + "\n" for each in (NEIGHBOUR, value))
    (folder / "log").write_bytes("".join(lines).encode())
    return fate_in({"uri": folder / "log"}, field)


def as_json_with_paths(folder: Path, value: dict[str, Any], field: str) -> object:
    """By JMESPath, with a byte order mark, CR at the ends of lines, and no fast decoder."""
    lines = (json.dumps({"body": each}, ensure_ascii=False) + "\r" for each in (NEIGHBOUR, value))
    (folder / "log").write_bytes(b"\xef\xbb\xbf" + "".join(lines).encode())
    names = {name: f"body.{name}" for name in ("id", "time", "text")}
    return fate_in({"uri": folder / "log", **names}, field)


def as_capture(encoding: str) -> Callable[[Path, dict[str, Any], str], object]:
    def write(folder: Path, value: dict[str, Any], field: str) -> object:
        lines = (
            json.dumps(captured(each, encoding), ensure_ascii=False) + "\n" for each in (NEIGHBOUR, value)
        )
        (folder / "log").write_bytes("".join(lines).encode())
        return fate_in({"uri": folder / "log", "format": "sagemaker-capture"}, field)

    return write


def captured(value: dict[str, Any], encoding: str) -> dict[str, Any]:
    text = value["text"]
    data = json.dumps({"inputs": text})
    if encoding == "CSV" and text is not None:
        data = '"' + text.replace('"', '""') + '"\n'
    content_type = "text/csv" if encoding == "CSV" else "application/json"
    if encoding == "BASE64":
        data = base64.b64encode(("\ufeff" + data).encode()).decode()
    side = {"observedContentType": content_type, "encoding": encoding, "data": data}
    return {
        "captureData": {} if text is None else {"endpointInput": side},
        "eventMetadata": {"inferenceId": value["id"], "inferenceTime": value["time"]},
        "eventVersion": "0",
    }


def as_parquet(folder: Path, value: dict[str, Any], field: str) -> object:
    columns = {name: column([NEIGHBOUR[name], value[name]], name) for name in ("id", "time", "text")}
    parquet.write_table(pa.table(columns), folder / "log")
    return fate_in({"uri": folder / "log", "format": "parquet"}, field)


def column(values: Sequence[Any], name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    """A column of the value's own type: the neighbour's value is brought to that type."""
    if isinstance(values[1], str) or values[1] is None:
        return pa.array(values, pa.string())
    neighbour = SECONDS if name == "time" else 1
    return pa.array([neighbour, values[1]])


def as_sqlite(folder: Path, value: dict[str, Any], field: str) -> object:
    database = sqlite3.connect(folder / "log.db")
    database.execute("CREATE TABLE requests (id, time, text)")
    database.executemany("INSERT INTO requests VALUES (:id, :time, :text)", [NEIGHBOUR, value])
    database.commit()
    database.close()
    return fate_in({"kind": "sql", "uri": f"sqlite:///{folder}/log.db", "table": "requests"}, field)


READERS: dict[str, Callable[[Path, dict[str, Any], str], object]] = {
    "JSON lines": as_json,
    "JSON by paths, with BOM and CR": as_json_with_paths,
    "capture of JSON": as_capture("JSON"),
    "capture of CSV": as_capture("CSV"),
    "capture of BASE64": as_capture("BASE64"),
    "Parquet": as_parquet,
    "SQLite": as_sqlite,
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_value_has_the_same_fate_in_every_reader(
    case: Case, reader: Callable[[Path, dict[str, Any], str], object], tmp_path: Path
) -> None:
    value = row(case)
    if reader is as_parquet and case.field != "time" and not isinstance(case.value, str | None):
        value = {**value, "id": case.value}
        assert parquet_of_numbers(tmp_path, value) == case.fate
        return
    assert reader(tmp_path, value, case.field) == case.fate


def parquet_of_numbers(folder: Path, value: dict[str, Any]) -> object:
    parquet.write_table(pa.table({name: [each] for name, each in value.items()}), folder / "log")
    return fate_in({"uri": folder / "log", "format": "parquet"}, "id")


LABELLED = [case for case in CASES.values() if case.field == "id"]


@pytest.mark.parametrize("name", ["labels.jsonl", "labels.csv"])
@pytest.mark.parametrize("case", LABELLED, ids=lambda case: repr(case.value))
def test_the_ids_of_labels_are_those_of_the_log(case: Case, name: str, tmp_path: Path) -> None:
    """With CR at the ends of lines, a byte order mark, and, in JSON, no line feed at all."""
    if name.endswith("csv"):
        content = f'id,label\r"{"" if case.value is None else case.value}",faq\rneighbour,faq\r'
    else:
        rows = ({"id": each, "label": "faq"} for each in (case.value, "neighbour"))
        content = "".join(map(json.dumps, rows))
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    found = list(read_labels(tmp_path / name, id_name="id", label_name="label", progress=lambda *_: None))
    assert found[-1] == GivenLabel(request_id="neighbour", label="faq")
    own = [each.request_id for each in found[:-1] if isinstance(each, GivenLabel)]
    if name.endswith("csv") and case.value == 1.5:
        assert own == ["1.5"]  # a cell of CSV is text
    else:
        assert own == ([] if case.fate is Why.NO_ID else [case.fate])


#: Values that only typed columns hold: (field, type, value, fate).
TYPED = {
    "a UUID": ("id", pa.uuid(), UUID(UUID_TEXT).bytes, UUID_TEXT),
    "a decimal id": ("id", pa.decimal128(20, 0), Decimal(1_000_000_000_000), "1000000000000"),
    "bytes of UTF-8 as an id": ("id", pa.binary(), "é-1".encode(), "é-1"),
    "bytes that are not UTF-8": ("id", pa.binary(), b"\xff\xfe", Why.NOT_UTF8),
    "a decimal time": (
        "time",
        pa.decimal128(20, 3),
        Decimal(f"{SECONDS}.250"),
        TEN + timedelta(seconds=0.25),
    ),
    "a time without an offset": ("time", pa.timestamp("ms"), TEN.replace(tzinfo=None), TEN),
    "nanoseconds": (
        "time",
        pa.timestamp("ns", "UTC"),
        SECONDS * 10**9 + 1_499,
        TEN + timedelta(microseconds=1),
    ),
    "the year 10000": ("time", pa.timestamp("us"), 253_402_300_800 * 10**6, Why.BAD_TIME),
    "the year 10000, in UTC": ("time", pa.timestamp("s", "UTC"), 253_402_300_800, Why.BAD_TIME),
    "a date": ("time", pa.date32(), TEN.date(), Why.BAD_TIME),
    "a time that is NaN": ("time", pa.float64(), float("nan"), Why.BAD_TIME),
    "bytes of UTF-8 as a text": ("text", pa.binary(), "où?".encode(), "où?"),
    "a large string": ("text", pa.large_string(), "hello", "hello"),
    "a number as a text": ("text", pa.int64(), 5, Why.TEXT_NOT_STRING),
}


@pytest.mark.parametrize(("field", "kind", "value", "fate"), TYPED.values(), ids=TYPED)
def test_a_typed_value_of_parquet_is_decoded_by_itself(
    field: str,
    kind: Any,  # noqa: ANN401 - pyarrow has no types
    value: Any,  # noqa: ANN401
    fate: object,
    tmp_path: Path,
) -> None:
    columns = {name: pa.array([each]) for name, each in row(Case("id", "own", "")).items()}
    columns[field] = pa.array([value], kind)
    parquet.write_table(pa.table(columns), tmp_path / "log")
    os.utime(tmp_path / "log", (SECONDS, SECONDS))  # the window of a record without a time
    assert fate_in({"uri": tmp_path / "log", "format": "parquet"}, field) == fate


@pytest.mark.parametrize("dictionary", [False, True])
def test_one_byte_that_is_not_utf_8_costs_its_record(dictionary: bool, tmp_path: Path) -> None:  # noqa: FBT001
    texts = [b"hello", b"caf\xe9", b"hello", b"bye"]
    offsets = pa.array([0, 5, 9, 14, 17], pa.int32()).buffers()[1]
    column = pa.Array.from_buffers(pa.string(), 4, [None, offsets, pa.py_buffer(b"".join(texts))])
    ids = pa.array([f"r-{number}" for number in range(4)])
    table = pa.table(
        {"id": ids, "time": [TEN] * 4, "text": column.dictionary_encode() if dictionary else column}
    )
    parquet.write_table(table, tmp_path / "log")
    source = open_source(FilesTraffic(uri=tmp_path / "log", format="parquet"), (), lambda _end: None)
    found = source.read_window(TEN, TEN + timedelta(hours=1), k=10, stopped=never_stopped)
    assert sorted(each.id for each in found.requests) == ["r-0", "r-2", "r-3"]
    assert {each.reason: each.n for each in found.traffic.rejects} == {Why.NOT_UTF8: 1}


@pytest.mark.parametrize(
    ("kind", "value", "fate"),
    [
        (Uuid(), UUID(UUID_TEXT), UUID_TEXT),
        (Numeric(20, 0), Decimal(1_000_000_000_000), "1000000000000"),
    ],
)
def test_typed_ids_of_a_server_are_those_of_parquet(
    kind: TypeEngine[Any], value: object, fate: str, postgres_url: str
) -> None:
    engine = create_engine(postgres_url)
    id_column: Column[Any] = Column("id", kind)
    table = Table(
        "requests", MetaData(), id_column, Column("time", DateTime(timezone=True)), Column("text", Text)
    )
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert(), [{"id": value, "time": TEN, "text": "hello"}])
    engine.dispose()
    assert fate_in({"kind": "sql", "uri": postgres_url, "table": "requests"}, "id") == fate


def test_the_table_of_the_documentation_has_every_case() -> None:
    document = (Path(__file__).parents[4] / "docs" / "traffic.md").read_text(encoding="utf-8")
    _, _, rest = document.partition("## Values")
    table = set(re.findall(r"^\| ([^|]+) \|", rest.partition("\n## ")[0], re.MULTILINE))
    assert {name for name in CASES if name not in table} == set()
    assert {name for name in TYPED if name not in table} == set()
