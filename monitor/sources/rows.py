"""The sample of a window from a table of a database."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from tempfile import TemporaryFile
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    DateTime,
    Engine,
    Float,
    Integer,
    MetaData,
    NullPool,
    Numeric,
    RowMapping,
    Table,
    create_engine,
    event,
    or_,
    select,
    tuple_,
)
from sqlalchemy.exc import NoSuchModuleError, NoSuchTableError, SQLAlchemyError

from db.connection import postgres
from db.connection.session import parse_url, without_password
from db.errors import RedistillError, one_line
from monitor.settings import SqlTraffic
from monitor.sources.formats.records import RecordParser
from monitor.sources.port import LabelStrata, WindowSample, window_sample
from monitor.sources.request import Refusal
from monitor.sources.sqlite_rows import END_SECOND, FIRST_SECOND, SqliteRows, keep_invalid_text
from monitor.sources.stores.port import TrafficUnavailableError
from monitor.sources.stores.window import Window, WindowFilter
from monitor.stop import Stopped, StoppedError
from monitor.storage.disk import scratch

_PAGE_ROWS = 10_000
_SILENCE_SECONDS = 600.0  #: a PostgreSQL server that sends nothing for this time is abandoned

Page = Sequence[RowMapping] | Sequence[dict[str, object]]
Columns = dict[str, Column[Any]]


class TrafficTableError(RedistillError):
    """[traffic] the table {table!r} cannot be read: {problem}."""

    exit_code = 2


class TableSource:
    """A request log in a table, read in pages that each begin after the last row of the previous one.

    The table needs an index on (time, id), or on time, by which pages are located. The time column has a time
    type, in UTC if it has no offset, or holds epoch seconds. Rows without a time belong to no window. For
    SQLite, see `SqliteRows`.
    """

    def __init__(self, section: SqlTraffic, labels: Collection[str]) -> None:
        self._section = section
        self._labels = labels
        self._parser = RecordParser(section, labels)
        self._engine = _engine(section)

    def read_window(
        self, window_start: datetime, window_end: datetime, *, k: int, stopped: Stopped, floor: int = 0
    ) -> WindowSample:
        """Read a window (see `TrafficSource`).

        Raises:
            TrafficTableError: the table does not exist, or a column is missing or of another type.
            TrafficUnavailableError: the database refuses the query, or does not respond.
            StoppedError: `stopped`, which is checked every 10,000 rows, returned True.
        """
        window = Window(start=window_start, end=window_end)
        in_window, strata = WindowFilter(window, self._section.table), LabelStrata(self._labels, floor)
        with (
            scratch(),
            TemporaryFile() as spill,
            self._translated_errors(),
            self._engine.connect() as connection,
        ):
            bottom = strata.bottom(k, self._section.key, spill)
            for page in self._pages(connection, window):
                if stopped():
                    raise StoppedError
                for row in page:
                    raw = repr(tuple(row.values())).encode()
                    record = self._parser.parse_row(dict(row))
                    if isinstance(record, Refusal):
                        in_window.refuse(record.reason, record.time, sha256(raw).hexdigest())
                    elif in_window.accepts(record.time, raw):
                        bottom.offer(record.id, record, strata.of(record.student_label))
            return window_sample(bottom.draw(), strata, in_window.finish(window_start))

    def _pages(self, connection: Connection, window: Window) -> Iterator[Page]:
        columns = self._columns(connection)
        if self._engine.dialect.name == "sqlite":
            return SqliteRows(connection, columns, self._section.time).pages(window)
        return self._paged(connection, columns, window)

    def _paged(self, connection: Connection, columns: Columns, window: Window) -> Iterator[Page]:
        time, request_id = columns[self._section.time], columns[self._section.id]
        wanted = select(*(column.label(name) for name, column in columns.items())).where(
            time >= _comparable(time, window.start), time < _comparable(time, window.end)
        )
        yield connection.execute(wanted.where(request_id.is_(None))).mappings().all()
        wanted = wanted.where(request_id.is_not(None)).order_by(time, request_id).limit(_PAGE_ROWS)
        page = connection.execute(wanted).mappings().all()
        if not page:
            yield self._undated(connection, columns)
        while page:
            yield page
            last = page[-1][self._section.time], page[-1][self._section.id]
            page = connection.execute(wanted.where(tuple_(time, request_id) > last)).mappings().all()

    def _undated(self, connection: Connection, columns: Columns) -> Page:
        """Return the rows whose numbers are not epoch seconds, for a window without other rows."""
        time = columns[self._section.time]
        if isinstance(time.type, DateTime):
            return ()
        wanted = select(*(column.label(name) for name, column in columns.items()))
        unusable = or_(time < FIRST_SECOND, time >= END_SECOND)
        return connection.execute(wanted.where(unusable).limit(_PAGE_ROWS)).mappings().all()

    def _columns(self, connection: Connection) -> Columns:
        """Return the columns by name: id, time and text, and those of answer and true label that exist."""
        schema, _, name = self._section.table.rpartition(".")
        try:
            table = Table(name, MetaData(schema=schema or None), autoload_with=connection)
        except NoSuchTableError as error:
            raise self._problem("there is no such table; fix 'table'") from error
        found = {name: table.c[name] for name in self._section.names if name in table.c}
        for key in ("id", "time", "text"):
            column = getattr(self._section, key)
            if column not in found:
                there = ", ".join(each.name for each in table.c)
                raise self._problem(f"it has no column {column!r}; fix {key!r}; it has {there}")
        time = found[self._section.time]
        is_sqlite = self._engine.dialect.name == "sqlite"
        if not isinstance(time.type, DateTime | Float | Integer | Numeric) and not is_sqlite:
            raise self._problem(f"{time.name!r} has the type {time.type}; give a column of a time type")
        return found

    def _problem(self, problem: str) -> TrafficTableError:
        return TrafficTableError(table=self._section.table, problem=problem)

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = one_line(getattr(error, "orig", None) or error)
            raise TrafficUnavailableError(uri=without_password(self._engine.url), problem=cause) from error


def _engine(section: SqlTraffic) -> Engine:
    try:
        url = parse_url(section.uri.get_secret_value())
        is_postgres = url.drivername in postgres.DRIVERS
        arguments = postgres.network(url) if is_postgres else {}
        engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
    except (NoSuchModuleError, ImportError) as error:
        problem = f"its 'uri' is not an SQLAlchemy URL with an installed driver ({type(error).__name__})"
        raise TrafficTableError(table=section.table, problem=problem) from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", lambda connection, _record: keep_invalid_text(connection))
    if is_postgres:
        postgres.limit_silence(engine, silence_seconds=_SILENCE_SECONDS)
    return engine


def _comparable(column: Column[object], time: datetime) -> object:
    """Return the time in the type of the column."""
    if isinstance(column.type, DateTime):
        return time if column.type.timezone else time.astimezone(UTC).replace(tzinfo=None)
    return time.timestamp()
