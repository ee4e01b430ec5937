"""The 95th percentile of a model's time for one request, alone and beside another model."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from distill.evaluation.gates import SLOWER
from monitor.scoring.latency import _p95, compare_times, latency_p95_ms, latency_pair, processor
from monitor.scoring.models import Model, load
from monitor.scoring.placement import ON_CPU
from monitor.stop import StoppedError, never_stopped
from tests.support.processes.neighbour import busy_neighbour
from tests.support.world.models import CORPUS, make_model

LABELS = ("faq", "promotion")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    """Two of one architecture, with different random weights."""
    folder = tmp_path_factory.mktemp("models")
    one, other = (load(make_model(folder / str(seed), LABELS, seed=seed)) for seed in (1, 2))
    return one, other


def test_the_latency_of_a_model_lies_in_its_interval(models: tuple[Model, Model]) -> None:
    latency = latency_p95_ms(models[0], ["hello", "where is my order"], runs=80)
    assert 0 < latency.low <= latency.estimate <= latency.high
    for nothing in (latency_p95_ms(models[0], [], runs=80), latency_p95_ms(models[0], ["hello"], runs=0)):
        assert np.isnan([nothing.estimate, nothing.low, nothing.high]).all()


def test_the_interval_of_a_percentile_holds_it_in_95_of_100_samples() -> None:
    """By exponential times, whose 95th percentile is ln 20; the estimate is a time that was measured."""
    rng = np.random.default_rng(2025)
    samples = rng.exponential(size=(2_000, 200)).tolist()
    found = [_p95(times) for times in samples]
    covered = np.mean([each.low <= np.log(20) <= each.high for each in found])
    assert 0.95 <= covered <= 0.985
    assert all(each.estimate in times for each, times in zip(found, samples, strict=True))


@pytest.mark.parametrize(("n", "expected"), [(1, (1, 1, 1)), (20, (17, 19, 20)), (100, (90, 95, 100))])
def test_the_bounds_are_order_statistics(n: int, expected: tuple[int, int, int]) -> None:
    found = _p95([float(rank) for rank in range(n, 0, -1)])
    assert (found.low, found.estimate, found.high) == expected


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """A tokenizer that notes whose it is and what it was given."""

    name: str
    tokenizer: Any
    heard: list[tuple[str, ...]]

    def __call__(self, texts: list[str], **options: Any) -> Any:  # noqa: ANN401 - as the tokenizer
        self.heard.append((self.name, *texts))
        return self.tokenizer(texts, **options)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the tokenizer
        return getattr(self.tokenizer, name)


def test_two_models_answer_each_text_in_turn_and_who_is_first_alternates(
    models: tuple[Model, Model],
) -> None:
    heard: list[tuple[str, ...]] = []
    one, other = (
        replace(model, tokenizer=cast("Any", Recorder(name=name, tokenizer=model.tokenizer, heard=heard)))
        for name, model in zip(("candidate", "incumbent"), models, strict=True)
    )
    rng = np.random.default_rng(1)
    latency_pair(one, other, CORPUS, pairs=20, rng=rng, stopped=never_stopped)
    pairs = [heard[index : index + 2] for index in range(0, len(heard), 2)]
    assert len(pairs) == 30  # ten of them to warm up
    assert [first[1] for first, second in pairs] == [second[1] for first, second in pairs]
    assert [first[1] for first, _ in pairs[:8]] == list(CORPUS)
    assert all({first[0], second[0]} == {"candidate", "incumbent"} for first, second in pairs)
    assert all(before[0][0] != after[0][0] for before, after in pairwise(pairs))


def test_the_ratio_of_times_is_that_of_the_percentiles_and_the_seed_decides_its_interval() -> None:
    rng = np.random.default_rng(3)
    shared = rng.exponential(size=300)
    own, other = shared + rng.exponential(size=300), shared + rng.exponential(size=300)
    found = compare_times(1.5 * own, other, rng=np.random.default_rng(1))
    assert found.ratio.estimate == pytest.approx(1.5 * np.sort(own)[284] / np.sort(other)[284])
    assert found.ratio.low <= found.ratio.estimate <= found.ratio.high
    assert found.median_ratio.estimate == np.sort(1.5 * own / other)[149]
    assert found.median_ratio.low <= found.median_ratio.estimate <= found.median_ratio.high
    assert found.candidate.estimate == 1.5 * np.sort(own)[284]
    assert found == compare_times(1.5 * own, other, rng=np.random.default_rng(1))


def test_without_texts_or_pairs_nothing_is_measured(models: tuple[Model, Model]) -> None:
    rng = np.random.default_rng(1)
    for texts, pairs in (((), 300), (("hello",), 0)):
        found = latency_pair(*models, texts, pairs=pairs, rng=rng, stopped=never_stopped)
        ends = [(each.estimate, each.low, each.high) for each in vars(found).values()]
        assert np.isnan(ends).all()


def test_a_stop_is_obeyed_between_two_texts(models: tuple[Model, Model]) -> None:
    with pytest.raises(StoppedError):
        latency_pair(*models, CORPUS, pairs=300, rng=np.random.default_rng(1), stopped=lambda: True)


def test_a_model_of_another_size_is_surely_slower(models: tuple[Model, Model], tmp_path: Path) -> None:
    """On a busy machine, too: hence the size and the number of pairs."""
    large = load(make_model(tmp_path, LABELS, seed=3, hidden=384, layers=4))
    found = latency_pair(
        large, models[0], CORPUS, pairs=100, rng=np.random.default_rng(1), stopped=never_stopped
    )
    assert min(found.ratio.low, found.median_ratio.low) > SLOWER


def test_beside_a_busy_process_no_model_is_slower_than_one_of_its_architecture(
    models: tuple[Model, Model],
) -> None:
    """A short version of the statistical test."""
    rng = np.random.default_rng(1)
    with busy_neighbour():
        for _ in range(2):
            found = latency_pair(*models, CORPUS, pairs=300, rng=rng, stopped=never_stopped)
            assert min(found.ratio.low, found.median_ratio.low) <= SLOWER


def test_the_processor_is_named_with_the_threads() -> None:
    """The tests have one thread."""
    name, _, threads = processor(ON_CPU).rpartition(", ")
    assert name
    assert threads == "1 thread"
