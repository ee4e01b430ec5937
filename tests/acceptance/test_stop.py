"""`redistill monitor` is asked to stop in the middle of a cycle: it ends within 10 s, whatever hangs, and the
next one runs the slot.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Engine, text

import monitor.scoring.batches
from db.connection.migrate import upgrade
from db.connection.session import connect, writing
from db.states import CycleStatus
from db.tables import cycles
from redistill.process.child import PATIENCE_SECONDS
from tests.support.processes.product import Process, fork, run, running
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import n_evaluated, stored
from tests.support.servers.buckets import TestBucket, empty_bucket
from tests.support.servers.postgres import Postgres, Stoppable, stoppable
from tests.support.servers.s3_faults import faulty, stalled_after
from tests.support.world.installation import Site, hours, make_site
from tests.support.world.tiny_world import World

N_SLOTS = 3
STOP_SECONDS = 10


@pytest.fixture(scope="module")
def server() -> Iterator[Stoppable]:
    with stoppable() as found:
        yield found


@pytest.fixture
def url(server: Stoppable) -> Iterator[str]:
    """Of a migrated database on it."""
    with Postgres(url=server.url).database() as found:
        upgrade(found)
        yield found


def stop(monitor: Process, *, within: float = STOP_SECONDS) -> None:
    asked_at = time.monotonic()
    monitor.signal(signal.SIGTERM)
    assert monitor.wait(60) == 0
    assert time.monotonic() - asked_at < within


def n_started(site: Site) -> int:
    return len(site.events("cycle started"))


def installed(folder: Path, world: World, url: str, **sections: Any) -> Site:  # noqa: ANN401 - as make_site
    """With one slot in its ledger, and the others to be caught up."""
    site = make_site(folder, world, hours(healthy=N_SLOTS, drifted=0), url=url, **sections)
    run(fork, site, "cycle", "--at", site.timeline.start.isoformat())
    return site


def assert_the_next_one_runs_the_rest(site: Site, engine: Engine, **options: Any) -> None:  # noqa: ANN401
    with running(fork, site, "monitor", **options) as next_one:
        wait_until(lambda: n_evaluated(engine) == N_SLOTS, "all slots run")
        stop(next_one)
    rows = sorted(stored(engine, cycles), key=lambda row: row["window_end"])
    assert [row["window_end"] for row in rows] == [slot.window_end for slot in site.slots]
    assert {row["status"] for row in rows} == {CycleStatus.EVALUATED}
    assert all(row["attempt"] <= 2 for row in rows)


# --- what hangs ------------------------------------------------------------------------------------------


@contextmanager
def frozen(site: Site, server: Stoppable) -> Iterator[None]:
    wait_until(lambda: n_started(site) > 1, "in a cycle", every=0.01)
    with server.frozen():
        time.sleep(2)  # the measurement is done, and is to be written
        yield


@contextmanager
def locked(site: Site, engine: Engine) -> Iterator[None]:
    wait_until(lambda: n_started(site) > 1, "in a cycle", every=0.01)
    with writing(engine) as connection:  # on SQLite that alone locks all of it
        if engine.dialect.name == "postgresql":
            connection.execute(text("LOCK TABLE cycles"))
        time.sleep(2)
        yield


@pytest.mark.slow
def test_with_a_database_server_that_froze(world: World, server: Stoppable, url: str, tmp_path: Path) -> None:
    site, engine = installed(tmp_path, world, url), connect(url)
    with running(fork, site, "monitor") as monitor, frozen(site, server):
        stop(monitor)
    assert site.events("left hanging")
    assert_the_next_one_runs_the_rest(site, engine)
    engine.dispose()


@pytest.mark.slow
def test_with_a_database_that_another_process_locks(world: World, database_url: str, tmp_path: Path) -> None:
    site, engine = installed(tmp_path, world, database_url), connect(database_url)
    with running(fork, site, "monitor") as monitor, locked(site, engine):
        stop(monitor)
    assert_the_next_one_runs_the_rest(site, engine)
    engine.dispose()


def set_environment(variables: dict[str, str]) -> None:
    os.environ.update(variables)


def in_bucket(site: Site, bucket: TestBucket) -> None:
    for index, slot in enumerate(site.slots):
        key = f"log/{slot.window_start:%Y/%m/%d/%H}/part-0"
        bucket.put(key, (site.traffic / f"{index:04}.jsonl.gz").read_bytes())


def test_with_an_object_of_s3_that_does_not_come(
    world: World, s3_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    engine = connect(sqlite_url)
    with empty_bucket(s3_url) as bucket, faulty(s3_url) as proxy:
        traffic = {"kind": "s3", "uri": f"s3://{bucket.name}/log"}
        timeline = hours(healthy=N_SLOTS, drifted=0)
        site = make_site(tmp_path, world, timeline, url=sqlite_url, traffic=traffic)
        in_bucket(site, bucket)
        aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        options: dict[str, Any] = {
            "prepare": partial(set_environment, {**aws, "AWS_ENDPOINT_URL": proxy.url})
        }
        assert fork(site, "cycle", "--at", timeline.start.isoformat(), **options).wait() == 0
        before = len(proxy.asked)
        proxy.faults.extend([stalled_after(10)] * 100)
        with running(fork, site, "monitor", **options) as monitor:
            wait_until(lambda: any("/log/" in path for path in proxy.asked[before:]), "asked for an object")
            time.sleep(0.5)
            stop(monitor)
        assert site.events("left hanging")
        proxy.faults.clear()
        assert_the_next_one_runs_the_rest(site, engine, **options)
    engine.dispose()


def answer_never() -> None:
    """In a process of its own: a batch of which no end can be seen."""

    def answer(*_: object) -> None:
        structlog.get_logger().info("answering")
        time.sleep(120)

    monitor.scoring.batches.answer = answer  # type: ignore[assignment]


@pytest.mark.slow
def test_with_a_batch_that_takes_minutes(world: World, sqlite_url: str, tmp_path: Path) -> None:
    site, engine = installed(tmp_path, world, sqlite_url), connect(sqlite_url)
    with running(fork, site, "monitor", prepare=answer_never) as monitor:
        wait_until(lambda: site.events("answering"), "at work")
        stop(monitor)
    assert site.events("left hanging")
    assert_the_next_one_runs_the_rest(site, engine)
    engine.dispose()


@pytest.mark.slow
def test_that_still_waits_for_its_database(world: World, server: Stoppable, url: str, tmp_path: Path) -> None:
    site = make_site(tmp_path, world, hours(healthy=1, drifted=0), url=url)
    with server.frozen(), running(fork, site, "monitor") as monitor:
        time.sleep(4)
        stop(monitor)


@pytest.mark.slow
def test_with_a_worker_that_hangs_too(world: World, server: Stoppable, url: str, tmp_path: Path) -> None:
    """A worker has 20 s, to save its training; then it is killed, and the monitor ends in order."""
    site, engine = installed(tmp_path, world, url), connect(url)
    with running(fork, site, "monitor", "--with-worker") as monitor:
        wait_until(lambda: n_evaluated(engine) == N_SLOTS, "all slots run")
        (worker,) = Path(f"/proc/{monitor.pid}/task/{monitor.pid}/children").read_text().split()
        wait_until(lambda: has_a_socket(worker), "at the database")
        with server.frozen():
            time.sleep(6)  # each has looked for work
            asked_at = time.monotonic()
            stop(monitor, within=PATIENCE_SECONDS + 5)
            assert time.monotonic() - asked_at > STOP_SECONDS
    assert not Path(f"/proc/{worker}").exists()
    engine.dispose()


def has_a_socket(process: str) -> bool:
    """A worker has that of its database alone."""
    with suppress(FileNotFoundError):  # one that was closed meanwhile
        return any(str(fd.readlink()).startswith("socket:") for fd in Path(f"/proc/{process}/fd").iterdir())
    return False
