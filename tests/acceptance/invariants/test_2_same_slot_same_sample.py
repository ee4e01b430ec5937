"""Invariant 2: the same slot always gets the same sample."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Engine

from db.tables import input_drift
from monitor.stop import Stopped, never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.records.cycles import stored
from tests.support.world.installation import Site, hours, make_site
from tests.support.world.reruns import measured, rerun
from tests.support.world.tiny_world import World


def test_same_slot_same_sample(world: World, sqlite_url: str, tmp_path: Path) -> None:
    """The order of requests, their split into files and interrupted attempts do not change the sample."""
    site = make_site(tmp_path / "site", world, hours(healthy=2, drifted=1), url=sqlite_url)
    shards = shuffled(site, tmp_path / "shards")
    with rerun(site, tmp_path / "once") as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
        expected, compared = measured(engine), inputs(engine)
    with rerun(site, tmp_path / "again", traffic={"uri": shards}) as (settings, engine):
        for _ in range(2):
            runner = assembly.slot_runner(settings, engine, show_nothing)
            assert runner.run(site.slots, after(5)) < len(site.slots)
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
        assert without_objects(measured(engine)) == without_objects(expected)
        assert inputs(engine) == compared
    with rerun(site, tmp_path / "other", traffic={"key": "another"}) as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
        hashes = [[cycle["archive_sha256"] for cycle in run.values()] for run in (measured(engine), expected)]
        assert not set(hashes[0]) & set(hashes[1])


def inputs(engine: Engine) -> list[dict[str, Any]]:
    """Return the measured difference between each cycle's requests and its reference's."""
    found = [
        {name: value for name, value in row.items() if not name.endswith("cycle_id")}
        for row in stored(engine, input_drift)
    ]
    assert len(found) == 2
    return found


def shuffled(site: Site, folder: Path) -> Path:
    """Write the lines of all windows to four files, in random order."""
    lines = [
        line for path in site.traffic.iterdir() for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    folder.mkdir()
    for number, part in enumerate(np.array_split(np.random.default_rng(1).permutation(lines), 4)):
        (folder / f"{number}.jsonl").write_bytes(b"\n".join(part.tolist()) + b"\n")
    return folder


def without_objects(found: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Drop the fields that depend on which file a broken line was in."""
    kept = ["n_seen", "n_sampled", "n_disagreements", "agreement", "kl", "js", "labels", "strata"]
    kept.append("archive_sha256")
    return {key: {name: row[name] for name in kept} for key, row in found.items()}


def after(calls: int) -> Stopped:
    answers = iter([False] * calls)
    return lambda: next(answers, True)
