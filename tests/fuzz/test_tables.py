"""Rows of tables and of Parquet objects whose values have any type, and Parquet objects that are damaged."""

import io
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from monitor.settings import FilesTraffic, SqlTraffic
from monitor.sources.kinds import open_source
from monitor.stop import never_stopped
from tests.fuzz.inputs import TEXTS, changed, inputs
from tests.fuzz.test_records import LABELS, read

TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)
NAMES = ("id", "time", "text", "student_label", "student_logits", "label")
OBJECTS = FilesTraffic.model_validate({"uri": "log", "format": "parquet"})

TIMES = st.sampled_from((1795516200, "2026-11-24T10:30:00Z", "2026-11-24 10:30:00", "now", "", "+5 days", 0))
IN_SQLITE = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    TEXTS.map(lambda text: text.encode(errors="replace").decode()),
    st.binary(max_size=6),
    TIMES,
)


@inputs(6_000)
@given(
    rows=st.lists(st.tuples(IN_SQLITE, TIMES | IN_SQLITE, IN_SQLITE, IN_SQLITE), min_size=1, max_size=4),
    kind=st.sampled_from(
        ("", "TEXT", "INTEGER", "REAL", "BLOB", "TIMESTAMP", "DATE", "NUMERIC", "BOOLEAN", "JSON")
    ),
)
def test_rows_of_sqlite(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object, ...]], kind: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "log.db"
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("PRAGMA synchronous = OFF")
        database.execute(f"CREATE TABLE requests (id, time {kind}, text, student_label)")
        database.executemany("INSERT INTO requests VALUES (?, ?, ?, ?)", rows)
    section = SqlTraffic.model_validate({"kind": "sql", "uri": f"sqlite:///{path}", "table": "requests"})
    source = open_source(section, LABELS, lambda _end: None)
    found = source.read_window(TEN, TEN + timedelta(hours=1), k=10, stopped=never_stopped)
    assert found.traffic.n_seen + sum(each.n for each in found.traffic.rejects) <= len(rows)


def table(**columns: pa.Array) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


WHEN = [TEN + timedelta(minutes=30)] * 2
PLAIN = table(id=pa.array(["r-1", "r-2"]), time=pa.array(WHEN), text=pa.array(["where?", "é"]))
NESTED = table(
    id=pa.array([1, 2]),
    time=pa.array(WHEN, pa.timestamp("ns", "UTC")),
    text=pa.array(["where?", "where?"]).dictionary_encode(),
    student_logits=pa.array([[0.5, -1.0], None]),
)


@inputs(8_000)
@given(content=changed([PLAIN, NESTED]))
def test_damaged_parquet(content: bytes) -> None:
    read(content, OBJECTS)


UNITS = [pa.timestamp(unit, zone) for unit in ("ms", "us", "ns") for zone in (None, "UTC")]
COUNTS = st.integers(-(2**63), 2**63 - 1)


def two(values: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
    return st.lists(values, min_size=2, max_size=2)


COLUMNS = st.one_of(
    two(COUNTS).map(lambda of: pa.array(of, pa.int64())),
    st.tuples(two(COUNTS), st.sampled_from(UNITS)).map(lambda of: pa.array(of[0], pa.int64()).cast(of[1])),
    two(st.binary(max_size=5)).map(lambda of: pa.array(of, pa.binary())),
    two(st.binary(max_size=5)).map(lambda of: pa.array(of, pa.binary()).view(pa.string())),
    two(st.floats()).map(lambda of: pa.array(of, pa.float64())),
    two(st.lists(st.none() | st.floats(width=32), max_size=3)).map(
        lambda of: pa.array(of, pa.list_(pa.float32()))
    ),
    st.sampled_from(
        [
            pa.nulls(2),
            pa.array([True, None]),
            pa.array([Decimal("1.50"), Decimal(-3)]),
            pa.array([date(2026, 11, 24), None]),
            pa.array([time(10, 30), None]),
            pa.array([timedelta(days=1), None]),
            pa.array([{"a": "x"}, None]),
            pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            pa.array([[["x"]], None]),
            pa.array(["x", None]).dictionary_encode(),
            pa.array([b"0123456789abcdef"] * 2, pa.binary(16)),
            pa.array([1.5, None], pa.float16()),
        ]
    ),
)


@inputs(6_000)
@given(columns=st.dictionaries(st.sampled_from(NAMES), COLUMNS, min_size=1))
def test_types_of_parquet(columns: dict[str, pa.Array]) -> None:
    valid = {"id": pa.array(["r-1", "r-2"]), "time": pa.array(WHEN), "text": pa.array(["where?", "é"])}
    assert len(read(table(**valid | columns), OBJECTS)) == 2
