"""PgBouncer in transaction mode: each transaction may run on another connection to the server."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text

from db import leases
from db.connection import migrate, postgres
from db.connection.session import connect, reading, writing
from db.connection.unavailable import DatabaseUnreachableError
from db.tables import cycles
from tests.support.processes.races import in_processes, in_threads
from tests.support.processes.ticking import Measuring, ticking
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import n_evaluated, stored
from tests.support.servers.pgbouncer import PgBouncer, pooling
from tests.support.servers.postgres import Stoppable, stoppable

pytestmark = pytest.mark.pgbouncer

SETTINGS = (*postgres.TRANSACTION, "application_name", "transaction_isolation")
CONNECTIONS = 2


@pytest.fixture(scope="module")
def server() -> Iterator[Stoppable]:
    with stoppable() as found:
        yield found


@pytest.fixture
def pooler(server: Stoppable) -> Iterator[PgBouncer]:
    """Before an empty database."""
    server.execute("DROP SCHEMA public CASCADE")
    server.execute("CREATE SCHEMA public")
    with pooling(server.url, connections=CONNECTIONS) as found:
        yield found


@pytest.fixture
def engine(pooler: PgBouncer) -> Iterator[Engine]:
    """A database that two processes have migrated at once, through the pooler."""
    url = pooler.url.render_as_string(hide_password=False)
    in_processes(2, url, lambda engine, _number: str(migrate.upgrade(engine)))
    engine = connect(url)
    yield engine
    engine.dispose()


def settings_of(connection: Connection) -> dict[str, object]:
    return {name: connection.scalar(text(f"SHOW {name}")) for name in SETTINGS}


def test_the_database_is_migrated_through_it(engine: Engine, server: Stoppable) -> None:
    """Also its second upgrade, which finds nothing to do, leaves no lock."""
    assert migrate.check(engine) is migrate.Level.CURRENT
    assert migrate.diff(engine) == ()
    migrate.upgrade(engine)
    direct = connect(server.url.render_as_string(hide_password=False))
    with reading(direct) as connection:
        assert connection.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 0
    direct.dispose()


def test_each_transaction_has_the_settings_and_leaves_none(engine: Engine, pooler: PgBouncer) -> None:
    expected = {
        "lock_timeout": "10s",
        "statement_timeout": "1min",
        "idle_in_transaction_session_timeout": "25s",
        "timezone": "UTC",
        "application_name": "redistill",
        "transaction_isolation": "repeatable read",
    }
    for _ in range(5):
        with reading(engine) as first, reading(engine) as second:
            assert settings_of(first) == expected
            assert settings_of(second) == expected
    assert len(pooler.show("SERVERS")) == CONNECTIONS
    stranger = pooler.url.render_as_string(hide_password=False)
    with psycopg.connect(stranger, autocommit=True) as connection:
        for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
            assert connection.execute(f"SHOW {name}".encode()).fetchone() == ("0",)


def test_a_statement_that_is_run_often_needs_no_prepared_one(engine: Engine) -> None:
    """On connections that alternate; a prepared statement would be missing on one of them."""

    def run(_number: int) -> None:
        for number in range(30):
            with writing(engine) as connection:
                leases.acquire(connection, f"lease {number % 3}", owner="me", seconds=0)

    in_threads(4, run)
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
        assert connection.scalar(text("SELECT sum(token) FROM leases")) == 120


def test_options_of_the_session_are_refused(pooler: PgBouncer) -> None:
    """Which docs/database.md says: they would be those of others, too."""
    url = pooler.url.update_query_dict({"options": "-c statement_timeout=5s"})
    with (
        pytest.raises(DatabaseUnreachableError, match="unsupported startup parameter: options"),
        reading(connect(url.render_as_string(hide_password=False))),
    ):
        pass


def test_a_daemon_runs_every_slot_once_through_it(engine: Engine) -> None:
    """With more of its own connections than the pooler has to the server."""
    with ticking(engine, Measuring(lambda: None)), ticking(engine, Measuring(lambda: None)):
        wait_until(lambda: n_evaluated(engine) >= 4, "four cycles", timeout=30)
    rows = sorted(stored(engine, cycles), key=lambda row: row["window_end"])
    ends = [row["window_end"] for row in rows]
    assert len(set(ends)) == len(ends) >= 4
    assert {row["attempt"] for row in rows} == {1}
