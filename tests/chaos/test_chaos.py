"""kill -9 at random moments, hundreds of times, over two daemons and two workers whose channels fail half the
time: what comes out is what comes out of a run that nobody disturbs.
"""

import os
import time
from collections import Counter
from pathlib import Path
from typing import Final

from db.tables import cycles
from tests.chaos.answers import Moody
from tests.chaos.delivery_checks import assert_delivered, turned_away
from tests.chaos.outcomes import Outcome, assert_as_told, assert_the_same, undisturbed
from tests.chaos.report import report
from tests.chaos.scenario import ALPHAS, Scenario
from tests.chaos.stage import Hunt, Stage, staged
from tests.support.processes.killer import Mark
from tests.support.records.cycles import stored
from tests.support.world.tiny_world import World

SEED: Final = int(os.environ.get("REDISTILL_TEST_SEED", "2025"))
KILLS: Final = 210


def test_two_hundred_kills_change_nothing(database_url: str, world: World, tmp_path: Path) -> None:
    scenario = Scenario()
    with staged(scenario, tmp_path / "site", world, database_url, Moody(SEED), tokens_per_batch=20) as stage:
        hunt = Hunt(stage=stage, seed=SEED, per_act=KILLS // len(scenario.acts))
        began = time.monotonic()
        try:
            hunt.run()
        finally:
            print(report(stage, hunt.kills, seed=SEED, seconds=time.monotonic() - began))  # noqa: T201
        assert_each_slot_once(stage)
        assert_delivered(stage.engine, stage.receiver)
        found = Outcome.of(stage.engine)
        assert_as_told(found, ALPHAS)
        assert_the_same(found, undisturbed(stage.site, tmp_path / "undisturbed", stage.engine))
        assert_all_was_hit(hunt)


def assert_each_slot_once(stage: Stage) -> None:
    found = sorted(row["window_end"] for row in stored(stage.engine, cycles))
    assert found == [slot.window_end for slot in stage.site.slots]


def assert_all_was_hit(hunt: Hunt) -> None:
    """So many died in the middle of each thing that the rest of the test says something."""
    assert len(hunt.kills) >= 200
    states = Counter(kill.sight.state for kill in hunt.kills)
    marks = Counter(mark for kill in hunt.kills for mark in kill.sight.marks)
    deciding = sum(
        kill.sight.state == "archived, not concluded" and Mark.TRANSACTION in kill.sight.marks
        for kill in hunt.kills
    )
    assert min(Counter(kill.name for kill in hunt.kills).values()) >= 8
    assert states["measuring"] >= 10
    assert states["training"] >= 2
    assert states["proving"] + states["added, not promoted"] + marks[Mark.UNLINKED] >= 2
    assert marks[Mark.TRANSACTION] >= 20
    assert deciding >= 5
    assert marks[Mark.SENDING] >= 3
    assert turned_away(hunt.stage.receiver).total() >= 10
    assert len(hunt.stage.site.events("training resumed")) >= 2
