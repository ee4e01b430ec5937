"""Invariant 1: one cycle per slot."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import IntegrityError

from db import leases
from db.connection.session import connect, writing
from db.cycles import ledger
from db.records import Claim, CycleResult, Slot
from db.states import CycleStatus
from db.tables import cycles
from monitor.daemon.slot_runner import SlotRunner
from monitor.settings import MonitorSection
from monitor.stop import Stopped, never_stopped
from tests.support.processes.races import in_threads
from tests.support.records.cycles import make_policy, stored, taken
from tests.support.records.factories import make_result
from tests.support.world.installation import MONITOR

HOUR = timedelta(hours=1)


def test_one_cycle_per_slot(database_url: str) -> None:
    """Due, missed and orphaned slots are each run once, by any number of daemons; and the database itself
    refuses a second row.
    """
    newest = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # noqa: TID251 - what is due, is due now
    slots = [slot_ending(newest - back * HOUR) for back in range(8, -1, -1)]
    engine = connect(database_url)
    claims: list[Claim] = []
    first = make_runner(engine, claims)
    first.run([slots[0], slots[3]], never_stopped)
    die_with(engine, slots[1])

    def run_due(_number: int) -> None:
        own = connect(database_url)
        make_runner(own, claims).run_due(never_stopped)
        own.dispose()

    in_threads(4, run_due)
    found = sorted(stored(engine, cycles), key=lambda row: row["window_end"])[: len(slots)]
    assert [row["window_end"] for row in found] == [slot.window_end for slot in slots]
    assert {row["status"] for row in found} == {CycleStatus.EVALUATED}
    assert [row["attempt"] for row in found] == [1, 2] + [1] * 7
    caught_up = [claim.slot for claim in claims if claim.slot in slots][2:]
    assert caught_up == [slots[1], slots[2], *slots[4:]]  # the oldest first, and each once
    twin = {"monitor": MONITOR, "window_start": slots[0].window_start, "window_end": slots[0].window_end}
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(cycles).values(**twin, status="running", attempt=1))
    engine.dispose()


def slot_ending(end: datetime) -> Slot:
    return Slot(monitor=MONITOR, window_start=end - HOUR, window_end=end)


def make_runner(engine: Engine, claims: list[Claim]) -> SlotRunner:
    def note(claim: Claim, _stopped: Stopped) -> CycleResult:
        claims.append(claim)
        time.sleep(0.02)  # long enough for the others to come by
        return make_result()

    section = MonitorSection(name=MONITOR, lateness=timedelta(0))
    return SlotRunner(engine, section, note, make_policy())


def die_with(engine: Engine, slot: Slot) -> None:
    lease = taken(engine, seconds=0)
    with writing(engine) as connection:
        leases.guard(connection, lease)
        ledger.claim(connection, slot, slot.window_end)
