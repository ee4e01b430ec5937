"""The paired difference of two models' accuracy, against its formula, plain counts and simulation."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from distill.evaluation.paired import paired_difference
from monitor.strata import Strata

Z = NormalDist().inv_cdf(0.975)


def right(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    kinds = np.repeat(np.arange(4), [both, only_first, only_second, neither])
    return np.isin(kinds, [0, 1]), np.isin(kinds, [0, 2])


@pytest.mark.parametrize("counts", [(80, 10, 5, 5), (0, 1, 0, 99), (95, 0, 0, 5), (0, 100, 0, 0)])
def test_in_a_uniform_sample_it_is_bonett_and_prices_formula(counts: tuple[int, int, int, int]) -> None:
    """As printed: with one added to each kind of discordant pair, and two to the number of pairs."""
    n = sum(counts)
    found = paired_difference(*right(*counts), Strata.one(n))
    gained, lost = (counts[1] + 1) / (n + 2), (counts[2] + 1) / (n + 2)
    width = Z * math.sqrt((gained + lost - (gained - lost) ** 2) / (n + 2))
    assert found.estimate == (counts[1] - counts[2]) / n
    assert found.low == pytest.approx(max(-1, gained - lost - width))
    assert found.high == pytest.approx(min(1, gained - lost + width))


def test_exchanging_the_models_changes_the_sign() -> None:
    first, second = right(50, 20, 8, 22)
    one, other = (paired_difference(*pair, Strata.one(100)) for pair in ((first, second), (second, first)))
    assert (one.estimate, one.low, one.high) == pytest.approx((-other.estimate, -other.high, -other.low))


def test_each_stratum_counts_its_share_of_the_window() -> None:
    """Of 900 and 100 requests, 50 each are in the sample; the first model gains 10 in the second stratum."""
    first = np.ones(100, dtype=bool)
    second = np.arange(100) < 90
    strata = Strata(sizes=(900, 100), of=np.arange(100) // 50)
    assert paired_difference(first, second, strata).estimate == pytest.approx(0.1 * 10 / 50)


def test_without_requests_nothing_is_known() -> None:
    nothing = np.zeros(0, dtype=bool)
    assert math.isnan(paired_difference(nothing, nothing, Strata.one(0)).low)


@pytest.mark.parametrize(("gain", "loss"), [(0.02, 0.02), (0.10, 0.03), (0.30, 0.02)])
def test_the_interval_covers_the_difference_in_95_percent_or_more(gain: float, loss: float) -> None:
    rng = np.random.default_rng(8)
    n, covered = 200, 0
    for _ in range(1_000):
        kind = rng.choice(3, size=n, p=[gain, loss, 1 - gain - loss])
        found = paired_difference(kind != 1, kind != 0, Strata.one(n))
        covered += found.low <= gain - loss <= found.high
    assert covered / 1_000 >= 0.94
