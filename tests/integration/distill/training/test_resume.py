"""A training that was cut off, and that a new process goes on with: as if nothing had been."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.processes.product import ROOT, preload
from tests.support.processes.trainings import BATCHES, STEPS, Lesson, Part, Until, make_lesson, part


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        preload()
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Part:
    found = part(make_lesson(tmp_path_factory.mktemp("undisturbed")))
    assert found is not None
    return found


@pytest.fixture
def lesson(tmp_path: Path) -> Lesson:
    return make_lesson(tmp_path)


def finished(lesson: Lesson, *ends: Until) -> tuple[Part, list[int]]:
    """The last of some processes, and the steps that all of them took."""
    taken: list[int] = []
    for end in ends:
        cut_off = part(lesson, end)
        taken += cut_off.steps if cut_off is not None else []
    last = part(lesson)
    assert last is not None
    return last, taken + last.steps


def assert_same(found: Part, expected: Part) -> None:
    assert found.weights == expected.weights
    assert found.log == expected.log


@pytest.mark.parametrize("step", range(STEPS + 1))
def test_stopped_after_any_step_it_ends_with_the_same_weights_and_the_same_log(
    lesson: Lesson, undisturbed: Part, step: int
) -> None:
    last, taken = finished(lesson, Until(step=step))
    assert taken == [*range(1, STEPS + 1)]
    assert_same(last, undisturbed)


@pytest.mark.parametrize(
    "stops", [(2, 3), (BATCHES, 2 * BATCHES), tuple(range(1, STEPS))], ids=["mid-epoch", "at ends", "each"]
)
def test_stopped_again_and_again_it_takes_each_step_once(
    lesson: Lesson, undisturbed: Part, stops: tuple[int, ...]
) -> None:
    last, taken = finished(lesson, *(Until(step=step) for step in stops))
    assert taken == [*range(1, STEPS + 1)]
    assert_same(last, undisturbed)


@pytest.mark.parametrize("seed", range(8))
def test_stopped_inside_a_step_or_a_validation_it_does_as_if_that_had_not_begun(
    lesson: Lesson, undisturbed: Part, seed: int
) -> None:
    """It looks up from its work between two layers, and between two batches that it scores."""
    question = int(np.random.default_rng(seed).integers(1, undisturbed.questions))
    last, taken = finished(lesson, Until(question=question))
    assert taken == [*range(1, STEPS + 1)]
    assert_same(last, undisturbed)


@pytest.mark.parametrize("step", [1, BATCHES, BATCHES + 2, STEPS])
def test_killed_it_goes_on_from_its_last_checkpoint(tmp_path: Path, undisturbed: Part, step: int) -> None:
    lesson = make_lesson(tmp_path, every_step=True)
    last, taken = finished(lesson, Until(killed_at=step))
    assert taken == [*range(step, STEPS + 1)]  # the checkpoint was written before the step that was its last
    assert_same(last, undisturbed)


def test_done_it_has_nothing_to_do_again(lesson: Lesson, undisturbed: Part) -> None:
    """Whoever dies while the candidate is proved need not train another."""
    first, again = part(lesson), part(lesson)
    assert first is not None
    assert again is not None
    assert again.steps == []
    assert_same(first, undisturbed)
    assert_same(again, undisturbed)


def test_another_training_begins_anew(lesson: Lesson, undisturbed: Part) -> None:
    part(lesson, Until(step=5))
    other = Lesson(folder=lesson.folder, identity={**lesson.identity, "seed": "1"})
    last, taken = finished(other)
    assert taken == [*range(1, STEPS + 1)]
    assert_same(last, undisturbed)


def test_a_torn_checkpoint_is_not_used(lesson: Lesson, undisturbed: Part) -> None:
    part(lesson, Until(step=5))
    (kept,) = lesson.checkpoints.iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    last, taken = finished(lesson)
    assert taken == [*range(1, STEPS + 1)]
    assert_same(last, undisturbed)
