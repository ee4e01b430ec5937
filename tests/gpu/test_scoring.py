"""A GPU scores as the CPU does, and the same each time."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from monitor.scoring.batches import answer, batched
from monitor.scoring.device import place
from monitor.scoring.latency import processor
from monitor.scoring.models import Model, load
from monitor.scoring.placement import Placement
from tests.support.world.models import CORPUS, answers, make_model

LABELS = ("faq", "promotion", "escalation")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"), LABELS, seed=1, layers=2)


@pytest.fixture
def model(folder: Path, gpu: Placement) -> Model:
    return load(folder, gpu)


def texts() -> list[str]:
    rng = np.random.default_rng(3)
    words = " ".join(CORPUS).split()
    distinct = [" ".join(rng.choice(words, rng.integers(1, 30))) for _ in range(300)]
    return [*distinct, *distinct[::-1], ""]


def test_auto_is_the_gpu(gpu: Placement) -> None:
    assert place("auto", "float32", section="scoring") == gpu
    assert gpu.device.type == "cuda"
    assert processor(gpu).startswith(f"cuda ({torch.cuda.get_device_name(gpu.device)}), float32, ")


def test_logits_are_the_cpus_within_1e_4(model: Model, folder: Path) -> None:
    np.testing.assert_allclose(answers(model, texts()), answers(load(folder), texts()), atol=1e-4, rtol=1e-4)


def test_logits_are_the_same_each_time_and_for_each_repetition(model: Model) -> None:
    found = answers(model, texts())
    assert (found[:300] == found[300:600][::-1]).all()
    assert (answers(model, texts()) == found).all()


def test_in_bfloat16_logits_are_off_by_less_than_a_twentieth_of_their_spread(
    model: Model, folder: Path, gpu: Placement
) -> None:
    """On average: the tolerance of the CPU. The head of this model multiplies the error."""
    exact, near = (
        answers(each, texts()) for each in (model, load(folder, replace(gpu, precision="bfloat16")))
    )
    assert near.dtype == np.float32
    assert 0 < np.abs(near - exact).mean() < 0.05 * exact.std()


def test_an_answer_is_given_when_the_gpu_is_done(model: Model) -> None:
    """So a clock that stops then has seen all of the work."""
    for batch in batched(model, texts(), 4_096):
        answer(model, batch)
        assert torch.cuda.current_stream().query()
