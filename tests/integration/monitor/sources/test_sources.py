"""What every source of traffic does, in every format; each test runs over all of them."""

import base64
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from sqlalchemy import Column, DateTime, MetaData, Table, Text, create_engine, insert

from db.states import RejectReason
from monitor.sampling import sample
from monitor.settings import FilesTraffic, S3Traffic, SqlTraffic
from monitor.sources.kinds import open_source
from monitor.sources.port import TrafficSource, WindowSample
from monitor.stop import StoppedError, never_stopped
from tests.support.servers.buckets import empty_bucket

LABELS = ("faq", "promotion")
TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)
ELEVEN = TEN + timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A record of the log. What is None is not there."""

    id: str | None
    minutes: float  #: after ten
    text: str | None = "where is my order?"
    label: str | None = None
    logits: tuple[float, ...] | None = None
    true: str | None = None

    @property
    def time(self) -> datetime:
        return TEN + timedelta(minutes=self.minutes)


#: In objects that are passed over.
LEFT_OVER = Row(id="left over", minutes=30)


@dataclass(frozen=True, kw_only=True)
class Log:
    """A request log that can be written to and read."""

    write: Callable[[Sequence[Row]], None]
    open: Callable[[], TrafficSource]


def plain_row(row: Row) -> dict[str, Any]:
    values = {
        "id": row.id,
        "text": row.text,
        "student_label": row.label,
        "student_logits": row.logits,
        "label": row.true,
    }
    return {
        "time": row.time.isoformat(),
        **{name: value for name, value in values.items() if value is not None},
    }


def plain_lines(rows: Sequence[Row]) -> bytes:
    return gzip.compress(b"".join(json.dumps(plain_row(row)).encode() + b"\n" for row in rows))


def glued_lines(rows: Sequence[Row]) -> bytes:
    """As Firehose delivers: no line feed between two records."""
    return b"".join(json.dumps(plain_row(row)).encode() for row in rows)


def nested_lines(rows: Sequence[Row]) -> bytes:
    return b"".join(
        json.dumps(
            {"meta": {"request": {"id": row.id}, "at": row.time.isoformat()}, "turns": [row.text]}
        ).encode()
        + b"\n"
        for row in rows
    )


def captured(rows: Sequence[Row]) -> bytes:
    """Inputs as JSON, CSV and BASE64 in turn; the inference's id, else the event's."""
    return b"".join(json.dumps(capture(row, number)).encode() + b"\n" for number, row in enumerate(rows))


def capture(row: Row, number: int) -> dict[str, Any]:
    inputs = {} if row.text is None else {"endpointInput": captured_text(row.text, number)}
    scores = {"label": row.label, "logits": row.logits, "reviewed": row.true}
    outputs = {
        "endpointOutput": {
            "observedContentType": "application/json",
            "mode": "OUTPUT",
            "data": json.dumps([{name: value for name, value in scores.items() if value is not None}]),
            "encoding": "JSON",
        }
    }
    ids = {} if row.id is None else {"inferenceId": row.id} if number % 2 else {"eventId": row.id}
    return {
        "captureData": inputs | (outputs if row.label or row.logits or row.true else {}),
        "eventMetadata": {"inferenceTime": row.time.isoformat().replace("+00:00", "Z"), **ids},
        "eventVersion": "0",
    }


def captured_text(text: str, number: int) -> dict[str, str]:
    quoted = '"' + text.replace('"', '""') + '"'
    as_json = json.dumps({"inputs": text})
    kind, data, encoding = (
        ("application/json", as_json, "JSON"),
        ("text/csv; charset=utf-8", quoted, "CSV"),
        ("application/json", base64.b64encode(as_json.encode()).decode(), "BASE64"),
    )[number % 3 if "\n" not in text and "\r" not in text else 0]
    return {"observedContentType": kind, "mode": "INPUT", "data": data, "encoding": encoding}


def columns(rows: Sequence[Row]) -> bytes:
    table = pa.table(
        {
            "id": pa.array([row.id for row in rows], pa.string()),
            "time": pa.array([row.time for row in rows], pa.timestamp("us", "UTC")),
            "text": pa.array([row.text for row in rows], pa.string()),
            "student_label": pa.array([row.label for row in rows], pa.string()),
            "student_logits": pa.array([row.logits for row in rows], pa.list_(pa.float64())),
            "label": pa.array([row.true for row in rows], pa.string()),
        }
    )
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, row_group_size=50)
    return sink.getvalue().to_pybytes()


FORMATS: dict[str, tuple[Callable[[Sequence[Row]], bytes], dict[str, Any]]] = {
    "jsonl": (plain_lines, {}),
    "glued": (glued_lines, {}),
    "capture": (captured, {"format": "sagemaker-capture", "label": "output[0].reviewed"}),
    "parquet": (columns, {"format": "parquet"}),
}


#: What Spark and its like leave beside their files: not for readers.
LEFTOVERS = ("_SUCCESS", ".a.crc", "_temporary/0/a", "b/_started")


def folder_log(folder: Path, pack: Callable[[Sequence[Row]], bytes], keys: dict[str, Any]) -> Log:
    section = FilesTraffic.model_validate({"uri": folder, **keys})

    def write(rows: Sequence[Row]) -> None:
        parts = {"a": rows[::2], "b/c": rows[1::2], **{name: [LEFT_OVER] for name in LEFTOVERS}}
        for name, part in parts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(pack(part))

    return Log(write=write, open=lambda: open_source(section, LABELS, lambda _end: None))


@pytest.fixture(
    params=[f"{place}-{name}" for name in FORMATS for place in ("files", "s3")] + ["sqlite", "postgres"]
)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    place, _, name = request.param.partition("-")
    if place == "files":
        yield folder_log(tmp_path, *FORMATS[name])
    elif place == "s3":
        with empty_bucket(request.getfixturevalue("s3_url")) as bucket:
            pack, keys = FORMATS[name]
            section = S3Traffic.model_validate({"kind": "s3", "uri": f"s3://{bucket.name}/intents", **keys})

            def write(rows: Sequence[Row]) -> None:
                for hour in {row.time.replace(minute=0, second=0, microsecond=0) for row in rows}:
                    part = [row for row in rows if hour <= row.time < hour + timedelta(hours=1)]
                    parts = {"0": part[::2], "1": part[1::2], **{name: [LEFT_OVER] for name in LEFTOVERS}}
                    for name, shard in parts.items():
                        bucket.put(f"intents/{hour:%Y/%m/%d/%H}/{name}", pack(shard))

            yield Log(write=write, open=lambda: open_source(section, LABELS, lambda _end: None))
    else:
        url = request.getfixturevalue(f"{request.param}_url")
        yield table_log(url)


def table_log(url: str) -> Log:
    engine = create_engine(url)
    table = Table(
        "requests",
        MetaData(),
        Column("id", Text),
        Column("time", DateTime(timezone=True), index=True),
        Column("text", Text),
        Column("student_label", Text),
        Column("student_logits", Text),
        Column("label", Text),
    )

    def write(rows: Sequence[Row]) -> None:
        table.create(engine)
        with engine.begin() as connection:
            for row in rows:
                logits = None if row.logits is None else json.dumps(row.logits)
                connection.execute(
                    insert(table).values(
                        id=row.id,
                        time=row.time,
                        text=row.text,
                        student_label=row.label,
                        student_logits=logits,
                        label=row.true,
                    )
                )
        engine.dispose()

    section = SqlTraffic.model_validate({"kind": "sql", "uri": url, "table": "requests"})
    return Log(write=write, open=lambda: open_source(section, LABELS, lambda _end: None))


def read(log: Log, *, k: int = 1_000, start: datetime = TEN, end: datetime = ELEVEN) -> WindowSample:
    return log.open().read_window(start, end, k=k, stopped=never_stopped)


def counts(found: WindowSample) -> dict[RejectReason, int]:
    """Without the usable records of other windows: who is asked by time never sees them."""
    return {
        each.reason: each.n
        for each in found.traffic.rejects
        if each.reason is not RejectReason.OUTSIDE_WINDOW
    }


ROWS = [Row(id=f"r-{number}", minutes=number % 90 - 10, text=f"order {number}") for number in range(450)]


def test_a_window_has_the_requests_from_its_start_to_before_its_end(log: Log) -> None:
    log.write([Row(id=str(minutes), minutes=minutes) for minutes in (-0.001, 0, 30, 59.999, 60)])
    found = read(log)
    assert sorted(request.id for request in found.requests) == ["0", "30", "59.999"]
    assert (found.traffic.n_seen, found.traffic.n_rejected) == (3, 0)


def test_the_sample_is_the_smallest_keyed_hashes_of_the_windows_ids(log: Log) -> None:
    log.write(ROWS)
    inside = [row for row in ROWS if 0 <= row.minutes < 60]
    found = read(log, k=50)
    assert [request.id for request in found.requests] == [
        inside[index].id for index in sample([row.id or "" for row in inside], 50, "redistill")
    ]
    assert (found.traffic.n_seen, found.traffic.n_sampled) == (len(inside), 50)
    assert {request.text for request in found.requests} <= {row.text for row in inside}


def test_a_stratified_sample_holds_each_recorded_label_and_tells_its_share(log: Log) -> None:
    """Of 450 requests 20 are "promotion", 10 without a label; an id with two labels is of the first."""
    rows = [Row(id=f"r-{number}", minutes=number / 9, label="faq") for number in range(450)]
    rows[:200:10] = [replace(row, label="promotion") for row in rows[:200:10]]
    rows[200:210] = [replace(row, label=None) for row in rows[200:210]]
    rows.append(replace(rows[0], label="faq", minutes=55))
    log.write(rows)
    found = log.open().read_window(TEN, ELEVEN, k=60, floor=8, stopped=never_stopped)
    assert found.traffic.n_seen == 450
    assert {each.label: each.n_seen for each in found.traffic.strata} == {
        None: 10,
        "faq": 421,
        "promotion": 19,
    }
    labels = [found.traffic.strata[each].label for each in found.of_strata]
    assert {each.label: each.n for each in found.traffic.strata} == {
        label: labels.count(label) for label in (None, "faq", "promotion")
    }
    assert (labels.count(None), labels.count("promotion")) == (8, 8)
    assert len(labels) == 60
    of_window = [(row.id or "", row.label) for row in rows[:450]]
    of_window[0] = ("r-0", "faq")
    for label in (None, "faq", "promotion"):
        ids = [row_id for row_id, of in of_window if of == label]
        drawn = [ids[index] for index in sample(ids, labels.count(label), "redistill")]
        sampled = zip(found.requests, labels, strict=True)
        assert [request.id for request, of in sampled if of == label] == drawn


def test_without_recorded_labels_a_floor_changes_nothing(log: Log) -> None:
    log.write(ROWS)
    found = log.open().read_window(TEN, ELEVEN, k=50, floor=10, stopped=never_stopped)
    assert found == read(log, k=50)
    assert [(each.label, each.n) for each in found.traffic.strata] == [(None, 50)]


def test_reading_twice_or_with_another_source_gives_the_same(log: Log) -> None:
    log.write(ROWS)
    source = log.open()
    first = source.read_window(TEN, ELEVEN, k=20, stopped=never_stopped)
    source.read_window(ELEVEN, ELEVEN + timedelta(hours=1), k=20, stopped=never_stopped)
    assert source.read_window(TEN, ELEVEN, k=20, stopped=never_stopped) == first == read(log, k=20)


def test_an_id_that_comes_twice_counts_once_with_its_earliest_record(log: Log) -> None:
    log.write([Row(id="a", minutes=5, text="late"), Row(id="a", minutes=1, text="b"), Row(id="b", minutes=7)])
    found = read(log)
    assert found.traffic.n_seen == 2
    assert {request.id: request.text for request in found.requests}["a"] == "b"


def test_what_the_student_answered_is_read(log: Log) -> None:
    log.write([Row(id="a", minutes=1, label="faq", logits=(0.5, -1.25))])
    (request,) = read(log).requests
    assert (request.student_label, request.student_logits) == ("faq", (0.5, -1.25))


def test_the_true_label_is_read_and_need_not_be_one_of_the_models(log: Log) -> None:
    true = {"a": "faq", "b": "refund", "c": None, "d": " "}
    log.write([Row(id=name, minutes=1, label="promotion", true=label) for name, label in true.items()])
    found = {request.id: request.label for request in read(log).requests}
    assert found == {**true, "d": None}


def test_records_that_cannot_be_used_are_counted_by_reason(log: Log) -> None:
    log.write(
        [
            Row(id="good", minutes=1),
            Row(id=None, minutes=2),
            Row(id="c", minutes=3, text=None),
            Row(id="d", minutes=4, text="  "),
            Row(id="e", minutes=5, label="no such label"),
            Row(id="f", minutes=6, logits=(1.0,)),
            Row(id="g", minutes=7, text="x" * 10_001),
            Row(id=None, minutes=70),
        ]
    )
    found = read(log)
    assert [request.id for request in found.requests] == ["good"]
    assert counts(found) == {
        RejectReason.NO_ID: 1,
        RejectReason.NO_TEXT: 1,
        RejectReason.TEXT_EMPTY: 1,
        RejectReason.TEXT_TOO_LONG: 1,
        RejectReason.UNKNOWN_LABEL: 1,
        RejectReason.BAD_LOGITS: 1,
    }
    assert found.traffic.n_rejected == 6


def test_a_window_without_requests_is_empty_and_no_error(log: Log) -> None:
    log.write(ROWS)
    empty = read(log, start=TEN - timedelta(days=1), end=TEN - timedelta(hours=23))
    assert (empty.requests, empty.traffic.n_seen, counts(empty)) == ((), 0, {})


def test_reading_stops_on_request(log: Log) -> None:
    log.write(ROWS)
    with pytest.raises(StoppedError):
        log.open().read_window(TEN, ELEVEN, k=10, stopped=lambda: True)


TEXTS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('}{"\\,[]:'), min_size=1, max_size=30
).filter(lambda text: bool(text.strip()))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(texts=st.lists(TEXTS, min_size=1, max_size=12))
@pytest.mark.parametrize("name", [*FORMATS])
def test_whatever_is_asked_comes_out_as_it_went_in(
    tmp_path_factory: pytest.TempPathFactory, name: str, texts: list[str]
) -> None:
    """Also where braces and quotes look like the seam between two records."""
    log = folder_log(tmp_path_factory.mktemp("log"), *FORMATS[name])
    log.write([Row(id=str(number), minutes=number, text=text) for number, text in enumerate(texts)])
    found = read(log)
    assert {request.id: request.text for request in found.requests} == {
        str(number): text for number, text in enumerate(texts)
    }
    assert counts(found) == {}


def test_names_may_be_jmespath(tmp_path: Path) -> None:
    keys = {"id": "meta.request.id", "time": "meta.at", "text": "turns[-1]"}
    log = folder_log(tmp_path, nested_lines, keys)
    log.write([Row(id="a", minutes=1, text="hello"), Row(id=None, minutes=2)])
    found = read(log)
    assert [(request.id, request.text) for request in found.requests] == [("a", "hello")]
    assert counts(found) == {RejectReason.NO_ID: 1}
