"""SIGTERM at any moment of a start ends a container within its stop timeout, and no job is taken after it."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from db.connection.session import connect
from db.states import JobStatus
from db.tables import jobs
from tests.support.deployment.containers import contained, own
from tests.support.deployment.stack import template
from tests.support.processes.product import Process, run, running, spawn
from tests.support.records.cycles import stored
from tests.support.world.installation import Site, hours, make_site
from tests.support.world.tiny_world import World

#: The exit code of a process that a signal ended before it could do anything about it, as shells give it.
ENDED_BY_SIGTERM = 128 + signal.SIGTERM


def stop_timeout(task: str) -> int:
    (container,) = template()["Resources"][task]["Properties"]["ContainerDefinitions"]
    return int(container["StopTimeout"])


def ordered(folder: Path, world: World, url: str) -> tuple[Site, Callable[..., Process]]:
    """An installation in which a job waits, and what starts its commands in containers."""
    site = make_site(folder, world, hours(healthy=0, drifted=1), url=url)
    run(spawn, site, "cycle", "--at", site.timeline.start.isoformat())
    own(site.folder)
    return site, contained(world.teacher.parent)


@pytest.mark.parametrize("seconds", [1, 3, 6, 12])
@pytest.mark.parametrize(("command", "task"), [("monitor", "DaemonTask"), ("worker", "WorkerTask")])
def test_a_container_ends_in_time_and_leaves_the_job(
    place: Path, world: World, sqlite_template: Path, command: str, task: str, seconds: int
) -> None:
    folder = place / "site"
    folder.mkdir()
    (folder / "redistill.db").write_bytes(sqlite_template.read_bytes())
    site, start = ordered(folder, world, f"sqlite:///{folder / 'redistill.db'}")
    with running(start, site, command) as process:
        time.sleep(seconds)
        process.signal(signal.SIGTERM)
        began = time.monotonic()
        code = process.wait(stop_timeout(task))
        print(f"{command}, SIGTERM after {seconds} s: exit {code} after {time.monotonic() - began:.1f} s")
    assert code in {0, ENDED_BY_SIGTERM}
    engine = connect(f"sqlite:///{folder / 'redistill.db'}")
    (job,) = stored(engine, jobs)
    engine.dispose()
    assert (job["status"], job["attempt"]) == (JobStatus.QUEUED, 0)
