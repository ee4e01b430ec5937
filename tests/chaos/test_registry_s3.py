"""kill -9 at random moments over two daemons and two workers whose registry is in S3: nothing is lost or
doubled, and whoever follows `current` always finds a whole version.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Final

from tests.chaos.answers import Moody
from tests.chaos.database_locks import name_at_the_database
from tests.chaos.delivery_checks import assert_delivered
from tests.chaos.outcomes import Outcome, assert_as_told, assert_the_same, undisturbed
from tests.chaos.report import report
from tests.chaos.scenario import ALPHAS, Scenario
from tests.chaos.stage import Hunt, staged
from tests.chaos.test_chaos import SEED, assert_each_slot_once
from tests.support.servers.buckets import empty_bucket
from tests.support.world.installation import Site
from tests.support.world.tiny_world import World

KILLS: Final = 50
DRIFTS: Final = 2


def prepare(environment: Mapping[str, str]) -> None:
    os.environ.update(environment)
    name_at_the_database()


@contextmanager
def followed(site: Site) -> Iterator[list[str]]:
    """Follow the pointer as serving code does, all the time; the targets that were not whole, at the end."""
    broken: list[str] = []
    n_seen = 0
    done = Event()

    def follow() -> None:
        nonlocal n_seen
        while not done.wait(0.05):
            target = site.store.pointed("current")
            n_seen += target is not None
            if target and "/versions/" in target:
                files = site.store.names(f"versions/{target.rpartition('/')[2]}")
                if not {"manifest.json", "config.json", "model.safetensors"} <= set(files):
                    broken.append(target)

    thread = Thread(target=follow)
    thread.start()
    try:
        yield broken
    finally:
        done.set()
        thread.join()
    assert n_seen > 100


def test_fifty_kills_with_a_registry_in_s3_change_nothing(
    database_url: str, world: World, s3_url: str, tmp_path: Path
) -> None:
    scenario = Scenario(drifts=DRIFTS)
    with empty_bucket(s3_url) as bucket:
        aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        with (
            staged(
                scenario,
                tmp_path / "site",
                world,
                database_url,
                Moody(SEED),
                tokens_per_batch=20,
                prepare=partial(prepare, aws),
                registry=f"s3://{bucket.name}/registry",
            ) as stage,
            followed(stage.site) as broken,
        ):
            hunt = Hunt(stage=stage, seed=SEED, per_act=KILLS // len(scenario.acts) + 1)
            began = time.monotonic()
            try:
                hunt.run()
            finally:
                print(report(stage, hunt.kills, seed=SEED, seconds=time.monotonic() - began))  # noqa: T201
            assert len(hunt.kills) >= KILLS
            assert_each_slot_once(stage)
            assert_delivered(stage.engine, stage.receiver)
            found = Outcome.of(stage.engine)
            assert_as_told(found, ALPHAS[:DRIFTS])
            assert_the_same(found, undisturbed(stage.site, tmp_path / "undisturbed", stage.engine))
        assert broken == []
