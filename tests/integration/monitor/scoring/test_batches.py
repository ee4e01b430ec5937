"""Scoring gives what the model itself says, in any order and any batches."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers
from transformers import DistilBertConfig, DistilBertForSequenceClassification

from monitor.scoring.batches import ForwardError, ScoringError, score
from monitor.scoring.models import Model, load
from monitor.stop import StoppedError, never_stopped
from tests.support.world.models import CORPUS, make_copy, make_model, make_tokenizer, save

LABELS = ("faq", "promotion", "escalation")
WORDS = " ".join(CORPUS).split()


def texts(n: int, *, longest: int = 12) -> list[str]:
    rng = np.random.default_rng(3)
    return [" ".join(rng.choice(WORDS, rng.integers(1, longest))) for _ in range(n)]


def logits(model: Model, requests: list[str], *, tokens_per_batch: int = 256) -> np.ndarray:
    return score(
        model, requests, tokens_per_batch=tokens_per_batch, stopped=never_stopped, progress=lambda _done: None
    )


def one_by_one(model: Model, requests: list[str]) -> np.ndarray:
    """What transformers says without batches and padding."""
    rows = []
    with torch.inference_mode():
        for text in requests:
            inputs = model.tokenizer(text, truncation=True, max_length=model.max_length, return_tensors="pt")
            rows.append(model.network(**inputs).logits[0].numpy())
    return np.array(rows)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_model(tmp_path_factory.mktemp("models") / "model", LABELS, seed=1, layers=2))


def test_logits_are_those_of_the_model_one_text_at_a_time(model: Model) -> None:
    """Also of a text that is longer than the model takes, of an empty one and of unknown words."""
    requests = [*texts(100), " ".join(WORDS * 5), "", "xylophone ☕", "[SEP] [MASK]", "a" * 5_000]
    found = logits(model, requests)
    assert found.dtype == np.float32
    assert found.shape == (105, 3)
    np.testing.assert_allclose(found, one_by_one(model, requests), atol=2e-5)
    assert len(set(found.argmax(axis=1))) == 3


@pytest.mark.parametrize("tokens_per_batch", [1, 40, 1_000_000])
def test_the_size_of_the_batches_changes_no_logit(model: Model, tokens_per_batch: int) -> None:
    requests = texts(60)
    found = logits(model, requests, tokens_per_batch=tokens_per_batch)
    np.testing.assert_allclose(found, logits(model, requests), atol=2e-5)


SHUFFLED = st.lists(st.sampled_from(texts(20)), max_size=40).flatmap(
    lambda requests: st.tuples(st.just(requests), st.permutations(range(len(requests))))
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(SHUFFLED)
def test_the_order_of_the_texts_changes_nothing_at_all(
    model: Model, shuffled: tuple[list[str], list[int]]
) -> None:
    """Bit for bit: the batches depend on the set of texts alone."""
    requests, order = shuffled
    found = logits(model, [requests[index] for index in order])
    np.testing.assert_array_equal(found, logits(model, requests)[order])


@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_changes_nothing_at_all(model: Model, threads: int) -> None:
    """Bit for bit; and torch has as many afterwards as before."""
    requests = texts(300)
    expected = logits(model, requests)
    torch.set_num_threads(threads)
    try:
        np.testing.assert_array_equal(logits(model, requests), expected)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)


def test_a_copy_of_a_model_gives_the_same_to_the_last_bit(tmp_path: Path) -> None:
    """As a process of a cluster has one; this model's file has weights where torch would not put them."""
    original = load(make_model(tmp_path / "model", LABELS, seed=1))
    expected = logits(original, texts(300))
    np.testing.assert_array_equal(logits(copy.deepcopy(original), texts(300)), expected)


def test_no_texts_give_no_rows(model: Model) -> None:
    assert logits(model, []).shape == (0, 3)


def test_progress_is_told_per_batch_and_ends_at_the_number_of_texts(model: Model) -> None:
    """A text that comes twice counts twice."""
    heard: list[int] = []
    requests = texts(50) * 2
    score(model, requests, tokens_per_batch=64, stopped=never_stopped, progress=heard.append)
    assert heard == sorted(set(heard))
    assert len(heard) > 5
    assert heard[-1] == 100


def test_scoring_stops_between_batches_on_request(model: Model) -> None:
    heard: list[int] = []
    with pytest.raises(StoppedError):
        score(
            model,
            texts(50),
            tokens_per_batch=64,
            stopped=lambda: len(heard) == 2,
            progress=heard.append,
        )
    assert len(heard) == 2


def test_a_logit_that_is_not_finite_is_an_error_that_names_the_request(tmp_path: Path) -> None:
    """One damaged embedding; the first request that has its token is told."""
    damaged = load(make_model(tmp_path / "model", LABELS, seed=1))
    token = damaged.tokenizer.convert_tokens_to_ids("manga")
    embeddings: Any = damaged.network.get_input_embeddings()
    embeddings.weight.data[token] = torch.nan
    requests = ["hello there", "talk to a person", "this manga please", "hello manga"]
    with pytest.raises(
        ScoringError, match=rf"model {damaged.version[:12]} .* for request 2 \(counted from 0\)"
    ):
        logits(damaged, requests)
    assert np.isfinite(logits(damaged, requests[:2])).all()


def test_a_text_on_which_the_tokenizer_panics_is_an_error_that_names_the_request(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A panic of the tokenizers' library is not an Exception. Repeated texts are scored once."""
    model = load(make_model(tmp_path, LABELS, seed=1))
    model.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("(x+)+$"), "isolated")
    requests = ["hello", "hello", f"{'x' * 60}y", "thanks"]
    with pytest.raises(ScoringError, match=r"cannot read the text \(PanicException.* for request 2 \("):
        logits(model, requests)
    assert "panicked" in capfd.readouterr().err
    assert np.isfinite(logits(model, requests[:2])).all()


def test_whatever_the_network_raises_is_an_error_of_the_model(tmp_path: Path) -> None:
    model = load(make_model(tmp_path, LABELS, seed=1))
    model.network.get_submodule("bert").embeddings = None  # type: ignore[assignment]
    with pytest.raises(ForwardError, match=rf"model {model.version[:12]} fails \(TypeError: .*\) on 1 texts"):
        logits(model, ["hello"])


def test_a_network_without_token_types_is_scored_too(tmp_path: Path) -> None:
    """Its tokenizer gives them all the same."""
    tokenizer = make_tokenizer(CORPUS, max_length=32)
    assert "token_type_ids" in tokenizer("hello")
    sizes: Any = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8}
    network = DistilBertForSequenceClassification(DistilBertConfig(vocab_size=len(tokenizer), **sizes))
    model = load(save(network, tokenizer, tmp_path))
    found = logits(model, texts(20))
    with torch.inference_mode():
        inputs = model.tokenizer(texts(20), padding=True, return_token_type_ids=False, return_tensors="pt")
        expected = model.network(**inputs).logits.numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_copy_with_noise_drifts_from_its_source(tmp_path: Path) -> None:
    """The fixture of other tests: without noise the same logits, with more of it less agreement."""
    source = make_model(tmp_path / "source", LABELS, seed=1)
    requests = texts(200)
    teacher = logits(load(source), requests)

    def agreement(noise: float) -> float:
        copy = load(make_copy(source, tmp_path / str(noise), noise=noise))
        return float((logits(copy, requests).argmax(axis=1) == teacher.argmax(axis=1)).mean())

    assert agreement(0.0) == 1
    assert 1 >= agreement(0.1) > agreement(1.0)
