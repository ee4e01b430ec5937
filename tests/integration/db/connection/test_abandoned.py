"""Connections whose other end is gone or stands still: both sides notice, and the product goes on."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, insert, make_url, select, text, update

from db.connection import postgres
from db.connection.session import connect, reading, writing
from db.connection.unavailable import DatabaseUnreachableError
from db.leases import acquire, guard
from db.tables import leases
from distill import worker
from monitor.daemon import slot_runner
from tests.support.processes.ticking import Measuring, ticking
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import MONITOR, n_evaluated, taken
from tests.support.records.factories import START
from tests.support.servers.postgres import Stoppable, stoppable

IDLE_SECONDS = 1.0


@pytest.fixture
def hurried(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """What takes a minute takes a second."""
    settings = {**postgres.TRANSACTION, "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s"}
    monkeypatch.setattr(postgres, "TRANSACTION", settings)
    engine = connect(postgres_url)
    yield engine
    engine.dispose()


def add_lease(connection: Connection, name: str) -> None:
    connection.execute(insert(leases).values(name=name, owner="", token=1, expires_at=START))


def test_a_transaction_that_stands_still_is_ended_and_leaves_no_trace(hurried: Engine) -> None:
    def stand_still() -> None:
        with writing(hurried) as connection:
            add_lease(connection, "a")
            time.sleep(3 * IDLE_SECONDS)
            add_lease(connection, "b")

    with pytest.raises(DatabaseUnreachableError, match="idle-in-transaction timeout"):
        stand_still()
    with writing(hurried) as connection:
        assert connection.scalars(select(leases.c.name)).all() == []


def test_a_daemon_goes_on_once_the_server_has_ended_who_held_its_lease(
    hurried: Engine, postgres_engine: Engine
) -> None:
    """As a daemon that was suspended in the middle of a transaction does."""
    with writing(postgres_engine) as connection:
        add_lease(connection, f"monitor:{MONITOR}")
    began = time.monotonic()
    with hurried.connect() as suspended:
        suspended.execute(update(leases).values(token=leases.c.token + 1))
        with ticking(postgres_engine, Measuring(lambda: None)):
            wait_until(lambda: n_evaluated(postgres_engine) >= 1, "a cycle", timeout=30)
        assert time.monotonic() - began >= IDLE_SECONDS
        suspended.invalidate()


def test_a_process_that_is_frozen_in_its_transaction_loses_its_lease_in_time(
    hurried: Engine, postgres_url: str
) -> None:
    """It has locked its lease. Another process takes that, and the frozen one writes nothing."""
    lease = taken(hurried, "monitor:frozen", seconds=4 * IDLE_SECONDS)

    def freeze() -> None:
        with writing(connect(postgres_url)) as connection:
            guard(connection, lease)
            os.kill(os.getpid(), signal.SIGSTOP)
            add_lease(connection, "written")

    process = get_context("fork").Process(target=freeze)
    process.start()
    wait_until(lambda: process.pid is not None and _is_stopped(process.pid), "a frozen process")

    def take() -> bool:
        with writing(hurried) as connection:
            return acquire(connection, lease.name, owner="other", seconds=60) is not None

    began = time.monotonic()
    wait_until(take, "the lease")
    assert time.monotonic() - began < 8 * IDLE_SECONDS
    assert process.pid is not None
    os.kill(process.pid, signal.SIGCONT)
    process.join(10)
    assert process.exitcode == 1
    with writing(hurried) as connection:
        assert connection.scalars(select(leases.c.name)).all() == [lease.name]


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("seconds", [slot_runner.LEASE_SECONDS, worker.LEASE_SECONDS])
def test_a_frozen_transaction_is_ended_before_a_lease(seconds: float) -> None:
    assert float(postgres.TRANSACTION["idle_in_transaction_session_timeout"].removesuffix("s")) < seconds


def test_the_url_sets_another_limit(postgres_url: str) -> None:
    """Or none; the settings that it does not name stay as they are."""
    options = {"options": "-c idle_in_transaction_session_timeout=0 --statement-timeout=7s"}
    url = make_url(postgres_url).update_query_dict({**options, "application_name": "mine"})
    engine = connect(url.render_as_string(hide_password=False))
    names = ("idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout", "application_name")
    with reading(engine) as connection:
        found = [connection.scalar(text(f"SHOW {name}")) for name in names]
    assert found == ["0", "7s", "10s", "mine"]
    engine.dispose()


@pytest.fixture(scope="module")
def tcp_server() -> Iterator[Stoppable]:
    with stoppable(tcp=True) as found:
        found.execute("CREATE ROLE app LOGIN PASSWORD 'app'")
        yield found


@pytest.mark.parametrize(("query", "idle"), [({}, 10), ({"keepalives_idle": "42"}, 42)])
def test_a_host_that_vanishes_is_noticed_by_keepalives(
    tcp_server: Stoppable, query: dict[str, str], idle: int
) -> None:
    """By what the kernel was told: no cable is pulled here."""
    url = make_url(f"postgresql://app:app@127.0.0.1:{tcp_server.port}/postgres").update_query_dict(query)
    engine = connect(url.render_as_string(hide_password=False))
    with reading(engine) as connection:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, postgres.BoundedConnection)
        with socket.socket(fileno=raw.pgconn.socket) as found:
            told = [
                found.getsockopt(level, option)
                for level, option in (
                    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
                    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
                    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                )
            ]
            found.detach()
    assert told == [1, idle, 5, 3, 20_000]
    engine.dispose()
