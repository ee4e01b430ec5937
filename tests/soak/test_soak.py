"""A daemon with its worker that judges a window a second for half an hour: what it holds does not grow."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from statistics import median
from typing import Final

import httpx
import numpy as np
import pytest
from scipy import stats

from db.connection.session import connect
from db.tables import cycles
from tests.support.processes.product import Process, running, spawn
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import n_evaluated, stored
from tests.support.servers.postgres import free_port
from tests.support.servers.receiver import receiving
from tests.support.world.for_processes import built
from tests.support.world.installation import Site, make_site, seconds, webhook
from tests.support.world.tiny_world import World, utterances

MINUTES: Final = float(os.environ.get("REDISTILL_SOAK_MINUTES", "30"))
#: While caches fill, the log of SQLite finds its length and, in a quarter of an hour, the allocator its size.
WARM_UP: Final = 0.5
REQUESTS: Final = 60
LEVEL: Final = 0.95
#: Of memory, in MiB an hour: 1 KiB a window.
LARGEST_SLOPE: Final = 4.0
KEPT_SECONDS: Final = 60
READ_SECONDS: Final = 2.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with built(tmp_path_factory.mktemp("world")) as world:
        yield world


@dataclass(frozen=True, kw_only=True)
class Reading:
    at: float  #: seconds since the start
    mebibytes: float  #: of memory of its own; pages of files come and go with the cache of the system
    files: int
    threads: int
    wal: float  #: MiB


def read(process: int, began: float, database: Path) -> Reading:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    wal = database.with_name(f"{database.name}-wal")
    return Reading(
        at=time.monotonic() - began,
        mebibytes=int(status["RssAnon"].split()[0]) / 1024,
        files=sum(1 for _ in Path(f"/proc/{process}/fd").iterdir()),
        threads=int(status["Threads"]),
        wal=wal.stat().st_size / 2**20 if wal.exists() else 0.0,
    )


@contextmanager
def traffic(site: Site) -> Iterator[None]:
    """Write the log of each second when it is over, as a service does, and delete what is a minute old.

    Each has the same texts in another order: with other texts, each batch that is larger than any before
    would take a little more memory for good, which is no leak and hides one.
    """
    rng, done = np.random.default_rng(7), threading.Event()
    pool = utterances(REQUESTS, new=0.0, rng=rng)

    def write() -> None:
        second = int(time.time())
        while not done.wait(max(0.0, second + 1 - time.time())):
            rows = [
                {"id": f"{second}-{number}", "time": second + number / REQUESTS, "text": pool[index].text}
                for number, index in enumerate(rng.permutation(REQUESTS))
            ]
            draft = site.traffic / f".{second}"
            draft.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            draft.rename(site.traffic / f"{second}.jsonl")
            (site.traffic / f"{second - KEPT_SECONDS}.jsonl").unlink(missing_ok=True)
            second += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def slope(readings: list[Reading]) -> tuple[float, float, float]:
    """MiB an hour by least squares on the means of twelve blocks, and its interval: see `LEVEL`.

    Neighbouring readings resemble each other; the means of blocks hardly do.
    """
    blocks = np.array_split([[each.at / 3600, each.mebibytes] for each in readings], 12)
    hours, mebibytes = np.array([block.mean(axis=0) for block in blocks]).T
    if np.ptp(mebibytes) == 0:
        return 0.0, 0.0, 0.0
    fit = stats.linregress(hours, mebibytes)
    half = stats.t.ppf((1 + LEVEL) / 2, len(blocks) - 2) * fit.stderr
    return fit.slope, fit.slope - half, fit.slope + half


def assert_flat(name: str, readings: list[Reading]) -> None:
    """Of the readings after the warm-up, memory has no slope, and files, threads and the WAL no trend."""
    steady = readings[int(WARM_UP * len(readings)) :]
    rise, low, high = slope(steady)
    first, last = steady[: len(steady) // 4], steady[-len(steady) // 4 :]
    print(  # noqa: T201 - the figures are what a soak is for
        f"{name}: {steady[-1].mebibytes:.0f} MiB, {rise:+.2f} [{low:+.2f}, {high:+.2f}] MiB an hour; "
        f"files {_range(each.files for each in steady)}, threads {_range(each.threads for each in steady)}, "
        f"WAL up to {max(each.wal for each in steady):.1f} MiB"
    )
    assert low <= 0 or high < LARGEST_SLOPE
    for count in ("files", "threads"):  # the median: a probe or a message has one more for a moment
        before, after = (median(getattr(each, count) for each in part) for part in (first, last))
        assert after <= before + 1
    assert max(each.wal for each in last) <= max(each.wal for each in first) + 1


def _range(values: Iterable[int]) -> str:
    found = sorted(values)
    return f"{found[0]}-{found[-1]}"


def test_half_an_hour_of_windows_of_a_second_leaves_nothing_behind(
    database_url: str, world: World, tmp_path: Path
) -> None:
    port = free_port()
    with receiving() as receiver:
        site = make_site(
            tmp_path / "site",
            world,
            seconds(1, past=0, healthy=0, drifted=0),
            url=database_url,
            monitor={"lateness": "1s", "catch_up": "1m", "sample_size": 50, "min_samples": 40},
            metrics={"resamples": 100},
            alerts=[webhook(receiver.url)],
            web={"port": port},
        )
        engine = connect(database_url)
        with traffic(site), running(spawn, site, "monitor", "--with-worker") as daemon:
            wait_until(lambda: n_evaluated(engine) >= 3, "three windows judged")
            readings = watch(daemon, site, port)
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
        judged, windows = n_evaluated(engine), len(stored(engine, cycles))
        engine.dispose()
    print(f"{engine.dialect.name}: {judged} of {windows} windows judged in {MINUTES:g} minutes")  # noqa: T201
    assert judged > 0.9 * 60 * MINUTES
    for name, found in readings.items():
        assert_flat(name, found)


def watch(daemon: Process, site: Site, port: int) -> dict[str, list[Reading]]:
    """Read the daemon and its worker every two seconds, and ask for the probes as a cluster does."""
    (worker,) = children(daemon.pid)
    database = site.folder.parent / "redistill.db"
    began = time.monotonic()
    found: dict[str, list[Reading]] = {"daemon": [], "worker": []}
    while time.monotonic() < began + 60 * MINUTES:
        assert daemon.exit_code is None, daemon.log.read_text()
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == HTTPStatus.OK
        httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False)
        found["daemon"].append(read(daemon.pid, began, database))
        found["worker"].append(read(worker, began, database))
        time.sleep(READ_SECONDS)
    return found
