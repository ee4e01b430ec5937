"""A training in bfloat16: the forward passes are rounded, and the rest of a step is not."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from distill.training.dataset import TrainingSet
from distill.training.objective import Distillation
from monitor.scoring.models import load
from monitor.scoring.placement import ON_CPU, Placement
from tests.support.processes.product import ROOT, preload
from tests.support.processes.trainings import LABELS, STEPS, Lesson, Part, Until, make_lesson, part
from tests.support.world.models import CORPUS, make_model

ROUNDED = replace(ON_CPU, precision="bfloat16")


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        preload()
        yield


@pytest.fixture
def lesson(tmp_path: Path) -> Lesson:
    return make_lesson(tmp_path, precision="bfloat16")


def done(lesson: Lesson, until: Until | None = None) -> Part:
    found = part(lesson) if until is None else part(lesson, until)
    assert found is not None
    return found


def loss_and_gradients(folder: Path, placement: Placement) -> tuple[float, dict[str, torch.Tensor]]:
    """The first batch's, without dropout."""
    teacher, student = (load(folder / name, placement) for name in ("teacher", "student"))
    texts = tuple(CORPUS)
    data = TrainingSet(
        texts=texts,
        labels=np.arange(len(texts)) % len(LABELS),
        labelled=np.arange(len(texts)) % 2 == 0,
    )
    loss = Distillation(student, teacher, data, alpha=0.7, temperature=3.0).loss(torch.arange(len(texts)))
    assert loss.dtype == torch.float32
    loss.backward()
    named = student.network.named_parameters()
    return loss.item(), {name: weight.grad for name, weight in named if weight.grad is not None}


def test_loss_and_gradients_are_near_and_still_float32(tmp_path: Path) -> None:
    make_model(tmp_path / "teacher", LABELS, seed=1, hidden=32)
    make_model(tmp_path / "student", LABELS, seed=2, hidden=16)
    exact, gradients = loss_and_gradients(tmp_path, ON_CPU)
    near, rounded = loss_and_gradients(tmp_path, ROUNDED)
    assert near != exact
    assert near == pytest.approx(exact, rel=0.02)
    assert {gradient.dtype for gradient in rounded.values()} == {torch.float32}
    one, other = (torch.cat([each.flatten() for each in found.values()]) for found in (gradients, rounded))
    assert torch.cosine_similarity(one, other, dim=0) > 0.998


@pytest.mark.parametrize("step", [1, 6])
def test_stopped_it_ends_with_the_same_weights_and_the_same_log(
    lesson: Lesson, tmp_path: Path, step: int
) -> None:
    (tmp_path / "undisturbed").mkdir()
    expected = done(make_lesson(tmp_path / "undisturbed", precision="bfloat16"))
    stopped, resumed = done(lesson, Until(step=step)), done(lesson)
    assert stopped.steps + resumed.steps == [*range(1, STEPS + 1)]
    assert (resumed.weights, resumed.log) == (expected.weights, expected.log)


def test_weights_and_moments_are_float32_and_other_than_without_rounding(
    lesson: Lesson, tmp_path: Path
) -> None:
    (tmp_path / "exact").mkdir()
    assert done(lesson).weights != done(make_lesson(tmp_path / "exact")).weights
    (path,) = lesson.checkpoints.iterdir()
    with safe_open(path, framework="pt") as file:
        tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("generator")}
    assert {tensor.dtype for tensor in kept.values() if tensor.is_floating_point()} == {torch.float32}
    assert "generator.cuda" not in tensors
