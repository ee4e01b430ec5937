"""Two daemons on one database: no slot is run twice, none is missed, and when one dies the other goes on."""

import signal
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from db.connection.session import connect, reading
from db.states import CycleStatus
from db.tables import cycles, leases
from tests.support.processes.product import Process, fork, run, running
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import n_evaluated, stored
from tests.support.world.installation import MONITOR, Site, hours, make_site, seconds
from tests.support.world.tiny_world import World

N_SLOTS = 30
#: For the test in which nobody dies; the others need time to kill.
FEW_SLOTS = 12


def stop(*daemons: Process) -> None:
    for daemon in daemons:
        daemon.signal(signal.SIGTERM)
    assert [daemon.wait(10) for daemon in daemons] == [0 for _ in daemons]


def holder(engine: Engine, *daemons: Process) -> Process | None:
    """Which of them holds the monitor's lease: its owner names a process."""
    with reading(engine) as connection:
        owner = connection.scalar(select(leases.c.owner).where(leases.c.name == f"monitor:{MONITOR}"))
    return next((daemon for daemon in daemons if f":{daemon.pid}:" in (owner or "")), None)


def assert_each_slot_once(site: Site, engine: Engine, *, at_least: int) -> None:
    """Those from the first on have all ended, and each was started once by one of the processes."""
    found = sorted(stored(engine, cycles), key=lambda row: row["window_end"])
    assert len(found) >= at_least
    assert [row["window_end"] for row in found] == [slot.window_end for slot in site.slots[: len(found)]]
    assert {(row["status"], row["attempt"]) for row in found} == {(CycleStatus.EVALUATED, 1)}
    started = Counter(event["cycle_id"] for event in site.events("cycle started"))
    assert started == {row["id"]: 1 for row in found}


def test_slots_to_catch_up_are_run_once(database_url: str, world: World, tmp_path: Path) -> None:
    engine = connect(database_url)
    site = make_site(tmp_path, world, hours(healthy=FEW_SLOTS + 1, drifted=0), url=database_url)
    run(fork, site, "cycle", "--at", site.timeline.start.isoformat())
    lease = {"lease_seconds": 30.0}  # nobody dies here, and on a busy machine nobody should seem to
    with running(fork, site, "monitor", **lease) as one, running(fork, site, "monitor", **lease) as other:
        wait_until(lambda: n_evaluated(engine) == FEW_SLOTS + 1, "all slots run")
        stop(one, other)
    assert_each_slot_once(site, engine, at_least=FEW_SLOTS + 1)
    engine.dispose()


@pytest.mark.slow
def test_slots_of_a_second_are_run_once(database_url: str, world: World, tmp_path: Path) -> None:
    """Both look for work four times a second, so that they meet at nearly every slot."""
    engine = connect(database_url)
    site = make_site(tmp_path, world, seconds(1, past=2, healthy=600, drifted=0), url=database_url)
    run(fork, site, "cycle", "--at", site.timeline.start.isoformat())
    with running(fork, site, "monitor") as one, running(fork, site, "monitor") as other:
        wait_until(lambda: n_evaluated(engine) > N_SLOTS, "so many slots run")
        stop(one, other)
    assert_each_slot_once(site, engine, at_least=N_SLOTS)
    up = [path.name for path in site.logs.glob("*-monitor.err") if "monitor started" in path.read_text()]
    assert len(up) == 2
    engine.dispose()


@pytest.mark.slow
def test_when_one_is_killed_the_other_takes_over(database_url: str, world: World, tmp_path: Path) -> None:
    """It runs the slot that was cut off once more, and all later ones once."""
    engine = connect(database_url)
    site = make_site(
        tmp_path,
        world,
        hours(healthy=N_SLOTS + 1, drifted=0),
        url=database_url,
        scoring={"tokens_per_batch": 20},
    )
    run(fork, site, "cycle", "--at", site.timeline.start.isoformat())
    lease = {"lease_seconds": 5.0}  # soon enough for who takes over, and long enough for who lives
    with running(fork, site, "monitor", **lease) as one, running(fork, site, "monitor", **lease) as other:
        wait_until(lambda: n_evaluated(engine) > N_SLOTS // 3, "a third of the slots run", every=0.01)
        killed = holder(engine, one, other)
        assert killed is not None
        killed.kill()
        survivor = other if killed is one else one
        wait_until(lambda: n_evaluated(engine) == N_SLOTS + 1, "all slots run")
        stop(survivor)
    found = stored(engine, cycles)
    started = Counter(event["cycle_id"] for event in site.events("cycle started"))
    assert started == {row["id"]: row["attempt"] for row in found}
    assert Counter(row["attempt"] for row in found) in ({1: N_SLOTS, 2: 1}, {1: N_SLOTS + 1})
    assert "cycle ended" in survivor.log.read_text()
    engine.dispose()
