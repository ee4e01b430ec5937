"""One migrated PostgreSQL database for test after test, emptied in between.

A new one costs 100 ms: to copy it, to fill its caches, to drop it. To migrate one takes half a second.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from db.connection.migrate import upgrade
from db.tables import metadata
from tests.support.servers.postgres import Postgres

_CUT_OFF = """
    SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
#: What a test may have changed beside rows.
_SCHEMA = """
    SELECT md5(string_agg(line, E'\\n' ORDER BY line)) FROM (
        SELECT concat_ws(' ', relname, relnatts, relacl, relchecks, relhastriggers) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', attrelid::regclass, attname, atttypid, attnotnull, attacl)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND attnum > 0
        UNION ALL SELECT concat_ws(' ', conname, pg_get_constraintdef(oid)) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', proname, prosrc) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT concat_ws(' ', tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT concat_ws(' ', nspname, nspacl) FROM pg_namespace WHERE nspname NOT LIKE 'pg_temp%'
        UNION ALL SELECT concat_ws(' ', datacl, datconnlimit, datallowconn) FROM pg_database
        WHERE datname = current_database()
        UNION ALL SELECT setconfig::text FROM pg_db_role_setting
    ) AS lines (line)
"""
_SEQUENCES = """
    SELECT pg_get_serial_sequence(quote_ident(relname), attname)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0
"""


class Reused:
    """A database of one server that is lent to one test at a time; a test that changes its schema ends it."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._migrated = ExitStack()
        self._template = ""
        self._stack = ExitStack()
        self._url: str | None = None
        self._schema = ""
        self._empty = ""

    @contextmanager
    def lent(self) -> Iterator[str]:
        """The URL of the database, which is as a new one."""
        if self._url is None:
            self._make()
        assert self._url is not None
        try:
            yield self._url
        finally:
            self._take_back(self._url)

    def close(self) -> None:
        self._drop()
        self._migrated.close()
        self._template = ""

    def _drop(self) -> None:
        self._stack.close()
        self._url = None

    def _make(self) -> None:
        if not self._template:
            url = self._migrated.enter_context(self._server.database())
            upgrade(url)
            self._template = make_url(url).database or ""
        self._url = self._stack.enter_context(self._server.database(self._template))
        with psycopg.connect(self._url, autocommit=True) as connection:
            self._schema = _schema(connection)
            self._empty = _statements_that_empty(connection)

    def _take_back(self, url: str) -> None:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(_CUT_OFF)
                if _schema(connection) == self._schema:
                    connection.execute(self._empty.encode())
                    return
        except psycopg.Error:  # it lets nobody in, or somebody holds a row
            pass
        self._drop()


def _schema(connection: psycopg.Connection) -> str:
    row = connection.execute(_SCHEMA).fetchone()
    assert row is not None
    return str(row[0])


def _statements_that_empty(connection: psycopg.Connection) -> str:
    """Delete all rows, from those that refer to others on, and let each sequence begin anew."""
    tables = [table.name for table in reversed(metadata.sorted_tables)]
    for table in tables:
        rows = connection.execute(
            sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(table))
        ).fetchall()
        assert not rows, f"a migration writes rows to {table}"
    sequences = [row[0] for row in connection.execute(_SEQUENCES) if row[0]]
    return "; ".join(
        (
            "BEGIN; SET LOCAL lock_timeout = '2s'",
            *(f'DELETE FROM "{table}"' for table in tables),  # noqa: S608 - the product's own names
            *(f"SELECT setval('{sequence}', 1, false)" for sequence in sequences),
            "COMMIT",
        )
    )
