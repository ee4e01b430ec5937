"""A PostgreSQL server that keeps its connections and says nothing: it is left, and found again."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import URL, Connection, Engine, insert, make_url, text
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from db.connection import postgres
from db.connection.migrate import upgrade
from db.connection.session import connect, reading, writing
from db.connection.unavailable import DatabaseUnreachableError
from db.tables import cycles, leases
from tests.support.processes.ticking import Measuring, ticking
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import n_evaluated, stored
from tests.support.records.factories import START
from tests.support.servers.commit_cutter import cutting
from tests.support.servers.postgres import Stoppable, stoppable

STATEMENT_SECONDS = 0.5
SILENCE_SECONDS = 0.5


@pytest.fixture(scope="module")
def server() -> Iterator[Stoppable]:
    with stoppable() as found:
        upgrade(found.url.render_as_string(hide_password=False))
        yield found


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes more than a minute takes a second."""
    monkeypatch.setattr(postgres, "SILENCE_SECONDS", SILENCE_SECONDS)
    monkeypatch.setattr(postgres, "NETWORK", {**postgres.NETWORK, "connect_timeout": 2})


@contextmanager
def connected(url: URL) -> Iterator[Engine]:
    """An engine that has a connection."""
    options = f"-c statement_timeout={STATEMENT_SECONDS * 1_000:.0f}"
    engine = connect(url.update_query_dict({"options": options}).render_as_string(hide_password=False))
    with reading(engine) as connection:
        ask(connection)
    yield engine
    engine.dispose()


@pytest.fixture
def engine(server: Stoppable) -> Iterator[Engine]:
    """Over a Unix socket."""
    with connected(server.url) as engine:
        yield engine


@pytest.fixture
def tcp_engine(server: Stoppable) -> Iterator[Engine]:
    """Over TCP, whose keepalives are answered all the time."""
    with cutting(server.url) as proxy, connected(make_url(proxy.url(server.url))) as engine:
        yield engine


def ask(connection: Connection) -> None:
    connection.execute(text("SELECT 1"))


def add(connection: Connection) -> None:
    connection.execute(insert(leases).values(name="a", owner="", token=0, expires_at=START))


def test_a_server_that_froze_before_it_was_asked_is_left(server: Stoppable, engine: Engine) -> None:
    """Two waits: for the answer, and for a new connection."""
    began = time.monotonic()
    with server.frozen(), pytest.raises(DatabaseUnreachableError), reading(engine) as connection:
        ask(connection)
    assert time.monotonic() - began < STATEMENT_SECONDS + SILENCE_SECONDS + 4
    with reading(engine) as connection:
        ask(connection)


@pytest.mark.parametrize("over", ["engine", "tcp_engine"])
@pytest.mark.parametrize("work", [ask, add], ids=["a question", "a write"])
def test_a_server_that_froze_in_a_transaction_is_left_and_keeps_nothing(
    server: Stoppable, request: pytest.FixtureRequest, over: str, work: Callable[[Connection], None]
) -> None:
    """It is told why; and the connection is not used again, for what it answered could come late."""
    engine: Engine = request.getfixturevalue(over)

    def freeze_and_work() -> None:
        with ExitStack() as frozen, writing(engine) as connection:
            ask(connection)
            frozen.enter_context(server.frozen())
            work(connection)

    began = time.monotonic()
    with pytest.raises(DatabaseUnreachableError, match=r"\(the server was silent for 1 s\)"):
        freeze_and_work()
    assert 1 < time.monotonic() - began < 3
    with writing(engine) as connection:
        assert connection.scalar(text("SELECT COUNT(*) FROM leases")) == 0


def test_a_server_that_froze_at_the_commit_is_left(server: Stoppable, engine: Engine) -> None:
    def write_and_freeze() -> None:
        with ExitStack() as frozen, writing(engine) as connection:
            add(connection)
            frozen.enter_context(server.frozen())

    with pytest.raises(DatabaseUnreachableError, match="silent"):
        write_and_freeze()
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM leases"))  # it may be there all the same


def test_who_takes_long_by_leave_of_the_server_is_not_silent(engine: Engine) -> None:
    """The server's own limit comes first, and its words are told."""
    with reading(engine) as connection:
        raw_of(connection).silence_seconds = 3.0
        connection.execute(text("SELECT pg_sleep(0.1)"))
    with pytest.raises(OperationalError, match="statement timeout"), reading(engine) as connection:
        connection.execute(text("SELECT pg_sleep(0.7)"))


def test_an_answer_that_comes_bit_by_bit_is_no_silence(engine: Engine) -> None:
    with reading(engine) as connection:
        connection.execute(text("SET LOCAL statement_timeout = 20000"))
        raw_of(connection).silence_seconds = 0.6
        began = time.monotonic()
        slow = "SELECT repeat('x', 20000), pg_sleep(0.2) FROM generate_series(1, 5)"
        assert len(connection.execute(text(slow)).all()) == 5
        assert time.monotonic() - began > 0.6


def raw_of(connection: Connection) -> postgres.BoundedConnection:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, postgres.BoundedConnection)
    return raw


def test_without_a_limit_for_statements_there_is_none_for_answers(server: Stoppable) -> None:
    url = server.url.update_query_dict({"options": "-c statement_timeout=0"})
    engine = connect(url.render_as_string(hide_password=False))
    with reading(engine) as connection:
        assert raw_of(connection).silence_seconds is None
    engine.dispose()


@pytest.mark.slow
def test_a_daemon_outlives_a_server_that_froze(server: Stoppable, engine: Engine) -> None:
    """Every slot is run once, the one that was measured meanwhile too."""

    with capture_logs() as logs, ticking(engine, Measuring(lambda: None)):
        wait_until(lambda: n_evaluated(engine) >= 2, "two cycles", timeout=30)
        with server.frozen():
            wait_until(
                lambda: any(entry["event"] == "database away" for entry in logs),
                "the outage in the log",
                timeout=30,
            )
            time.sleep(1)
        so_far = n_evaluated(engine)
        wait_until(lambda: n_evaluated(engine) >= so_far + 2, "two more cycles", timeout=30)
    rows = sorted(stored(engine, cycles), key=lambda row: row["window_end"])
    ends = [row["window_end"] for row in rows]
    assert ends == [ends[0] + index * (ends[1] - ends[0]) for index in range(len(rows))]
    assert {row["attempt"] for row in rows} <= {1, 2}
    told = [entry["event"] for entry in logs]
    assert "tick failed" not in told
    assert "database back" in told
