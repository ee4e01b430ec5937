"""SIGTERM at any moment from the start on, also to the first process of a container: the process ends within
its stop timeout, and begins no cycle and takes no job afterwards. A child ends with its parent.
"""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from shutil import copyfile
from typing import Final

import httpx
import pytest

from db.connection.migrate import upgrade
from db.connection.session import connect
from db.tables import cycles, jobs
from tests.support.processes.namespaces import children, handles, is_alive, running_first
from tests.support.processes.product import Process, fork, run, running, spawn
from tests.support.processes.waiting import comes_true, wait_until
from tests.support.records.cycles import stored
from tests.support.world.installation import Site, hours, logged, make_site, now
from tests.support.world.tiny_world import World
from tests.support.world.waiting_monitor import written

#: In which each command ends, by docs/outages.md.
STOP_SECONDS: Final = {"monitor": 10, "worker": 25, "cycle": 25}
#: A process that was asked to stop has noticed it by then, on a busy machine too.
_NOTICED: Final = timedelta(seconds=0.5)
_COMMANDS: Final = {"monitor": (), "worker": (), "cycle": ("--backfill", "60h", "30h")}

_Running = Callable[..., AbstractContextManager[Process]]
_usual: Final[_Running] = partial(running, spawn)
_slow: Final = pytest.mark.slow


@pytest.fixture
def waiting(tmp_path: Path) -> Site:
    """Whose database cannot be reached."""
    site = Site(folder=tmp_path, timeline=hours(healthy=0, drifted=1))
    site.logs.mkdir()
    written(site.config)
    return site


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def site(
    request: pytest.FixtureRequest, world: World, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """In which the job of a long training waits, and windows to catch up, each of many batches."""
    folder = tmp_path_factory.mktemp("site")

    def at(url: str) -> Site:
        redistill = {"epochs": 5_000, "checkpoint_every": "0s"}
        scoring = {"tokens_per_batch": 20}
        timeline = hours(healthy=60, drifted=1)
        made = make_site(folder, world, timeline, url=url, redistill=redistill, scoring=scoring)
        for start in (timeline.start, timeline.end - timeline.every):
            run(fork, made, "cycle", "--at", start.isoformat())
        return made

    if request.param == "sqlite":
        copyfile(request.getfixturevalue("sqlite_template"), folder / "redistill.db")
        yield at(f"sqlite:///{folder / 'redistill.db'}")
        return
    with request.getfixturevalue("postgres").database() as url:
        upgrade(url)
        yield at(url)


def statuses(site: Site) -> set[str]:
    engine = connect(site.settings.database.url)
    try:
        return {str(row["status"]) for table in (cycles, jobs) for row in stored(engine, table)}
    finally:
        engine.dispose()


def stop(site: Site, process: Process, command: str) -> None:
    """Ask a process to stop: it ends in time, begins nothing more and leaves nothing under way."""
    asked_at, begin = now(), time.monotonic()
    process.signal(signal.SIGTERM)
    code = process.wait(60)
    assert time.monotonic() - begin < STOP_SECONDS[command]
    assert code in {0, 128 + signal.SIGTERM, -signal.SIGTERM, 128 + signal.SIGINT}
    begun = [line for line in logged(process.log) if line["event"] in {"cycle started", "job started"}]
    assert all(datetime.fromisoformat(line["timestamp"]) < asked_at + _NOTICED for line in begun)
    assert statuses(site) == {"evaluated", "queued"}


@pytest.mark.parametrize("command", ["monitor", "worker"])
def test_the_first_process_of_a_container_hears_a_signal_before_it_has_loaded_anything(
    command: str, waiting: Site
) -> None:
    with running_first(waiting, command) as process:
        wait_until(lambda: handles(process.pid, signal.SIGTERM), "listening", every=0.001)
        assert "sqlalchemy" not in Path(f"/proc/{process.pid}/maps").read_text()
        process.signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS[command]) in {0, 128 + signal.SIGTERM}


@_slow
@pytest.mark.parametrize("how", [running_first, _usual], ids=["first", "usual"])
@pytest.mark.parametrize("after", [0.2, 1.0, 3.0, 6.0, 12.0])
@pytest.mark.parametrize("command", _COMMANDS)
def test_asked_to_stop_so_many_seconds_after_its_start(
    command: str, after: float, how: _Running, site: Site
) -> None:
    begin = time.monotonic()
    with how(site, command, *_COMMANDS[command]) as process:
        time.sleep(max(0.0, begin + after - time.monotonic()))
        if how is running_first:  # the interpreter itself takes a moment to start, longer if others are busy
            wait_until(lambda: handles(process.pid, signal.SIGTERM), "listening", timeout=5, every=0.001)
        stop(site, process, command)


@_slow
@pytest.mark.parametrize("how", [running_first, _usual], ids=["first", "usual"])
def test_asked_to_stop_in_a_training(how: _Running, site: Site) -> None:
    n_before = len(site.events("checkpoint written"))
    with how(site, "worker") as worker:
        wait_until(lambda: len(site.events("checkpoint written")) > n_before + 2, "training", every=0.01)
        stop(site, worker, "worker")
        assert worker.exit_code == 0


@_slow
@pytest.mark.parametrize("at_work", [False, True], ids=["starting", "training"])
def test_a_worker_stops_when_the_monitor_that_started_it_is_killed(at_work: bool, site: Site) -> None:  # noqa: FBT001 - a case
    n_before = len(site.events("checkpoint written"))
    with running(spawn, site, "monitor", "--with-worker") as monitor:
        wait_until(lambda: children(monitor.pid), "a worker")
        (worker,) = children(monitor.pid)
        if at_work:
            wait_until(lambda: len(site.events("checkpoint written")) > n_before + 2, "training", every=0.01)
        monitor.kill()
        assert comes_true(lambda: not is_alive(worker), seconds=STOP_SECONDS["worker"])
    assert "queued" in statuses(site)


def test_a_monitor_is_alive_before_it_has_loaded_torch_and_says_that_it_is_not_ready(waiting: Site) -> None:
    """What it takes until then is little: five seconds are enough for a slow machine."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    written(waiting.config, port=port)
    with running(spawn, waiting, "monitor") as monitor:
        wait_until(lambda: is_served(port), "alive", timeout=30, every=0.01)
        assert "libtorch" not in Path(f"/proc/{monitor.pid}/maps").read_text()
        assert cpu_seconds(monitor.pid) < 5
        checks = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).json()["checks"]
        assert checks["scheduler"] == {"ok": False, "code": "starting", "detail": "starting"}


def is_served(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=5).text == "ok\n"
    except httpx.TransportError:
        return False


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100
