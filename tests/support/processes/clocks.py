"""Clocks that a test sets: that of this process's daemon, and that of a database."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event, make_url, text

from db.connection.session import connect, writing
from tests.support.world.installation import now

#: Found before the server's own.
_CLOCK_TIMESTAMP = """
    CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT pg_catalog.clock_timestamp() + make_interval(secs => seconds) FROM shifted.by'
"""
_PATH = "-c search_path=shifted,public,pg_catalog"


class Clocks:
    """Both go on from where they were set."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._daemon = self._database = timedelta(0)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", self._shift_sqlite)
        else:
            self._shift_postgres()

    def set(self, time: datetime) -> None:
        """Both, as on one machine."""
        self.set_daemon(time)
        self.set_database(time)

    def set_daemon(self, time: datetime) -> None:
        self._daemon = time - now()

    def set_database(self, time: datetime) -> None:
        self._database = time - now()
        if self.engine.dialect.name == "postgresql":
            with writing(self.engine) as connection:
                seconds = self._database.total_seconds()
                connection.execute(text("UPDATE shifted.by SET seconds = :seconds"), {"seconds": seconds})

    def daemon(self) -> datetime:
        return now() + self._daemon

    def _shift_sqlite(self, connection: sqlite3.Connection, _record: object) -> None:
        def strftime(form: str, base: str, *modifiers: str) -> str:
            assert (form, base) == ("%Y-%m-%d %H:%M:%f", "now")
            seconds = sum(float(each.removesuffix(" seconds")) for each in modifiers)
            time = now() + self._database + timedelta(seconds=seconds)
            return time.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]

        connection.create_function("strftime", -1, strftime)

    def _shift_postgres(self) -> None:
        with writing(self.engine) as connection:
            connection.execute(text("CREATE SCHEMA shifted"))
            connection.execute(text("CREATE TABLE shifted.by AS SELECT 0::float8 AS seconds"))
            connection.execute(text(_CLOCK_TIMESTAMP))


@contextmanager
def settable(database_url: str) -> Iterator[Clocks]:
    """Of a database of one's own; `utc_now` of the daemon's two modules is the daemon's."""
    url = make_url(database_url)
    if url.drivername == "postgresql":
        url = url.update_query_dict({"options": _PATH})
    engine = connect(url.render_as_string(hide_password=False))
    with pytest.MonkeyPatch.context() as patch:
        clocks = Clocks(engine)
        for module in ("loop", "slot_runner"):
            patch.setattr(f"monitor.daemon.{module}.utc_now", clocks.daemon)
        yield clocks
    engine.dispose()


def at(hours: float) -> datetime:
    """So many hours after a midnight."""
    return datetime(2026, 3, 2, tzinfo=UTC) + timedelta(hours=hours)
