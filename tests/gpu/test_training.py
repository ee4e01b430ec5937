"""A training on a GPU is repeated and resumed bit for bit there, and not resumed on the CPU."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from distill.training.checkpoint import Checkpoints
from distill.training_identity import identity_of_place
from monitor.scoring.placement import ON_CPU, Placement
from monitor.setting_values import Precision
from monitor.storage.local_store import LocalStore
from tests.support.processes.trainings import BATCHES, STEPS, Lesson, Part, Until, make_lesson, part
from tests.support.world.placed_jobs import run_job
from tests.support.world.tiny_world import World

pytestmark = pytest.mark.usefixtures("_loaded")


def lesson(folder: Path, precision: Precision = "float32") -> Lesson:
    folder.mkdir(exist_ok=True)
    return make_lesson(folder, every_step=True, device="cuda", precision=precision)


def done(training: Lesson) -> Part:
    found = part(training)
    assert found is not None
    return found


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_killed_or_not_it_ends_with_the_same_weights_and_the_same_log(
    tmp_path: Path, precision: Precision
) -> None:
    """The dropout, too: it is drawn by the generator of the GPU."""
    expected, again = (done(lesson(tmp_path / name, precision)) for name in ("one", "other"))
    assert (again.weights, again.log) == (expected.weights, expected.log)
    interrupted = lesson(tmp_path, precision)
    for step in (1, BATCHES, BATCHES + 2):
        assert part(interrupted, Until(killed_at=step)) is None
    last = done(interrupted)
    assert last.steps == [*range(BATCHES + 2, STEPS + 1)]
    assert (last.weights, last.log) == (expected.weights, expected.log)


def test_its_checkpoint_is_not_used_on_the_cpu_and_the_reason_is_logged(
    tmp_path: Path, gpu: Placement
) -> None:
    begun = replace(lesson(tmp_path), identity=identity_of_place(gpu))
    part(begun, Until(step=3))
    (kept,) = begun.checkpoints.iterdir()
    store = LocalStore(begun.checkpoints.parent)
    with capture_logs() as said:
        found = Checkpoints(store, "3", identity=identity_of_place(ON_CPU), every_seconds=60, job_id=3).load()
    assert found is None
    assert [(line["event"], line["file"], line["reason"]) for line in said] == [
        (
            "checkpoint not used",
            kept.name,
            "it belongs to another training: cuda, device, gpu, precision differ",
        )
    ]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_cycle_and_a_job_run_to_their_end(
    sqlite_url: str, world: World, tmp_path: Path, precision: Precision
) -> None:
    job = run_job(tmp_path / "site", world, sqlite_url, device="cuda", precision=precision)
    assert job.status == "succeeded"
    assert (job.manifest["device"], job.manifest["precision"]) == ("cuda", precision)
    assert job.trained_on.startswith("cuda (")
    assert f", on {job.trained_on}, " in job.timed_on
