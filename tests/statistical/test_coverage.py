"""What the intervals and the sample promise, over many samples."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from db.records import Interval
from distill.evaluation.label_metrics import label_metrics
from monitor.intervals import binomial_bootstrap, bootstrap_mean, wilson
from monitor.sampling import sample
from monitor.settings import MetricsSection


@pytest.mark.parametrize("interval", [wilson, binomial_bootstrap])
@pytest.mark.parametrize(
    ("n", "share"), [(1000, 0.9), (1000, 0.95), (5500, 0.905), (5500, 0.95), (5500, 0.974)]
)
def test_intervals_of_a_share_cover_it(
    interval: Callable[[int, int], Interval], n: int, share: float
) -> None:
    """94-97% of the time, exactly: summed over all counts that matter, with their probabilities."""
    assert 0.94 <= _coverage(interval, n, share) <= 0.97


def _coverage(interval: Callable[[int, int], Interval], n: int, share: float) -> float:
    law = stats.binom(n, share)
    counts = np.arange(law.ppf(1e-9), law.ppf(1 - 1e-9) + 1, dtype=int)
    found = [interval(int(count), n) for count in counts]
    return float(law.pmf(counts) @ [one.low <= share <= one.high for one in found])


@pytest.mark.parametrize("interval", [wilson, binomial_bootstrap])
@pytest.mark.parametrize("n", [1000, 5500])
@pytest.mark.parametrize("rare", [3, 6, 10, 15, 20, 30, 40, 60])
def test_intervals_of_a_share_cover_it_near_zero_and_one(
    interval: Callable[[int, int], Interval], n: int, rare: int
) -> None:
    """94-97% in the mean over shares at which so many rare outcomes are expected, 92% at each; exactly.

    The coverage of any interval of a share jumps from share to share.
    """
    shares = rare / n * np.linspace(0.85, 1.15, 13)
    for at_the_end in (shares, 1 - shares):
        covered = [_coverage(interval, n, float(share)) for share in at_the_end]
        assert 0.94 <= np.mean(covered) <= 0.97
        assert min(covered) >= 0.92


def test_a_percentile_interval_of_a_rare_share_would_be_too_short() -> None:
    """Why Wilson's is taken there: of four rare outcomes the bootstrap's covers about 90%."""

    def bootstrapped(successes: int, n: int) -> Interval:
        law = stats.binom(n, successes / n)
        return Interval(estimate=successes / n, low=law.ppf(0.025) / n, high=law.ppf(0.975) / n)

    covered = [_coverage(bootstrapped, 1000, rare / 1000) for rare in (3.6, 4.0, 4.4)]
    assert np.mean(covered) < 0.92


@pytest.mark.parametrize(("n", "cv"), [(1000, 1.0), (5500, 2.5)])
def test_the_interval_of_mean_kl_covers_it(n: int, cv: float) -> None:
    """94-97% of 4,000 samples of gamma-distributed KL with mean 0.083, as skewed as it is."""
    assert 0.94 <= _coverage_of_mean_kl(n, cv) <= 0.97


def test_the_interval_of_mean_kl_is_a_little_short_where_few_requests_are_most_of_it() -> None:
    """As docs/metrics.md says: no bootstrap sees in 1,000 requests how skewed a KL with a CV of 5 is."""
    assert 0.915 <= _coverage_of_mean_kl(1000, 5.0) < 0.94


def _coverage_of_mean_kl(n: int, cv: float) -> float:
    rng = np.random.default_rng(2025)
    covered = 0
    for _ in range(4000):
        found = bootstrap_mean(rng.gamma(1 / cv**2, 0.083 * cv**2, size=n))
        covered += found.low <= 0.083 <= found.high
    return covered / 4000


FEW = MetricsSection(resamples=100, seeds=(1,))


def calibrated_rows(
    rng: np.random.Generator, n: int, overconfidence: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Two-class logits, and labels that are class 0 with its probability less `overconfidence`."""
    confidence = 1 - 0.45 * rng.beta(0.6, 4, size=n)
    labels = (rng.random(n) >= confidence - overconfidence).astype(np.int64)
    return np.log(np.column_stack([confidence, 1 - confidence])), labels


@pytest.mark.parametrize(("overconfidence", "n"), [(0.0, 500), (0.0, 5500), (0.05, 500)])
def test_debiased_ece_is_nearer_to_the_truth(overconfidence: float, n: int) -> None:
    """On average, for a perfectly calibrated model and for one that is .05 overconfident."""
    rng = np.random.default_rng(2025)
    found = []
    for _ in range(300):
        panel = label_metrics(*calibrated_rows(rng, n, overconfidence), ["a", "b"], FEW)
        found.append({metric.name: metric.value for metric in panel})
    bias = abs(np.mean([one["ece"] for one in found]) - overconfidence)
    debiased = abs(np.mean([one["ece_debiased"] for one in found]) - overconfidence)
    assert debiased <= 0.7 * bias


def test_every_request_is_sampled_equally_often() -> None:
    """With 20,000 keys, 10 of 50 consecutive ids: chi-square of the counts per id."""
    ids = [f"r-{number}" for number in range(50)]
    drawn = np.concatenate([sample(ids, 10, f"key {seed}") for seed in range(20_000)])
    counts = np.bincount(drawn, minlength=50)
    share = 10 / 50
    spread = 20_000 * share * (1 - share)
    statistic = ((counts - 20_000 * share) ** 2).sum() / spread * (49 / 50)
    assert 1e-3 < stats.chi2.sf(statistic, 49) < 1 - 1e-3


def test_pairs_of_requests_are_sampled_independently() -> None:
    """Neighbours come together as often as sampling without replacement has them."""
    ids = [f"r-{number}" for number in range(50)]
    together = 0
    for seed in range(20_000):
        chosen = np.zeros(51, dtype=bool)
        chosen[sample(ids, 10, f"key {seed}")] = True
        together += int((chosen[:-1] & chosen[1:]).sum())
    expected = 20_000 * 49 * (10 / 50) * (9 / 49)
    assert together == pytest.approx(expected, abs=4 * math.sqrt(expected))
