"""A monitor gets another name between a drift and its repair; its next daemon goes on from there."""

import signal
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine

from db.connection.session import connect, reading
from db.tables import cycles, jobs
from db.views import rows
from tests.support.processes.product import Process, fork, run, running
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import stored
from tests.support.servers.receiver import receiving
from tests.support.world.installation import MONITOR, make_site, seconds, webhook
from tests.support.world.tiny_world import World

NEW = "shop"


def stop(process: Process) -> None:
    process.signal(signal.SIGTERM)
    assert process.wait(20) == 0


def verdicts(engine: Engine) -> list[object]:
    with reading(engine) as connection:
        found = rows(connection, "cycle_history", monitor=NEW, order_by="window_end")
    return [row["verdict"] for row in found]


@pytest.mark.slow
def test_a_renamed_monitor_goes_on(database_url: str, world: World, tmp_path: Path) -> None:
    """Its job is done, its incident resolved under the key it was opened with, and no window run twice."""
    engine = connect(database_url)
    with receiving() as receiver:
        site = make_site(
            tmp_path,
            world,
            seconds(3, past=4, healthy=1, drifted=100),
            url=database_url,
            alerts=[webhook(receiver.url), {"kind": "log"}],
        )
        run(fork, site, "cycle", "--at", site.timeline.start.isoformat())
        with running(fork, site, "monitor") as daemon:
            wait_until(lambda: len(receiver.received) == 1, "the incident")
            refused = fork(site, "monitors", "rename", MONITOR, NEW)
            assert refused.wait() == 1
            assert f"The monitor '{MONITOR}' is in use by" in refused.log.read_text()
            stop(daemon)
        said = run(fork, site, "monitors", "rename", MONITOR, NEW)
        assert f"The monitor {MONITOR} is now called {NEW}." in said
        site.config.write_text(site.config.read_text().replace(f'"{MONITOR}"', f'"{NEW}"'))
        with running(fork, site, "monitor") as daemon, running(fork, site, "worker") as worker:
            wait_until(lambda: len(receiver.received) == 2, "the incident's end")
            wait_until(lambda: verdicts(engine)[-2:] == ["healthy", "healthy"], "healthy again")
            stop(worker)
            stop(daemon)
    assert len({message.document["dedup_key"] for message in receiver.received}) == 1
    assert [message.document["event"] for message in receiver.received] == ["firing", "resolved"]
    (job,) = stored(engine, jobs)
    assert (job["monitor"], job["status"], job["attempt"]) == (NEW, "succeeded", 1)
    found = sorted(stored(engine, cycles), key=lambda row: row["window_end"])
    assert [row["window_end"] for row in found] == [slot.window_end for slot in site.slots[: len(found)]]
    assert {row["monitor"] for row in found} == {NEW}
    started = Counter(event["cycle_id"] for event in site.events("cycle started"))
    assert started == Counter(row["id"] for row in found) + Counter(
        given_back(site.events("cycle given back"))
    )
    engine.dispose()


def given_back(events: list[dict[str, object]]) -> list[object]:
    """A cycle under way when its daemon was asked to stop is started again; its attempt does not count."""
    return [event["cycle_id"] for event in events]
