"""The whole loop in locked containers, on PostgreSQL: the numbers are those of the host."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, make_url

from db.connection.session import connect
from db.tables import jobs
from tests.support.deployment.containers import contained, in_container, own
from tests.support.processes.product import Start, run, running, spawn
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import stored
from tests.support.servers.postgres import Postgres
from tests.support.world.installation import Site, hours, make_site
from tests.support.world.tiny_world import World

HEALTHY, DRIFTED = 4, 3


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """An empty database, whose server's socket the containers may reach."""
    host = make_url(str(postgres.url)).query.get("host")
    if isinstance(host, str) and host.startswith("/"):
        os.chmod(host, 0o755)  # noqa: PTH101, S103 - a folder of the tests
    with postgres.database() as url:
        yield url


def folder_of(url: str) -> Path:
    return Path(str(make_url(url).query["host"]))


def cycles_of(said: str) -> list[dict[str, Any]]:
    names = ("window_end", "verdict", "agreement", "agreement_low", "kl", "kl_t1", "n_scored", "n_rejected")
    return [{name: row[name] for name in names} for row in json.loads(said)]


def test_the_loop_runs_in_locked_containers(
    place: Path, world: World, database: str, sqlite_url: str
) -> None:
    timeline = hours(healthy=HEALTHY, drifted=DRIFTED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    site = make_site(place / "site", world, timeline, url=database, web={"port": port})
    own(site.folder)
    start = contained(world.teacher.parent, folder_of(database))
    run(start, site, "db", "upgrade")
    span = ("--backfill", timeline.start.isoformat(), timeline.end.isoformat(), "--json")
    inside = cycles_of(run(start, site, "cycle", *span))
    host = make_site(place / "host", world, timeline, url=sqlite_url)
    assert inside == cycles_of(run(spawn, host, "cycle", *span))
    assert [row["verdict"] for row in inside] == ["healthy"] * HEALTHY + ["breached"] * DRIFTED
    repair(start, site, database)
    began = time.monotonic()
    with running(start, site, "monitor") as daemon:
        wait_until(lambda: answers(port), "the daemon answers")
        print(f"healthz: {time.monotonic() - began:.1f} s")
        assert time.monotonic() - began <= 15
        environment = ("--network", "host", "--env", f"REDISTILL__WEB__PORT={port}", "--read-only")
        assert "200" in in_container("python3", "-S", "/opt/redistill/probe.py", options=environment)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(30) == 0


def repair(start: Start, site: Site, database: str) -> None:
    """A worker is killed in its work, and once its lease has expired the next one promotes a candidate."""
    engine = connect(database)
    with running(start, site, "worker") as worker:
        wait_until(lambda: "job started" in worker.log.read_text(encoding="utf-8"), "started", timeout=90)
        worker.kill()
    with running(start, site, "worker") as worker:
        wait_until(lambda: job_of(engine)["finished_at"] is not None, "ended", timeout=300)
        worker.signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    job = job_of(engine)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
    assert site.served == job["candidate_version"]
    engine.dispose()


def job_of(engine: Engine) -> dict[str, Any]:
    (job,) = stored(engine, jobs)
    return dict(job)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").text == "ok\n"
    except httpx.HTTPError:
        return False
