"""A migration while others work: it waits for them a little at a time, and nobody waits for it for long."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, text

from db.connection import migrate
from db.connection.migrate import check, upgrade
from db.connection.session import connect, reading, writing
from db.connection.unavailable import DatabaseUnusableError
from tests.support.servers.postgres import Postgres

WAIT_SECONDS = 0.3


@pytest.fixture
def behind(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A database of the revision before the one that adds to `jobs`, and nobody who waits for long."""
    monkeypatch.setattr(migrate, "LOCK_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr(migrate, "_PAUSE_SECONDS", WAIT_SECONDS)
    monkeypatch.setattr("db.connection.session.BUSY_SECONDS", WAIT_SECONDS)
    upgrade(empty_database_url, "0013")
    engine = connect(empty_database_url)
    yield engine
    engine.dispose()


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """As by a transaction that has written a job, or by an analyst's query that runs and runs."""
    with writing(engine) as connection:
        connection.execute(text("SELECT count(*) FROM jobs"))
        yield


def test_it_tries_again_until_it_has_what_it_needs(behind: Engine) -> None:
    with held(behind):
        upgrading = threading.Thread(target=upgrade, args=(behind,))
        upgrading.start()
        time.sleep(4 * WAIT_SECONDS)
        assert upgrading.is_alive()
    upgrading.join(30)
    assert not upgrading.is_alive()
    check(behind)


def test_it_gives_up_with_the_reason_and_without_a_trace(
    behind: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "PATIENCE_SECONDS", 3 * WAIT_SECONDS)
    with held(behind), pytest.raises(DatabaseUnusableError, match="retry when the process that holds"):
        upgrade(behind)
    with reading(behind) as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0013"
    upgrade(behind)
    check(behind)


def test_who_waits_behind_it_goes_on_when_it_gives_way(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL, where whoever comes later waits behind a migration that waits."""
    monkeypatch.setattr(migrate, "LOCK_SECONDS", WAIT_SECONDS)
    with postgres.database() as url:
        upgrade(url, "0013")
        engine = connect(url)
        with held(engine):
            upgrading = threading.Thread(target=upgrade, args=(engine,))
            upgrading.start()
            longest = max(seconds_to_write_a_job(engine) for _ in range(30))
            assert upgrading.is_alive()
        upgrading.join(30)
        check(engine)
        engine.dispose()
    assert WAIT_SECONDS / 2 < longest < 5 * WAIT_SECONDS


def seconds_to_write_a_job(engine: Engine) -> float:
    """Or to be allowed to."""
    time.sleep(WAIT_SECONDS / 3)
    began = time.monotonic()
    with writing(engine) as connection:
        connection.execute(text("LOCK TABLE jobs IN ROW EXCLUSIVE MODE"))
    return time.monotonic() - began
