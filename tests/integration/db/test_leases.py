"""Leases: one holder at a time by the database's clock, and no write by one who lost his."""

import threading
import time

import pytest
from sqlalchemy import Engine, select, text
from structlog.testing import capture_logs

from db import leases
from db.connection.session import connect, writing
from db.cycles import ledger
from db.errors import LeaseLostError
from db.heartbeat import Heartbeat
from db.records import Lease
from db.tables import cycles
from db.tables import leases as leases_table
from tests.support.processes.races import in_processes, in_threads
from tests.support.processes.waiting import comes_true
from tests.support.records.cycles import release, seized, stored, taken
from tests.support.records.factories import START, make_slot
from tests.support.records.tables import rename_table

NAME = "monitor:mangaassist"
CLOCKS = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400",
}


def acquire(engine: Engine, *, owner: str = "other", seconds: float = 600) -> Lease | None:
    with writing(engine) as connection:
        return leases.acquire(connection, NAME, owner=owner, seconds=seconds)


def renew(engine: Engine, lease: Lease, *, seconds: float = 600) -> None:
    with writing(engine) as connection:
        leases.renew(connection, lease, seconds=seconds)


def guard(engine: Engine, lease: Lease) -> None:
    with writing(engine) as connection:
        leases.guard(connection, lease)


def test_a_free_lease_is_taken_and_a_held_one_is_not(engine: Engine) -> None:
    """Not even by its own holder: a second start of the same work would not know of the first."""
    assert acquire(engine, owner="me") == Lease(name=NAME, owner="me", token=1)
    assert acquire(engine, owner="other") is None
    assert acquire(engine, owner="me") is None


def test_leases_of_other_names_are_free(engine: Engine) -> None:
    taken(engine, "monitor:a")
    assert taken(engine, "monitor:b").token == 1


def test_a_released_lease_is_free_at_once_and_has_a_higher_token(engine: Engine) -> None:
    for token in (1, 2, 3):
        lease = acquire(engine)
        assert lease is not None
        assert lease.token == token
        release(engine, lease)


def test_an_expired_lease_can_be_taken_and_not_a_moment_before(engine: Engine) -> None:
    taken(engine, seconds=0.5)
    assert acquire(engine) is None
    time.sleep(0.55)
    lease = acquire(engine)
    assert lease is not None
    assert lease.token == 2


def test_a_lease_counts_from_the_statement_and_not_from_its_transaction(engine: Engine) -> None:
    """A transaction that had to wait would otherwise take leases that have expired already."""
    with writing(engine) as connection:
        connection.execute(text("SELECT 1"))
        time.sleep(0.6)
        leases.acquire(connection, NAME, owner="me", seconds=0.5)
    assert acquire(engine) is None


def test_a_lease_expires_by_the_clock_of_the_database(engine: Engine) -> None:
    """Its end is the database's present plus its length, and reads back as a time like any other."""

    def epoch_seconds() -> float:
        with writing(engine) as connection:
            return float(connection.scalar(text(CLOCKS[engine.dialect.name])))

    before = epoch_seconds()
    taken(engine, seconds=90)
    after = epoch_seconds()
    (row,) = stored(engine, leases_table)
    assert before - 0.002 <= row["expires_at"].timestamp() - 90 <= after + 0.002


def test_a_renewed_lease_is_held_longer(engine: Engine) -> None:
    lease = taken(engine, seconds=0.3)
    renew(engine, lease, seconds=600)
    time.sleep(0.35)
    assert acquire(engine) is None


def test_an_expired_lease_that_nobody_took_can_be_renewed(engine: Engine) -> None:
    lease = taken(engine, seconds=-1)
    renew(engine, lease)
    guard(engine, lease)
    assert acquire(engine) is None


def test_a_lost_lease_cannot_be_renewed(engine: Engine) -> None:
    """And the attempt takes nothing from the new holder."""
    lost = taken(engine)
    held = seized(engine, lost)
    before = stored(engine, leases_table)
    with pytest.raises(LeaseLostError, match=r"'monitor:mangaassist' \(fencing token 1\)"):
        renew(engine, lost)
    assert stored(engine, leases_table) == before
    guard(engine, held)


def test_releasing_a_lost_lease_does_no_harm(engine: Engine) -> None:
    lost = taken(engine)
    seized(engine, lost)
    release(engine, lost)
    assert acquire(engine) is None


def test_one_who_lost_the_lease_writes_nothing(engine: Engine) -> None:
    lost = taken(engine)
    seized(engine, lost)

    def write() -> None:
        with writing(engine) as connection:
            ledger.claim(connection, make_slot(), START)
            leases.guard(connection, lost)

    with pytest.raises(LeaseLostError):
        write()
    assert stored(engine, cycles) == []


def test_a_lease_that_was_never_taken_guards_nothing(engine: Engine) -> None:
    with pytest.raises(LeaseLostError):
        guard(engine, Lease(name="monitor:unknown", owner="me", token=1))


def test_nobody_takes_the_lease_while_a_guarded_transaction_goes_on(engine: Engine) -> None:
    """Even if it expires meanwhile: what the transaction writes is there before the next holder begins."""
    lease = taken(engine, seconds=0.1)
    seen: list[int] = []

    def other() -> None:
        with writing(engine) as connection:
            while leases.acquire(connection, NAME, owner="other", seconds=600) is None:
                pass
            seen.append(len(connection.execute(select(cycles)).all()))

    with writing(engine) as connection:
        leases.guard(connection, lease)
        thread = threading.Thread(target=other)
        thread.start()
        time.sleep(0.5)
        assert seen == []
        ledger.claim(connection, make_slot(), START)
    thread.join(10)
    assert seen == [1]


def test_of_eight_threads_exactly_one_gets_the_lease(engine: Engine) -> None:
    for token in range(1, 6):
        won = [lease for lease in in_threads(8, lambda _: acquire(engine)) if lease is not None]
        assert [lease.token for lease in won] == [token]
        release(engine, won[0])


def test_of_eight_processes_exactly_one_gets_an_expired_lease(engine: Engine, database_url: str) -> None:
    taken(engine, seconds=-1)
    won = in_processes(8, database_url, lambda own, number: acquire(own, owner=str(number)))
    assert [lease.token for lease in won if lease is not None] == [2]


def test_what_a_lease_protects_is_never_done_by_two_at_once(engine: Engine) -> None:
    """Eight threads add one to a number, each by reading and writing it, and none is lost."""
    box = {"number": 0}

    def add(_number: int) -> None:
        while (lease := acquire(engine)) is None:
            time.sleep(0.002)
        number = box["number"]
        time.sleep(0.002)
        box["number"] = number + 1
        release(engine, lease)

    in_threads(8, add)
    assert box["number"] == 8


def test_owners_are_unique_to_a_start() -> None:
    owners = {leases.new_owner() for _ in range(100)}
    assert len(owners) == 100


def test_a_heartbeat_keeps_the_lease_over_several_lengths(engine: Engine) -> None:
    lease = taken(engine, seconds=0.5)
    with Heartbeat(engine, lease, seconds=0.5) as heartbeat:
        until = time.monotonic() + 1.3
        while time.monotonic() < until:
            assert acquire(engine) is None
            time.sleep(0.05)
        assert not heartbeat.lost
    time.sleep(0.55)
    assert acquire(engine) is not None


def test_a_heartbeat_tells_that_the_lease_is_lost(engine: Engine) -> None:
    lease = taken(engine)
    with Heartbeat(engine, lease, seconds=0.3) as heartbeat:
        assert not heartbeat.lost
        held = seized(engine, lease)
        assert comes_true(lambda: heartbeat.lost, seconds=5)
    guard(engine, held)


def test_a_heartbeat_outlasts_a_lock(engine: Engine) -> None:
    """Another transaction holds the lease's row for longer than the lease lasts; then it goes on."""
    lease = taken(engine, seconds=1)
    with Heartbeat(engine, lease, seconds=1) as heartbeat:
        with writing(engine) as connection:
            leases.guard(connection, lease)
            time.sleep(2.5)
        time.sleep(1)
        assert acquire(engine) is None
        assert not heartbeat.lost


def test_a_heartbeat_outlasts_a_database_that_answers_with_errors(engine: Engine) -> None:
    """It says so in the log once, asks again, and the lease is not lost unless somebody has taken it."""
    lease = taken(engine, seconds=1)
    with capture_logs() as logs, Heartbeat(engine, lease, seconds=1) as heartbeat:
        rename_table(engine, "leases", "away")
        time.sleep(1.5)
        rename_table(engine, "away", "leases")
        time.sleep(1)
        assert acquire(engine) is None
        assert not heartbeat.lost
    assert [entry["event"] for entry in logs] == ["could not renew the lease"]


def test_a_heartbeat_outlasts_a_database_that_cannot_be_reached(postgres_url: str) -> None:
    engine = connect(postgres_url)
    lease = taken(engine, seconds=0.3)
    gone = connect("postgresql://nobody@127.0.0.1:1/none")
    with capture_logs() as logs, Heartbeat(gone, lease, seconds=0.3) as heartbeat:
        assert comes_true(lambda: bool(logs), seconds=5)
        assert not heartbeat.lost
    engine.dispose()


def test_a_heartbeat_ends_with_its_block(engine: Engine) -> None:
    lease = taken(engine)
    with Heartbeat(engine, lease, seconds=600):
        names = {thread.name for thread in threading.enumerate()}
        assert f"lease {NAME}" in names
    assert f"lease {NAME}" not in {thread.name for thread in threading.enumerate()}
