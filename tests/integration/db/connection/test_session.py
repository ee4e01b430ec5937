"""Connections: what a transaction sees and leaves, and what is said of a database that is not there."""

import socket
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, insert, make_url, select, text, update
from sqlalchemy.exc import IntegrityError

from db.connection import postgres
from db.connection.session import (
    DatabaseUrlError,
    connect,
    reading,
    without_password,
    writing,
)
from db.connection.unavailable import DatabaseUnreachableError, DatabaseUnusableError
from db.tables import jobs, leases, rejects
from tests.support.processes.races import in_processes
from tests.support.records.factories import START

ROUNDS = 50


def add(engine: Engine, name: str) -> None:
    with writing(engine) as connection:
        connection.execute(insert(leases).values(name=name, owner="", token=0, expires_at=START))


def names(connection: Connection) -> list[str]:
    return list(connection.scalars(select(leases.c.name).order_by(leases.c.name)))


def count_up(engine: Engine, _number: int) -> None:
    """Reads the token and writes the next one, as one transaction."""
    for _ in range(ROUNDS):
        with writing(engine) as connection:
            token = connection.scalar(select(leases.c.token))
            assert token is not None
            connection.execute(update(leases).values(token=token + 1))


def test_what_is_written_is_there_after_the_block(engine: Engine) -> None:
    add(engine, "a")
    with reading(engine) as connection:
        assert names(connection) == ["a"]


def test_a_block_that_fails_leaves_no_trace(engine: Engine) -> None:
    def fail() -> None:
        with writing(engine) as connection:
            connection.execute(insert(leases).values(name="a", owner="", token=0, expires_at=START))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with reading(engine) as connection:
        assert names(connection) == []


def test_what_is_written_while_reading_is_forgotten(engine: Engine) -> None:
    with reading(engine) as connection:
        connection.execute(insert(leases).values(name="a", owner="", token=0, expires_at=START))
    with reading(engine) as connection:
        assert names(connection) == []


def test_reading_sees_one_state_of_the_database_and_blocks_no_writer(engine: Engine) -> None:
    add(engine, "a")
    with reading(engine) as connection:
        assert names(connection) == ["a"]
        add(engine, "b")
        assert names(connection) == ["a"]
    with reading(engine) as connection:
        assert names(connection) == ["a", "b"]


def test_a_writer_blocks_no_reader_and_shows_nothing_before_it_commits(engine: Engine) -> None:
    with writing(engine) as writer:
        writer.execute(insert(leases).values(name="a", owner="", token=0, expires_at=START))
        with reading(engine) as reader:
            assert names(reader) == []


def test_a_row_that_points_nowhere_is_refused(engine: Engine) -> None:
    row = {"cycle_id": 7, "reason": "no_id", "n": 1, "example_hash": "", "example_object": ""}
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(rejects).values(row))


def test_a_statement_that_fails_takes_the_whole_block_with_it(engine: Engine) -> None:

    def fail() -> None:
        with writing(engine) as connection:
            connection.execute(insert(leases).values(name="a", owner="", token=0, expires_at=START))
            connection.execute(insert(jobs).values(monitor="a"))

    with pytest.raises(IntegrityError):
        fail()
    with reading(engine) as connection:
        assert names(connection) == []


def test_a_connection_that_read_can_be_used_to_write(postgres_engine: Engine) -> None:
    """Reading's isolation does not stay with the pooled connection."""
    with reading(postgres_engine) as connection:
        assert connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    with writing(postgres_engine) as connection:
        assert connection.scalar(text("SHOW transaction_isolation")) == "read committed"


def test_sqlite_is_set_up_for_several_processes(sqlite_engine: Engine) -> None:
    with reading(sqlite_engine) as connection:
        settings = {
            name: connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "busy_timeout", "foreign_keys")
        }
    assert settings == {"journal_mode": "wal", "busy_timeout": 10_000, "foreign_keys": 1}


def test_processes_that_write_a_sqlite_file_take_turns(sqlite_engine: Engine, sqlite_url: str) -> None:
    """None hears that the database is locked, though each reads before it writes, and none is lost."""
    add(sqlite_engine, "a")
    in_processes(2, sqlite_url, count_up)
    with reading(sqlite_engine) as connection:
        assert connection.scalar(select(leases.c.token)) == 2 * ROUNDS


def test_processes_that_open_a_new_sqlite_file_at_once_take_turns(tmp_path: Path) -> None:
    """The first to come changes how the file is written; the others wait for it, though SQLite would not."""

    def make(engine: Engine, number: int) -> None:
        with writing(engine) as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS found (number INTEGER)"))
            connection.execute(text("INSERT INTO found VALUES (:number)"), {"number": number})

    url = f"sqlite:///{tmp_path / 'new.db'}"
    in_processes(4, url, make)
    engine = connect(url)
    with reading(engine) as connection:
        assert sorted(connection.scalars(text("SELECT number FROM found"))) == [0, 1, 2, 3]
    engine.dispose()


def test_a_new_sqlite_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    """How it is written cannot be changed meanwhile, and SQLite says at once that the file is locked."""
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE found (number INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, other.execute, ["COMMIT"]).start()
    engine = connect(f"sqlite:///{path}")
    with writing(engine) as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    engine.dispose()
    other.close()


def test_a_writer_waits_for_another_one(engine: Engine) -> None:
    """On PostgreSQL for the same row, on SQLite for the file; and then it sees what was written."""

    def add_one() -> None:
        with writing(engine) as connection:
            connection.execute(update(leases).values(token=leases.c.token + 1))

    add(engine, "a")
    with writing(engine) as connection:
        connection.execute(update(leases).values(token=10))
        other = threading.Thread(target=add_one)
        other.start()
        time.sleep(0.2)
        assert other.is_alive()
    other.join(20)
    with reading(engine) as connection:
        assert connection.scalar(select(leases.c.token)) == 11


def test_postgres_does_not_wait_for_ever(postgres_engine: Engine) -> None:
    with reading(postgres_engine) as connection:
        settings = {
            name: connection.scalar(text(f"SHOW {name}"))
            for name in (*postgres.TRANSACTION, "application_name")
        }
    assert settings == {
        "lock_timeout": "10s",
        "statement_timeout": "1min",
        "idle_in_transaction_session_timeout": "25s",
        "timezone": "UTC",
        "application_name": "redistill",
    }


def test_what_the_url_asks_of_postgres_wins(postgres_url: str) -> None:
    """And the rest stays as it is."""
    url = make_url(postgres_url).update_query_dict({"options": "-c lock_timeout=50ms"})
    engine = connect(url.render_as_string(hide_password=False))
    add(engine, "a")

    def wait_for_a_lock() -> None:
        with writing(engine) as other:
            other.execute(update(leases).values(token=2))

    with writing(engine) as connection:
        assert connection.scalar(text("SHOW timezone")) == "UTC"
        connection.execute(update(leases).values(token=1))
        with pytest.raises(DatabaseUnusableError, match=r"\(canceling .* lock timeout\): retry"):
            wait_for_a_lock()
    engine.dispose()


def test_a_connection_that_the_server_has_cut_is_replaced(postgres_engine: Engine) -> None:
    with reading(postgres_engine) as connection:
        process = connection.scalar(text("SELECT pg_backend_pid()"))
    killer = connect(postgres_engine.url.render_as_string(hide_password=False))
    with writing(killer) as connection:
        connection.execute(text("SELECT pg_terminate_backend(:process, 5000)"), {"process": process})
    killer.dispose()
    add(postgres_engine, "a")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redistill.db", "redistill.db"),
        ("", ""),
        ("postgresql//me:s3cret@host/name", "host/name"),
        ("postgresql://me:s3cret@host:port/name", "host:port/name"),
        ("postgresql://host:port/name?password=s3cret", "postgresql://host:port/name"),
        ("postgres://me:s3cret@host/name", "postgres://me:***@host/name"),
        ("postgresql+asyncpg://me:s3cret@host/name", "postgresql+asyncpg://me:***@host/name"),
        ("mysql://me:s3cret@host/name?password=s3cret", "mysql://me:***@host/name"),
        ("nonsense://me@host/name", "nonsense://me@host/name"),
        ("sqlite://", "sqlite://"),
        ("sqlite:///:memory:", "sqlite:///%3Amemory%3A"),
    ],
)
def test_a_url_that_names_no_known_database_is_bad_configuration(url: str, shown: str) -> None:
    """The error names it, without its password, and says what is expected."""
    with pytest.raises(DatabaseUrlError) as error:
        connect(url)
    assert str(error.value) == (
        f"[database] url: {shown!r} is not a database URL that redistill knows: write "
        "'sqlite:///redistill.db' or 'postgresql://user@host/name'."
    )
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@127.0.0.1:1/name",
        "postgresql:///name?host=127.0.0.1&port=1&user=me&password=s3cret",
    ],
)
def test_a_server_that_is_down_is_named_in_one_line_without_its_password(url: str) -> None:
    engine = connect(url)
    for block in (reading, writing):
        with pytest.raises(DatabaseUnreachableError) as error, block(engine):
            pass
        message = str(error.value)
        assert message.startswith("The database postgresql://")
        assert "refused" in message
        assert message.endswith("check [database] url, and that the database is up.")
        assert "\n" not in message
        assert "s3cret" not in message
        assert error.value.exit_code == 1


def test_a_server_that_does_not_answer_is_given_up() -> None:
    """After ten seconds, or as many as the URL says."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        engine = connect(f"postgresql://me@127.0.0.1:{port}/name?connect_timeout=2")
        began = time.monotonic()
        with pytest.raises(DatabaseUnreachableError), reading(engine):
            pass
        assert time.monotonic() - began < 5


def test_a_sqlite_file_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "redistill.db"
    with (
        pytest.raises(DatabaseUnusableError, match=r"redistill\.db cannot be used now \(unable to open"),
        writing(connect(f"sqlite:///{path}")),
    ):
        pass


def test_a_url_is_shown_without_its_passwords() -> None:
    url = make_url("postgresql://me:s3cret@host/name?sslpassword=s3cret&sslmode=require")
    assert without_password(url) == "postgresql://me:***@host/name?sslmode=require"


def test_a_right_that_was_revoked_is_waited_for_and_told_in_one_line(postgres_engine: Engine) -> None:
    """As after a migration by another role: the daemon must not flood its log with tracebacks."""

    def ask() -> None:
        with reading(postgres_engine) as connection:
            connection.execute(text("SET LOCAL ROLE pg_monitor"))
            connection.execute(select(jobs))

    told = r"\(permission denied for table jobs\): grant the role"
    with pytest.raises(DatabaseUnusableError, match=told):
        ask()
