"""The rows of a window in SQLite, which has no time type and stores any value in any column."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Numeric,
    Row,
    and_,
    case,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.types import NullType

from monitor.sources.stores.window import Window
from monitor.sources.values import parse_time

#: The epoch seconds that are times, from the year 1 to 9999.
FIRST_SECOND: Final = -62_135_596_800
END_SECOND: Final = 253_402_300_800
_ROUNDING: Final = timedelta(seconds=1)  #: more than that of SQLite's strftime
_PAGE_ROWS: Final = 10_000
_PLACE: Final = "redistill rowid"
_ROWID: Final[ColumnElement[int]] = literal_column("_rowid_")

Record = dict[str, object]


def keep_invalid_text(connection: sqlite3.Connection) -> None:
    """Let the connection return text that is not UTF-8 as bytes, instead of failing the whole query."""
    connection.text_factory = _text


def _text(raw: bytes) -> str | bytes:
    with suppress(UnicodeDecodeError):
        return raw.decode()
    return raw


def time_in(value: object) -> object:
    """Return the time of a stored text, in UTC if it has no offset; any other value as it is."""
    if isinstance(value, str):
        with suppress(ValueError):
            time = datetime.fromisoformat(value)
            return time if time.tzinfo else time.replace(tzinfo=UTC)
    return value


class SqliteRows:
    """The rows of a table by their times, as ISO 8601 text or epoch seconds, whatever the column's type."""

    def __init__(self, connection: Connection, columns: dict[str, Column[Any]], time: str) -> None:
        self._connection = connection
        self._columns: list[ColumnElement[Any]] = [
            type_coerce(column, NullType()).label(name) for name, column in columns.items()
        ]
        self._name = time
        self._has_numbers = isinstance(columns[time].type, Float | Integer | Numeric)
        self._time: ColumnElement[Any] = type_coerce(columns[time], NullType())

    def pages(self, window: Window) -> Iterator[Sequence[Record]]:
        """Yield the rows of the window, and then the rows without a usable time that belong to it.

        Such a row belongs to the window of the last row with a usable time that was inserted before it; in a
        view, to a window without other rows.
        """
        found = False
        query = select(*self._columns).where(self._near(window))
        for page in self._connection.execute(query.execution_options(yield_per=_PAGE_ROWS)).partitions():
            records = [record for row in page if (record := self._within(row, window))]
            found = found or bool(records)
            yield records
        yield self._undated(window, is_empty=not found)

    def _near(self, window: Window) -> ColumnElement[bool]:
        time, spelled = self._time, _spelled(self._time)
        start, end = window.start - _ROUNDING, window.end + _ROUNDING
        by_number = and_(time >= start.timestamp(), time < end.timestamp())
        if self._has_numbers:  # for which an index is used; text is greater than any number
            return by_number
        by_text = and_(spelled >= _iso(start), spelled < _iso(end))
        return case((func.typeof(time) == "text", by_text), else_=by_number)

    def _unusable(self) -> ColumnElement[bool]:
        time = self._time
        no_number = or_(time < FIRST_SECOND, time >= END_SECOND)
        if self._has_numbers:
            return no_number
        no_text = _spelled(time).is_(None)
        return and_(time.is_not(None), case((func.typeof(time) == "text", no_text), else_=no_number))

    def _within(self, row: Row[*tuple[Any, ...]], window: Window) -> Record | None:
        """Return the row, unless it has a usable time outside the window."""
        record: Record = {**row._mapping}  # noqa: SLF001 - its public name
        record[self._name] = time_in(record[self._name])
        time = parse_time(record[self._name])
        return record if time is None or time in window else None

    def _undated(self, window: Window, *, is_empty: bool) -> list[Record]:
        unusable = select(*self._columns).where(self._unusable()).limit(_PAGE_ROWS)
        try:
            newest = unusable.add_columns(_ROWID.label(_PLACE)).order_by(_ROWID.desc())
            rows = [{**row} for row in self._connection.execute(newest).mappings()][::-1]
        except OperationalError:  # a table without rowids
            rows = []
        if rows and rows[0][_PLACE] is not None:
            return list(self._placed(rows, window))
        found = self._connection.execute(unusable).all() if is_empty else []
        return [record for row in found if (record := self._within(row, window))]

    def _placed(self, rows: Sequence[Record], window: Window) -> Iterator[Record]:
        """Yield the rows that belong to the window, given in the order of their rowids."""
        times: dict[int, datetime | None] = {}
        for record in rows:
            rowid = cast("int", record.pop(_PLACE))
            record[self._name] = time_in(record[self._name])
            time = times[rowid] = parse_time(record[self._name]) or self._time_before(rowid, times)
            if time is None or time in window:
                yield record

    def _time_before(self, rowid: int, known: dict[int, datetime | None]) -> datetime | None:
        """Return the last usable time that was inserted before a row, else the first one after it."""
        is_before = _ROWID.op("<")(rowid)
        query = select(_ROWID, self._time).where(is_before, self._time.is_not(None))
        found = self._connection.execute(query.order_by(_ROWID.desc()).limit(1)).first()
        if found and found[0] in known:
            return known[found[0]]
        time = parse_time(time_in(found[1])) if found else None
        if time is not None:
            return time
        return self._usable_time(is_before, _ROWID.desc()) or self._usable_time(~is_before, _ROWID)

    def _usable_time(self, where: ColumnElement[bool], order: ColumnElement[Any]) -> datetime | None:
        usable = and_(self._time.is_not(None), ~self._unusable())
        found = self._connection.scalar(select(self._time).where(where, usable).order_by(order).limit(1))
        return parse_time(time_in(found))


def _spelled(time: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the time of a text as `_iso` spells it; NULL for a text that has no date, such as 'now'."""
    has_date = time.op("GLOB")("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*")
    return case((has_date, func.strftime("%Y-%m-%dT%H:%M:%fZ", time)))


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
