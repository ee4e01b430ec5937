"""A request log in a table: pages, types of columns, and what is said of a table that does not fit."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Float,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    Uuid,
    create_engine,
    text,
)
from sqlalchemy.types import TypeEngine

from db.states import RejectReason
from monitor.settings import SqlTraffic
from monitor.sources import rows as rows_module
from monitor.sources.port import WindowSample
from monitor.sources.rows import TableSource, TrafficTableError
from monitor.sources.stores.port import TrafficUnavailableError
from monitor.stop import never_stopped

TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


def make_table(
    url: str, values: Sequence[tuple[Any, Any, Any]], *, id_type: TypeEngine[Any], time_type: TypeEngine[Any]
) -> None:
    engine = create_engine(url)
    table = Table(
        "requests",
        MetaData(),
        Column("rid", id_type),
        Column("at", time_type),
        Column("query", Text),
    )
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(
            table.insert(), [{"rid": rid, "at": at, "query": query} for rid, at, query in values]
        )
    engine.dispose()


def source(url: str, **keys: str) -> TableSource:
    names = {"table": "requests", "id": "rid", "time": "at", "text": "query", **keys}
    return TableSource(SqlTraffic.model_validate({"kind": "sql", "uri": url, **names}), ())


def read(reader: TableSource) -> WindowSample:
    return reader.read_window(TEN, TEN + HOUR, k=1_000, stopped=never_stopped)


def ids(found: WindowSample) -> list[str]:
    return sorted(request.id for request in found.requests)


def test_pages_end_anywhere_and_nothing_is_missed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows of one instant, an id that comes again, and rows without an id."""
    monkeypatch.setattr(rows_module, "_PAGE_ROWS", 7)
    values: list[tuple[Any, ...]] = [
        (f"{number:03}", TEN + timedelta(minutes=number // 20), "hello") for number in range(100)
    ]
    values += [("050", TEN + timedelta(minutes=30), "again")]
    values += [(None, TEN + timedelta(minutes=number), "nobody") for number in range(9)]
    make_table(database_url, values, id_type=Text(), time_type=DateTime(timezone=True))
    found = read(source(database_url))
    assert ids(found) == [f"{number:03}" for number in range(100)]
    assert {each.reason: each.n for each in found.traffic.rejects} == {
        RejectReason.NO_ID: 9,
        RejectReason.REPEATED_ID: 1,
    }


@pytest.mark.parametrize(
    "time_type", [DateTime(), DateTime(timezone=True), Float(53), Integer(), Numeric(16, 3)]
)
def test_times_may_be_of_a_time_type_or_epoch_seconds(database_url: str, time_type: TypeEngine[Any]) -> None:
    times = [TEN - timedelta(seconds=1), TEN, TEN + HOUR - timedelta(seconds=1), TEN + HOUR]
    has_zone = isinstance(time_type, DateTime) and time_type.timezone
    stored = {
        time: time
        if has_zone
        else time.replace(tzinfo=None)
        if isinstance(time_type, DateTime)
        else int(time.timestamp())
        for time in times
    }
    values = [(number, stored[time], "hello") for number, time in enumerate(times)]
    make_table(database_url, values, id_type=Integer(), time_type=time_type)
    found = read(source(database_url))
    assert ids(found) == ["1", "2"]
    assert sorted(request.time for request in found.requests) == times[1:3]


def test_ids_may_be_uuids(database_url: str) -> None:
    keys = [uuid.UUID(int=number) for number in range(3)]
    values = [(key, TEN, "hello") for key in keys]
    make_table(database_url, values, id_type=Uuid(), time_type=DateTime(timezone=True))
    assert len(ids(read(source(database_url)))) == 3


def test_a_view_will_do(postgres_url: str) -> None:
    make_table(postgres_url, [("a", TEN, "hello")], id_type=Text(), time_type=DateTime(timezone=True))
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA logs"))
        connection.execute(text("CREATE VIEW logs.recent AS SELECT rid, at, query FROM requests"))
    engine.dispose()
    assert ids(read(source(postgres_url, table="logs.recent"))) == ["a"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"table": "request"}, "the table 'request' cannot be read: there is no such table; fix 'table'"),
        ({"text": "utterance"}, "no column 'utterance'; fix 'text'; it has rid, at, query"),
    ],
)
def test_a_table_that_does_not_fit_is_an_error_that_says_why(
    database_url: str, keys: dict[str, str], says: str
) -> None:
    make_table(database_url, [("a", TEN, "hello")], id_type=Text(), time_type=DateTime(timezone=True))
    with pytest.raises(TrafficTableError) as failed:
        read(source(database_url, **keys))
    assert says in str(failed.value)


def test_a_time_of_another_type_is_an_error_that_says_so(postgres_url: str) -> None:
    make_table(postgres_url, [("a", TEN, "hello")], id_type=Text(), time_type=DateTime(timezone=True))
    with pytest.raises(TrafficTableError, match="'query' has the type TEXT; give a column of a time type"):
        read(source(postgres_url, time="query", text="at"))


@pytest.mark.parametrize("kind", ["TEXT", "DATETIME", "TIMESTAMP"])
def test_sqlite_may_spell_a_time_as_it_likes(sqlite_url: str, kind: str) -> None:
    """It compares text: of '2026-11-24T10:30Z' and '2026-11-24 11' the second is the smaller."""
    inside = [
        "2026-11-24 10:00:00",
        "2026-11-24 10:00:00.000000",
        "2026-11-24T10:00:00Z",
        "2026-11-24T12:30:00+02:00",
        "2026-11-24 10:59:59.999",
    ]
    outside = [
        "2026-11-24 09:59:59.999",
        "2026-11-24T11:00:00Z",
        "2026-11-24 11:00:00.000000",
        "2026-11-25",
        None,
    ]
    make_sqlite_table(sqlite_url, kind, [*inside, *outside])
    found = read(source(sqlite_url))
    assert ids(found) == [str(number) for number in range(len(inside))]
    assert min(request.time for request in found.requests) == TEN


KINDS = ("TEXT", "DATETIME", "TIMESTAMP", "INTEGER", "REAL", "NUMERIC", "BLOB", "")
NO_TIMES: tuple[object, ...] = ("", "n/a", "now", "10:00", "2461369.5 d", b"\xff", 1_795_514_400_000, 1e300)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", NO_TIMES, ids=repr)
def test_a_value_that_is_no_time_costs_its_record_in_the_window_in_which_it_was_written(
    sqlite_url: str, kind: str, bad: object
) -> None:
    before, inside, after = "2026-11-24 09:59:59", "2026-11-24T10:30:00+00:00", "2026-11-24 11:00:00"
    make_sqlite_table(sqlite_url, kind, [before, bad, inside, bad, bad, None, bad, after, bad])
    found = read(source(sqlite_url))
    assert ids(found) == ["2"]
    reason = RejectReason.NOT_UTF8 if bad == b"\xff" else RejectReason.BAD_TIME
    assert {each.reason: each.n for each in found.traffic.rejects} == {reason: 3}


def test_the_first_rows_belong_to_the_first_usable_time(sqlite_url: str) -> None:
    make_sqlite_table(sqlite_url, "TEXT", ["n/a", "?", "2026-11-24 10:00:00"])
    found = read(source(sqlite_url))
    assert {each.reason: each.n for each in found.traffic.rejects} == {RejectReason.BAD_TIME: 2}


@pytest.mark.parametrize("kind", KINDS)
def test_any_column_of_sqlite_holds_any_time(sqlite_url: str, kind: str) -> None:
    """Also times that SQLite's functions cannot parse, and those that they round into another window."""
    inside: list[object] = ["2026-11-24 10:00", "20261124T103000Z", "2026-11-24T10:59:59.999900Z"]
    outside: list[object] = ["2026-11-24T09:59:59.999900Z", "20261124T113000Z"]
    if kind != "TEXT":  # which stores a number as its digits
        inside += [TEN.timestamp() + 7, int(TEN.timestamp()) + 8]
        outside += [TEN.timestamp() + 3_600]
    make_sqlite_table(sqlite_url, kind, [*inside, *outside])
    found = read(source(sqlite_url))
    assert ids(found) == [str(number) for number in range(len(inside))]
    assert found.traffic.rejects == ()


def test_text_that_is_not_utf_8_costs_its_record(sqlite_url: str) -> None:
    make_sqlite_table(sqlite_url, "TEXT", ["2026-11-24 10:00:00", "2026-11-24 10:00:01"])
    engine = create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE requests SET query = CAST(x'e96c' AS TEXT) WHERE rid = 0"))
    engine.dispose()
    found = read(source(sqlite_url))
    assert ids(found) == ["1"]
    assert {each.reason: each.n for each in found.traffic.rejects} == {RejectReason.NOT_UTF8: 1}


@pytest.mark.parametrize("time_type", [Float(53), BigInteger(), Numeric(20, 3)])
def test_a_log_in_milliseconds_has_a_reason_for_its_empty_windows(
    database_url: str, time_type: TypeEngine[Any]
) -> None:
    times = [(TEN + timedelta(minutes=number)).timestamp() * 1000 for number in range(3)]
    values = [(number, int(time), "hello") for number, time in enumerate(times)]
    make_table(database_url, values, id_type=Integer(), time_type=time_type)
    found = read(source(database_url))
    assert found.requests == ()
    assert {each.reason: each.n for each in found.traffic.rejects} == {RejectReason.BAD_TIME: 3}


def test_a_view_or_a_table_without_rowids_reports_bad_times_in_windows_without_requests(
    sqlite_url: str,
) -> None:
    make_sqlite_table(sqlite_url, "TEXT", ["n/a", "2026-11-24 10:00:00"])
    engine = create_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE VIEW recent AS SELECT * FROM requests"))
        connection.execute(
            text("CREATE TABLE keyed (rid INTEGER PRIMARY KEY, at TEXT, query TEXT) WITHOUT ROWID")
        )
        connection.execute(text("INSERT INTO keyed VALUES (0, 'n/a', 'hello')"))
    engine.dispose()
    assert read(source(sqlite_url, table="recent")).traffic.rejects == ()
    (reject,) = read(source(sqlite_url, table="keyed")).traffic.rejects
    assert (reject.reason, reject.n) == (RejectReason.BAD_TIME, 1)


def make_sqlite_table(url: str, kind: str, times: Sequence[object]) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE requests (rid INTEGER, at {kind}, query TEXT)"))
        rows = [{"rid": rid, "at": at} for rid, at in enumerate(times)]
        connection.execute(text("INSERT INTO requests VALUES (:rid, :at, 'hello')"), rows)
    engine.dispose()


def test_a_database_that_is_away_is_an_error_without_its_password() -> None:
    url = "postgresql://someone:s3cret@127.0.0.1:1/log"
    with pytest.raises(TrafficUnavailableError, match=r"someone:\*\*\*@127.0.0.1:1/log") as failed:
        read(source(url))
    assert "s3cret" not in str(failed.value)


@pytest.mark.parametrize("url", ["oracle+none://host/db", "mysql://host/db"])
def test_a_url_that_is_none_is_an_error_without_the_url(url: str) -> None:
    with pytest.raises(TrafficTableError, match="not an SQLAlchemy URL with an installed driver") as failed:
        source(url)
    assert url not in str(failed.value)
