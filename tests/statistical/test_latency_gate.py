"""The latency gate beside a process that takes a whole core: two students of one architecture are one."""

from pathlib import Path

import numpy as np

from db.records import Evaluation
from db.states import GateResult
from distill.evaluate import latencies
from distill.evaluation.gates import LATENCY, TEST, check
from distill.settings import GatesSection
from monitor.scoring.latency import compare_times
from monitor.scoring.models import load
from monitor.stop import never_stopped
from tests.support.processes.neighbour import busy_neighbour
from tests.support.world.models import CORPUS, make_model

TRIALS = 200


def test_the_interval_of_the_ratio_holds_the_true_one_in_about_95_of_100_samples() -> None:
    """Of times that know nothing of each other, so with as little in common as there can be."""
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(500):
        own, other = rng.lognormal(sigma=0.3, size=(2, 300))
        found = compare_times(1.2 * own, other, rng=rng).ratio
        held += found.low <= 1.2 <= found.high
    assert 0.92 <= held / 500 <= 0.99


def test_the_gate_never_separates_a_candidate_from_an_incumbent_of_its_architecture(tmp_path: Path) -> None:
    """Neither where the threshold is far below what the machine gives, nor where it is in the middle.

    A run on two cores of an AMD EPYC that other tests used too: the P95 was 4.9 to 27 ms from trial to trial,
    the ratio .56 to 1.71 (.72 to 1.31 in 95 of 100 trials), and the largest lower ends were 1.02 for the
    ratio of the P95 and 1.09 for the median one. In another run the first was 1.13 once.
    """
    candidate, incumbent = (
        load(make_model(tmp_path / str(seed), [*"abcdefghij"], seed=seed)) for seed in (1, 2)
    )
    rng = np.random.default_rng(2025)
    words = sorted({word for text in CORPUS for word in text.split()})
    texts = [" ".join(rng.choice(words, rng.integers(3, 30))) for _ in range(200)]
    results, measured = [], []
    with busy_neighbour():
        for _ in range(TRIALS):
            found = latencies(candidate, incumbent, texts, rng=rng, stopped=never_stopped)
            own = [Evaluation(dataset=TEST, metrics=found.candidate)]
            other = [Evaluation(dataset=TEST, metrics=found.incumbent)]
            for threshold in (1e-6, found.incumbent[0].value):
                judged = check(GatesSection(latency_p95_ms=threshold), own, other)
                results += [outcome.result for outcome in judged if outcome.gate == LATENCY]
            measured.append(found.candidate)
    for each in zip(*measured, strict=True):
        spread = np.quantile([metric.value for metric in each], [0, 0.025, 0.5, 0.975, 1]).round(3)
        print(each[0].name, spread, "largest lower end", max(metric.low for metric in each))  # noqa: T201
    assert len(results) == 2 * TRIALS
    assert GateResult.FAIL not in results
