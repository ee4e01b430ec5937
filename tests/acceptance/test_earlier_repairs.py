"""A second repair keeps what the first one taught: the samples of earlier jobs are trained on, too."""

from datetime import timedelta
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from db.tables import jobs
from monitor.scoring.batches import score
from monitor.scoring.models import Model, load
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.records.cycles import stored
from tests.support.world.installation import Site, hours, make_site
from tests.support.world.reruns import rerun
from tests.support.world.tiny_world import NEW, Words, World, utterances

FIRST: Final[Words] = {intent: words[:1] for intent, words in NEW.items()}
SECOND: Final[Words] = {intent: words[1:] for intent, words in NEW.items()}


def answers(model: Model, texts: list[str]) -> list[str]:
    logits = score(model, texts, tokens_per_batch=4_096, stopped=never_stopped, progress=lambda _done: None)
    return [model.labels[index] for index in logits.argmax(axis=1)]


def agreements(world: World, candidates: list[Path], words: Words) -> list[float]:
    """Of each candidate with the teacher, on fresh utterances with these words."""
    fresh = utterances(2_000, new=1.0, rng=np.random.default_rng(99), new_words=words)
    texts = [row.text for row in fresh]
    expected = np.array(answers(load(world.teacher), texts))
    return [float(np.mean(expected == answers(load(each), texts))) for each in candidates]


def two_jobs(site: Site, folder: Path, *, replay_jobs: int) -> list[Path]:
    keys = {"cooldown": timedelta(0), "replay_jobs": replay_jobs}
    with rerun(site, folder, redistill=keys) as (settings, engine):
        runner = assembly.slot_runner(settings, engine, show_nothing)
        worker = assembly.worker(settings, engine, show_nothing)
        for slot in site.slots:
            runner.run([slot], never_stopped)
            worker.run_once(never_stopped)
        made = stored(engine, jobs)
        assert [job["decision"] for job in made] == ["promoted", "promoted"]
        return [Path(settings.redistill.registry) / "versions" / job["candidate_version"] for job in made]


@pytest.mark.slow
def test_the_second_job_loses_nothing_on_the_topics_of_the_first(world: World, tmp_path: Path) -> None:
    windows = [None, FIRST, FIRST, SECOND]
    site = make_site(
        tmp_path / "site", world, hours(healthy=1, drifted=3), url="sqlite:///unused.db", new_words=windows
    )
    kept, forgotten = (
        agreements(world, two_jobs(site, tmp_path / f"replay-{n}", replay_jobs=n), FIRST) for n in (3, 0)
    )
    assert kept[0] == forgotten[0]
    assert kept[1] >= kept[0] - 0.005
    assert forgotten[1] < kept[1]
