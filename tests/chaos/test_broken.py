"""Would chaos notice? The product is broken on purpose, and one kill at the right moment fails the checks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from db.tables import incidents, jobs
from tests.chaos.answers import Shy
from tests.chaos.broken import job_by_itself, marked_before_sent
from tests.chaos.delivery_checks import assert_delivered
from tests.chaos.outcomes import Outcome, assert_as_told, assert_the_same, undisturbed
from tests.chaos.scenario import ALPHAS, Scenario
from tests.chaos.stage import Stage, play, staged
from tests.support.processes.product import fork, running
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import stored
from tests.support.servers.receiver import welcome
from tests.support.world.tiny_world import World


def killed_when(holds: Callable[[Stage], bool], stage: Stage, prepare: Callable[[], None]) -> None:
    """Both daemons, in the first act."""
    stage.scenario.open(stage.site, stage.scenario.due_in(0))
    with (
        running(fork, stage.site, "monitor", prepare=prepare) as one,
        running(fork, stage.site, "monitor", prepare=prepare) as other,
    ):
        wait_until(lambda: holds(stage), "the moment", every=0.005)
        for daemon in (one, other):
            daemon.kill()


def is_about_to_be_turned_away(stage: Stage) -> bool:
    return len(stage.receiver.under_way) > 0


def job_is_there_and_its_incident_is_not(stage: Stage) -> bool:
    return bool(stored(stage.engine, jobs)) and not stored(stage.engine, incidents)


def test_a_delivery_that_is_marked_before_it_is_sent_is_found_out(
    database_url: str, world: World, tmp_path: Path
) -> None:
    with staged(
        Scenario(drifts=1), tmp_path / "site", world, database_url, Shy(), tokens_per_batch=100
    ) as stage:
        killed_when(is_about_to_be_turned_away, stage, marked_before_sent)
        play(stage, 0, prepare=marked_before_sent)
        with pytest.raises(AssertionError, match="marked as delivered and were never accepted") as found:
            assert_delivered(stage.engine, stage.receiver)
    print(f"\n{found.value}")  # noqa: T201 - pytest -s shows it


def test_a_job_that_is_inserted_outside_the_decisions_transaction_is_found_out(
    database_url: str, world: World, tmp_path: Path
) -> None:
    scenario = Scenario(drifts=1)
    with staged(scenario, tmp_path / "site", world, database_url, welcome, tokens_per_batch=100) as stage:
        killed_when(job_is_there_and_its_incident_is_not, stage, job_by_itself)
        play(stage, *scenario.acts, prepare=job_by_itself)
        outcome = Outcome.of(stage.engine)
        with pytest.raises(AssertionError):
            assert_as_told(outcome, ALPHAS[:1])
        with pytest.raises(
            AssertionError, match="the incidents are not those of an undisturbed run"
        ) as found:
            assert_the_same(outcome, undisturbed(stage.site, tmp_path / "undisturbed", stage.engine))
    print(f"\n{str(found.value)[:400]}")  # noqa: T201 - pytest -s shows it
