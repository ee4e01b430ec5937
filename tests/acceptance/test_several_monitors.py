"""Several configurations in one daemon and in one worker: each works, whatever befalls the others."""

import os
import signal
import socket
import time
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine

import redistill.several.monitors
from db.connection.session import connect
from db.tables import cycles, jobs
from tests.support.processes.namespaces import children, is_alive
from tests.support.processes.product import Process, fork, run, running, spawn
from tests.support.processes.waiting import comes_true, wait_until
from tests.support.records.cycles import stored
from tests.support.servers.metrics import parsed
from tests.support.world.installation import Site, hours, logged, make_site
from tests.support.world.tiny_world import World
from tests.support.world.waiting_monitor import written

STOP_SECONDS: Final = 25
N_SLOTS: Final = 3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def ready(port: int) -> dict[str, Any]:
    """The checks of /readyz; none while nobody listens."""
    try:
        checks: dict[str, Any] = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30).json()["checks"]
    except httpx.TransportError:
        return {}
    return checks


def detail(port: int, check: str) -> str:
    return str(ready(port).get(check, {}).get("detail", ""))


def stop(process: Process) -> None:
    """It ends in order, and so do its children."""
    started = children(process.pid)
    begin = time.monotonic()
    process.signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert time.monotonic() - begin < STOP_SECONDS
    assert not any(map(is_alive, started))


def configs(*files: Path) -> list[str]:
    return [word for file in files for word in ("--config", str(file))]


def test_each_has_its_own_checks_and_a_broken_one_stops_no_other(tmp_path: Path) -> None:
    port = free_port()
    site = Site(folder=tmp_path, timeline=hours(healthy=0, drifted=1))
    site.logs.mkdir()
    good = written(tmp_path / "good.toml", name="good", port=port)
    same, missing = written(tmp_path / "same.toml", name="good"), tmp_path / "missing.toml"
    absent = written(tmp_path / "absent.toml", name="absent", url="sqlite:///absent.db")
    with running(spawn, site, "monitor", *configs(good, same, missing, absent)) as monitor:
        first, second = f"good ({good})", f"good ({same})"
        wait_until(lambda: "cannot be reached" in detail(port, f"{first}: database"), "its process answers")
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").text == "ok\n"
        checks = {name: check["detail"] for name, check in ready(port).items() if not check["ok"]}
        assert checks[f"{first}: scheduler"] == "starting"
        assert f"{same} names the monitor 'good' of the database" in checks[f"{second}: monitor"]
        assert f"{missing} does not exist" in checks[f"{missing}: monitor"]
        assert "absent.db does not exist: run `redistill db upgrade`" in checks["absent: monitor"]
        failed = {line["config"] for line in logged(monitor.log) if line["event"] == "monitor failed"}
        assert failed == {str(same), str(missing), str(absent)}
        assert len(children(monitor.pid)) == 1
        metrics = parsed(httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text)
        up = {dict(labels)["monitor"]: n for (name, labels), n in metrics.items() if name.endswith("_up")}
        assert up == dict.fromkeys([first, second, str(missing), "absent"], 0)
        stop(monitor)


@pytest.fixture
def sites(world: World, database_url: str, tmp_path: Path) -> tuple[Site, Site]:
    """Two monitors on one database, each with windows to catch up and a job of a short training."""
    return (
        installed(tmp_path / "one", world, database_url, "one"),
        installed(tmp_path / "other", world, database_url, "other"),
    )


def installed(folder: Path, world: World, url: str, name: str) -> Site:
    timeline = hours(healthy=N_SLOTS - 1, drifted=1)
    redistill = {"epochs": 2}
    site = make_site(folder, world, timeline, url=url, monitor={"name": name}, redistill=redistill)
    for start in (timeline.start, timeline.end - timeline.every):
        run(fork, site, "cycle", "--at", start.isoformat())
    return site


def evaluated(engine: Engine) -> dict[str, int]:
    """The number of evaluated cycles of each monitor."""
    found = [row["monitor"] for row in stored(engine, cycles) if row["status"] == "evaluated"]
    return {name: found.count(name) for name in found}


def process_of(monitor: Process, site: Site) -> int:
    """The process that a daemon has started for one configuration."""
    (found,) = (
        pid
        for pid in children(monitor.pid)
        if str(site.config) in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    )
    return found


@pytest.mark.slow
def test_what_befalls_one_monitor_stops_no_other(sites: tuple[Site, Site], tmp_path: Path) -> None:
    """One is killed, one hangs, one is missing at first: the others run their cycles, and each comes back."""
    one, other = sites
    port, late = free_port(), tmp_path / "late.toml"
    one.config.write_text(one.config.read_text().replace("port = 0", f"port = {port}"))
    engine = connect(one.settings.database.url)
    with running(
        fork, one, "monitor", *configs(one.config, other.config, late), prepare=in_a_hurry
    ) as monitor:
        wait_until(lambda: evaluated(engine) == {"one": N_SLOTS, "other": N_SLOTS}, "all slots run")
        wait_until(lambda: all_ok(port, "one") and all_ok(port, "other"), "ready")
        killed = process_of(monitor, one)
        os.kill(killed, signal.SIGKILL)
        wait_until(
            lambda: any("code -9" in line["error"] for line in one.events("monitor failed")), "noticed"
        )
        assert all_ok(port, "other")
        wait_until(lambda: all_ok(port, "one"), "back")
        hangs = process_of(monitor, other)
        os.kill(hangs, signal.SIGSTOP)
        wait_until(lambda: not is_alive(hangs), "killed, as it hangs")
        assert all_ok(port, "one")
        wait_until(lambda: all_ok(port, "other"), "back")
        written(late, name="late")
        wait_until(lambda: "cannot be reached" in detail(port, "late: database"), "the late one answers")
        assert not httpx.get(f"http://127.0.0.1:{port}/readyz").is_success
        stop(monitor)
    assert {line.get("monitor") for line in one.events("cycle started")} == {"one", "other"}
    engine.dispose()


def all_ok(port: int, monitor: str) -> bool:
    found = [check["ok"] for name, check in ready(port).items() if name.startswith(f"{monitor}: ")]
    return bool(found) and all(found)


def in_a_hurry() -> None:
    """In the daemon's process: a monitor that hangs is replaced after seconds."""
    redistill.several.monitors._ASK_SECONDS = 1.0  # type: ignore[misc]
    redistill.several.monitors._HANG_SECONDS = 10.0  # type: ignore[misc]


@pytest.mark.slow
def test_their_processes_and_their_worker_stop_when_the_daemon_is_killed(sites: tuple[Site, Site]) -> None:
    one, other = sites
    files = configs(one.config, other.config)
    with running(spawn, one, "monitor", "--with-worker", *files) as monitor:
        wait_until(lambda: len(children(monitor.pid)) == 3, "started")
        wait_until(lambda: len(one.events("monitor started")) == 2, "at work")
        started = children(monitor.pid)
        monitor.kill()
        assert comes_true(lambda: not any(map(is_alive, started)), seconds=STOP_SECONDS)


@pytest.mark.slow
def test_a_worker_runs_the_jobs_of_all_one_at_a_time(sites: tuple[Site, Site], tmp_path: Path) -> None:
    one, other = sites
    missing = tmp_path / "missing.toml"
    away = written(tmp_path / "away.toml", name="away")
    engine = connect(one.settings.database.url)
    with running(fork, one, "worker", *configs(missing, away, one.config, other.config)) as worker:
        wait_until(
            lambda: {row["status"] for row in stored(engine, jobs)} <= {"succeeded", "rejected"}, "ended"
        )
        assert len(stored(engine, jobs)) == 2
        failed = {line["config"] for line in logged(worker.log) if line["event"] == "monitor failed"}
        assert failed == {str(missing)}
        assert any(
            line["event"] == "database away" and line["monitor"] == "away" for line in logged(worker.log)
        )
        stop(worker)
    events = [line["event"] for line in logged(worker.log)]
    assert [event for event in events if event in {"job started", "job ended"}].count("job ended") == 2
    engine.dispose()


def test_one_job_at_once_is_asked_of_one_configuration(tmp_path: Path) -> None:
    site = Site(folder=tmp_path, timeline=hours(healthy=0, drifted=1))
    site.logs.mkdir()
    process = spawn(site, "worker", "--once", *configs(tmp_path / "a.toml", tmp_path / "b.toml"))
    assert process.wait() == 2
    assert "--once takes one configuration" in process.log.read_text()
