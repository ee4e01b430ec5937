"""The choice of a device, and what bfloat16 changes: the forward pass, and nothing else."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from monitor.scoring import device
from monitor.scoring.batches import score
from monitor.scoring.device import DeviceMissingError, place
from monitor.scoring.latency import processor
from monitor.scoring.models import Model, load
from monitor.scoring.placement import ON_CPU
from monitor.stop import never_stopped
from tests.support.world.models import CORPUS, answers, make_model

LABELS = ("faq", "promotion", "escalation")
ROUNDED = replace(ON_CPU, precision="bfloat16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"), LABELS, seed=1, layers=2)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(folder)


@pytest.fixture(scope="module")
def rounded(folder: Path) -> Model:
    return load(folder, ROUNDED)


@pytest.fixture
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("without_gpu")
def test_without_a_gpu_auto_is_the_cpu() -> None:
    assert place("auto", "float32", section="scoring") == ON_CPU
    assert place("cpu", "bfloat16", section="scoring") == ROUNDED


@pytest.mark.usefixtures("without_gpu")
@pytest.mark.parametrize(
    ("cuda", "files", "reason"),
    [
        (None, (), "is a build without CUDA; install a build with CUDA, or set device = 'auto'."),
        (None, ("nvidia0",), "is a build without CUDA; install a build with CUDA, or set device = 'auto'."),
        ("13.0", (), "is missing); give it one, or set device = 'auto'."),
        (
            "13.0",
            ("nvidia0",),
            "repair its driver (see nvidia-smi), or set device = 'auto'.",
        ),
    ],
)
def test_cuda_without_a_gpu_is_refused_with_the_reason(
    cuda: str | None, files: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(device, "_GPU_FILE", tmp_path / "nvidia0")
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(DeviceMissingError) as refused:
        place("cuda", "float32", section="scoring")
    assert str(refused.value).startswith("device = 'cuda' in [scoring] cannot be used: ")
    assert str(refused.value).endswith(reason)


def test_in_float32_logits_are_those_of_the_network_itself_to_the_last_bit(model: Model) -> None:
    inputs = dict(model.tokenizer(CORPUS[0], return_tensors="pt"))
    with torch.inference_mode():
        assert torch.equal(model.logits(inputs), model.network(**inputs).logits)


def test_in_bfloat16_logits_are_near_and_still_float32(model: Model, rounded: Model) -> None:
    """Products have 8 significant bits instead of 24; the head of this model multiplies the error."""
    exact, near = answers(model, CORPUS), answers(rounded, CORPUS)
    assert near.dtype == np.float32
    assert 1e-6 < np.abs(near - exact).mean() < 0.05 * exact.std()
    assert {weight.dtype for weight in rounded.network.parameters()} == {torch.float32}


def test_in_bfloat16_a_score_does_not_depend_on_threads_order_or_repetitions(rounded: Model) -> None:
    def scored(texts: list[str]) -> np.ndarray:
        return score(rounded, texts, tokens_per_batch=32, stopped=never_stopped, progress=lambda _done: None)

    once = scored([*CORPUS])
    assert (scored([*CORPUS[::-1], *CORPUS]) == np.concatenate([once[::-1], once])).all()
    torch.set_num_threads(3)
    try:
        assert (scored([*CORPUS]) == once).all()
    finally:
        torch.set_num_threads(1)


def test_a_model_keeps_its_precision_on_the_way_to_another_process(rounded: Model) -> None:
    """As a cluster gets it."""
    sent = pickle.loads(pickle.dumps(rounded))  # noqa: S301 - of this test's own
    assert (answers(sent, CORPUS) == answers(rounded, CORPUS)).all()


def test_the_processor_of_a_latency_names_a_place_that_is_not_usual() -> None:
    assert processor(ROUNDED) == f"cpu, bfloat16, {processor(ON_CPU)}"
