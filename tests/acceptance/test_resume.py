"""A worker that dies or is stopped in the middle of a job: the next one goes on, to the same candidate."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from db import queue
from db.connection.session import connect, reading
from db.tables import jobs
from distill.registry import job_key
from distill.training.checkpoint import folder
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.processes.killed import killed, lease_is_free
from tests.support.processes.product import fork, run, running
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import stored
from tests.support.world.installation import Site, Timeline, hours, make_site, now
from tests.support.world.reruns import rerun
from tests.support.world.tiny_world import World


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A job that nobody disturbed."""

    timeline: Timeline
    version: str  #: of its candidate
    training: dict[str, Any]  #: what the candidate's manifest says of it


@pytest.fixture(scope="module")
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    home, timeline = tmp_path_factory.mktemp("undisturbed"), hours(healthy=0, drifted=1)
    site = make_site(home / "site", world, timeline, url="sqlite:///unused.db")
    with rerun(site, home / "run", redistill={"checkpoint_every": timedelta(days=1)}) as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run([*site.slots], never_stopped)
        assert assembly.worker(settings, engine, show_nothing).run_once(never_stopped)
        (job,) = stored(engine, jobs)
    version = str(job["candidate_version"])
    training = manifest(Path(settings.redistill.registry), version)["training"]
    return Undisturbed(timeline=timeline, version=version, training=training)


@contextmanager
def ordered(
    home: Path,
    world: World,
    url: str,
    timeline: Timeline,
    **redistill: Any,  # noqa: ANN401 - as make_site
) -> Iterator[tuple[Site, Engine]]:
    """An installation in which a job waits."""
    site = make_site(home, world, timeline, url=url, redistill=redistill)
    run(fork, site, "cycle", "--at", site.timeline.start.isoformat())
    engine = connect(url)
    try:
        yield site, engine
    finally:
        engine.dispose()


def kept(site: Site) -> list[int]:
    """The steps of the checkpoints that the registry holds."""
    files = site.registry.glob(".checkpoint-*/*.safetensors")
    return sorted(int(path.name.partition("-")[0]) for path in files)


def folders(site: Site) -> set[str]:
    return {path.name for path in site.registry.glob(".checkpoint-*")}


def steps(site: Site, event: str) -> list[int]:
    return [line["step"] for line in site.events(event)]


def n_seen(site: Site, event: str) -> int:
    return len(site.events(event))


def manifest(registry: Path, version: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((registry / "versions" / version / "manifest.json").read_bytes())
    return content


def assert_as_if(undisturbed: Undisturbed, site: Site, engine: Engine) -> None:
    """The candidate and its log are those of the job that nobody disturbed."""
    (job,) = stored(engine, jobs)
    assert (job["status"], job["decision"]) == ("succeeded", "promoted")
    assert job["candidate_version"] == undisturbed.version
    assert manifest(site.registry, undisturbed.version)["training"] == undisturbed.training
    assert folders(site) == set()
    assert {path.name for path in site.registry.iterdir()} == {
        "versions",
        "current",
        "registry.json",
        "calibration.json",
    }


def test_killed_in_training_and_in_proving_the_candidate_is_the_same(
    sqlite_url: str, world: World, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Two workers die in the middle of the training, and one when the candidate is about to be proved."""
    with ordered(tmp_path / "site", world, sqlite_url, undisturbed.timeline, checkpoint_every="0s") as (
        site,
        engine,
    ):
        for deaths in (1, 2):
            with running(fork, site, "worker") as worker:
                before = n_seen(site, "checkpoint written")
                wait_until(lambda: n_seen(site, "checkpoint written") > before, "saved", every=0.01)  # noqa: B023
                killed(engine, worker)
            assert n_seen(site, "training resumed") == deaths - 1
            assert kept(site)
        with running(fork, site, "worker") as worker:
            wait_until(lambda: any(site.registry.glob(".tmp-*/tokenizer.json")), "proving", every=0.002)
            killed(engine, worker)
        run(fork, site, "worker", "--once")
        resumed = site.events("training resumed")
        first, second, third = (line["step"] for line in resumed)
        assert 0 < first <= second < third == resumed[-1]["steps"]
        (job,) = stored(engine, jobs)
        assert job["attempt"] == 4
        assert_as_if(undisturbed, site, engine)


# The slow one of both: what the stop writes is the same, and the SQL has tests of its own.
@pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)
def test_asked_to_stop_it_saves_gives_the_job_back_and_releases_the_lease(
    database_url: str, world: World, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Within 20 s; the next worker goes on at that very step, and it is the same attempt."""
    with ordered(tmp_path / "site", world, database_url, undisturbed.timeline, checkpoint_every="0s") as (
        site,
        engine,
    ):
        with running(fork, site, "worker", lease_seconds=60) as worker:
            wait_until(lambda: n_seen(site, "checkpoint written"), "at work", every=0.01)
            time.sleep(0.3)
            asked_at = time.monotonic()
            worker.signal(signal.SIGTERM)
            assert worker.wait(20) == 0
            assert time.monotonic() - asked_at < 20
        (job,) = stored(engine, jobs)
        assert (job["status"], job["attempt"], n_seen(site, "job given back")) == ("queued", 0, 1)
        assert lease_is_free(engine)
        (step,) = kept(site)
        assert 0 < steps(site, "checkpoint written")[0] < step
        run(fork, site, "worker", "--once")
        assert steps(site, "training resumed") == [step]
        (job,) = stored(engine, jobs)
        assert job["attempt"] == 1
        assert_as_if(undisturbed, site, engine)


def test_a_checkpoint_that_was_torn_costs_time_only(
    sqlite_url: str, world: World, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    with ordered(tmp_path / "site", world, sqlite_url, undisturbed.timeline, checkpoint_every="0s") as (
        site,
        engine,
    ):
        with running(fork, site, "worker") as worker:
            wait_until(lambda: kept(site), "saved", every=0.01)
            killed(engine, worker)
        for path in site.registry.glob(".checkpoint-*/*.safetensors"):
            os.truncate(path, path.stat().st_size // 2)
        run(fork, site, "worker", "--once")
        assert n_seen(site, "checkpoint not used") == 1
        assert n_seen(site, "training resumed") == 0
        assert_as_if(undisturbed, site, engine)


def test_a_registry_that_takes_no_checkpoint_fails_no_job(
    sqlite_url: str, world: World, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    with ordered(tmp_path / "site", world, sqlite_url, undisturbed.timeline, checkpoint_every="0s") as (
        site,
        engine,
    ):
        (job,) = stored(engine, jobs)
        site.registry.mkdir()
        with reading(engine) as connection:
            in_the_way = site.registry / folder(job_key(queue.get(connection, job["id"])))
        in_the_way.write_text("no folder")
        run(fork, site, "worker", "--once")
        assert n_seen(site, "checkpoint not written") > 0
        assert_as_if(undisturbed, site, engine)


def test_a_job_that_is_called_off_or_fails_leaves_no_checkpoint(
    sqlite_url: str, world: World, tmp_path: Path
) -> None:
    with ordered(
        tmp_path / "site", world, sqlite_url, hours(healthy=0, drifted=1), checkpoint_every="0s"
    ) as (site, engine):
        (job,) = stored(engine, jobs)
        with running(fork, site, "worker") as worker:
            wait_until(lambda: kept(site), "saved", every=0.01)
            killed(engine, worker)
        run(fork, site, "jobs", "cancel", str(job["id"]))
        assert folders(site)
        run(fork, site, "worker", "--once")
        assert folders(site) == set()
        run(fork, site, "jobs", "retry", str(job["id"]))
        unusable = tmp_path / "unusable.jsonl"
        unusable.write_text('{"text": "of no label"}\n')
        site.config.write_text(site.config.read_text().replace(str(world.train), str(unusable)))
        with running(fork, site, "worker") as worker:
            wait_until(lambda: n_seen(site, "job failed"), "failed")
            wait_until(lambda: folders(site) == set(), "removed")


def test_what_other_installations_left_goes_after_a_day(
    sqlite_url: str, world: World, tmp_path: Path
) -> None:
    with ordered(tmp_path / "site", world, sqlite_url, hours(healthy=0, drifted=1), epochs=1) as (site, _):
        for job_id, hours_ago in ((98, 23), (99, 25)):
            left = site.registry / f".checkpoint-{job_id}"
            left.mkdir(parents=True)
            then = (now() - timedelta(hours=hours_ago)).timestamp()
            os.utime(left, (then, then))
        run(fork, site, "worker", "--once")
        assert folders(site) == {".checkpoint-98"}
