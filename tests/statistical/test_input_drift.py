"""Input drift says what it claims to: p-values hold without drift, real drift is found, intervals cover."""

import math

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from db.records import Interval
from monitor.reference.input_drift import two_sample_test
from monitor.reference.label_mix import compare_mixes
from monitor.strata import Strata
from redistill.demo.utterances import generate

Floats = NDArray[np.float64]

STREAMS = 2_000
ZIPF = 1 / np.arange(1, 11) / (1 / np.arange(1, 11)).sum()
MANY = 1 / np.arange(1, 151) / (1 / np.arange(1, 151)).sum()


def moved(mix: Floats, label: int, by: float) -> Floats:
    changed = mix + by * (np.arange(mix.size) == label)
    return np.asarray(changed / changed.sum())


@pytest.mark.slow
def test_without_drift_a_p_value_is_as_small_as_it_says_no_more_often_than_it_says() -> None:
    """Texts of 6 words of a law of Zipf, 40 against 50; and not much less often, so it wastes nothing."""
    rng = np.random.default_rng(2025)
    values = []
    for _ in range(STREAMS):
        texts = (rng.zipf(1.4, size=(90, 6)) % 500).tolist()
        values.append(two_sample_test(texts[:40], texts[40:], rng=rng, permutations=99).p_value)
    for level in (0.01, 0.05, 0.1, 0.2, 0.5):
        found, band = np.mean(np.array(values) <= level), 4 * math.sqrt(level * (1 - level) / STREAMS)
        assert level * 0.7 - band <= found <= level + band, (level, found)


@pytest.mark.slow
@pytest.mark.parametrize(("share", "n", "least"), [(0.3, 500, 0.6), (0.22, 1_000, 0.7), (0.3, 1_000, 0.9)])
def test_the_drift_of_the_demo_is_found(share: float, n: int, least: float) -> None:
    """By the words themselves, in 20 pairs of windows."""
    rng = np.random.default_rng(2025)
    words: dict[str, int] = {}

    def texts(shift: float) -> list[list[int]]:
        return [
            [words.setdefault(word, len(words)) for word in each.text.lower().split()]
            for each in generate(n, shift=shift, rng=rng)
        ]

    found = [two_sample_test(texts(0.0), texts(share), rng=rng, permutations=199) for _ in range(20)]
    assert np.mean([each.p_value <= 0.05 for each in found]) >= least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "now"),
    [
        (ZIPF, ZIPF),
        (ZIPF, moved(ZIPF, 4, 0.02)),
        (ZIPF, moved(ZIPF, 2, 0.15)),
        (ZIPF, ZIPF[::-1]),
        (MANY, MANY),
        (np.array([0.5, 0.5]), np.array([0.5, 0.5])),
    ],
    ids=["as it was", "a little", "one label doubled", "reversed", "150 labels as they were", "two labels"],
)
@pytest.mark.parametrize(("n_then", "n_now"), [(1_500, 1_500), (10_000, 1_000)])
def test_the_intervals_cover_the_truth(then: Floats, now: Floats, n_then: int, n_now: int) -> None:
    rng = np.random.default_rng(2025)
    found = [
        compare_mixes(
            rng.multinomial(n_then, then) / n_then,
            rng.multinomial(n_now, now) / n_now,
            n_then=n_then,
            n_now=n_now,
        )
        for _ in range(STREAMS)
    ]
    psi, js = truth(then, now)
    assert coverage([each.psi for each in found], psi) >= 0.92
    assert coverage([each.js for each in found], js) >= 0.92


@pytest.mark.slow
def test_the_intervals_of_stratified_samples_cover_the_truth() -> None:
    """A tenth of the window fills half of the sample; its labels are others than those of the rest."""
    rng = np.random.default_rng(2025)
    of_strata = [ZIPF, ZIPF[::-1]]
    drifted = [moved(ZIPF, 3, 0.05), ZIPF[::-1]]
    strata = Strata(sizes=(90_000, 10_000), of=np.repeat([0, 1], 1_000))

    def drawn(laws: list[Floats]) -> Floats:
        labels = np.concatenate([rng.choice(10, size=1_000, p=law) for law in laws])
        return np.bincount(labels, strata.weights, minlength=10) / 2_000

    n = strata.n_effective
    found = [compare_mixes(drawn(of_strata), drawn(drifted), n_then=n, n_now=n) for _ in range(STREAMS)]
    psi, js = truth(*(0.9 * laws[0] + 0.1 * laws[1] for laws in (of_strata, drifted)))
    assert coverage([each.psi for each in found], psi) >= 0.92
    assert coverage([each.js for each in found], js) >= 0.92


def truth(then: ArrayLike, now: ArrayLike) -> tuple[float, float]:
    p, q = np.asarray(then), np.asarray(now)
    middle = (p + q) / 2
    js = (p * np.log(p / middle)).sum() + (q * np.log(q / middle)).sum()
    return float(((p - q) * np.log(p / q)).sum()), float(js) / 2


def coverage(intervals: list[Interval], value: float) -> float:
    return float(np.mean([each.low <= value <= each.high for each in intervals]))
