"""What a stratified sample says about its window: exactly, without bias, and how surely."""

import math
from fractions import Fraction

import numpy as np
import pytest

from monitor.intervals import SampleValuesError, bootstrap_mean, wilson
from monitor.strata import Strata, StrataError
from triggers.wilson import score_interval


def test_a_uniform_sample_is_one_stratum() -> None:
    strata = Strata.one(1_000)
    assert strata.weights.tolist() == [1.0] * 1_000
    assert strata.n_effective == 1_000
    assert score_interval(0.95, strata.n_effective) == wilson(950, 1_000)


def test_a_tie_stays_a_tie() -> None:
    """Thirds of strata add up to exactly 0.95, which doubles would miss."""
    strata = Strata(sizes=(700, 200, 100), of=np.repeat([0, 1, 2], 30))
    holds = np.ones(90, dtype=bool)
    holds[30:33], holds[60:69] = False, False  # 0.2 / 10 + 0.1 * 3 / 10 = 0.05
    assert strata.share(holds) == Fraction(19, 20)


def test_the_mean_of_a_stratified_sample_would_be_biased_without_weights() -> None:
    """10% of rare labels, half of the sample: 0.9 * 0.99 + 0.1 * 0.85 is .976 and not .92."""
    strata = Strata(sizes=(9_000, 1_000), of=np.repeat([0, 1], 100))
    holds = np.ones(200, dtype=bool)
    holds[:1], holds[100:115] = False, False
    assert strata.share(holds) == Fraction(976, 1_000)
    assert strata.n_effective == pytest.approx(1 / (0.81 / 100 + 0.01 / 100))


def test_a_stratum_without_requests_leaves_its_share_to_the_others() -> None:
    strata = Strata(sizes=(800, 100, 100), of=np.array([0, 2]))
    assert strata.share(np.array([True, False])) == Fraction(8, 9)
    assert strata.weights.sum() == pytest.approx(2)


@pytest.mark.parametrize(
    ("sizes", "of", "problem"),
    [((2,), [0, 1], "none of them"), ((2,), [-1], "none of them"), ((1, 5), [0, 0], "more requests of one")],
)
def test_strata_that_do_not_fit_are_refused(sizes: tuple[int, ...], of: list[int], problem: str) -> None:
    with pytest.raises(StrataError, match=problem):
        Strata(sizes=sizes, of=np.array(of))


def test_no_requests_have_no_share() -> None:
    nothing = Strata(sizes=(5,), of=np.array([], dtype=np.intp))
    assert nothing.n_effective == 0
    assert math.isnan(bootstrap_mean([], strata=nothing).estimate)
    with pytest.raises(StrataError, match="no requests"):
        nothing.share(np.array([], dtype=bool))


def test_strata_of_another_number_of_values_are_refused() -> None:
    with pytest.raises(SampleValuesError, match="strata are for 3"):
        bootstrap_mean([1.0, 2.0], strata=Strata.one(3))


def test_the_stratified_bootstrap_equals_drawing_within_each_stratum() -> None:
    """Against 40,000 resamples of three strata of different sizes, spreads and weights."""
    rng = np.random.default_rng(2025)
    strata = Strata(sizes=(50_000, 9_000, 1_000), of=np.repeat([0, 1, 2], [300, 150, 80]))
    values = rng.gamma(0.2, np.array([0.3, 0.8, 2.0])[strata.of])
    scaled = values * strata.weights
    means = np.zeros(40_000)
    for stratum in range(3):
        group = scaled[strata.of == stratum]
        means += rng.choice(group, size=(40_000, group.size)).sum(axis=1)
    low, high = np.quantile(means / 530, [0.025, 0.975])
    found = bootstrap_mean(values, strata=strata)
    assert found.estimate == pytest.approx(np.average(values, weights=strata.weights))
    deviation = (means / 530).std()
    assert (found.low, found.high) == (
        pytest.approx(low, abs=0.05 * deviation),
        pytest.approx(high, abs=0.05 * deviation),
    )


def test_strata_of_equal_values_leave_no_length() -> None:
    strata = Strata(sizes=(90, 10), of=np.repeat([0, 1], 5))
    found = bootstrap_mean([1.0] * 5 + [3.0] * 5, strata=strata)
    assert (found.low, found.high) == (found.estimate, found.estimate)
    assert found.estimate == pytest.approx(1.2)


def test_requests_that_were_drawn_together_count_as_one() -> None:
    """Three texts of 6, 3 and 1 requests are as precise as (6 + 3 + 1)² / (36 + 9 + 1) single requests."""
    strata = Strata(sizes=(10,), of=np.zeros(10, dtype=np.intp), clusters=np.repeat([4, 0, 7], [6, 3, 1]))
    assert strata.n_effective == pytest.approx(100 / 46)
    assert strata.n_effective_of(np.arange(10) < 9) == pytest.approx(81 / 45)
    assert strata.share(np.arange(10) < 6) == Fraction(6, 10)


def test_clusters_of_one_request_change_nothing() -> None:
    rng = np.random.default_rng(2025)
    values, of = rng.exponential(0.1, 200), np.zeros(200, dtype=np.intp)
    plain, clustered = Strata(sizes=(900,), of=of), Strata(sizes=(900,), of=of, clusters=np.arange(200))
    assert clustered.n_effective == pytest.approx(plain.n_effective)
    expected, found = (bootstrap_mean(values, strata=each) for each in (plain, clustered))
    assert (found.estimate, found.low, found.high) == pytest.approx(
        (expected.estimate, expected.low, expected.high), rel=1e-3
    )


def test_the_interval_of_a_mean_resamples_whole_clusters() -> None:
    """Compared with 20,000 resamples of whole texts, each with its own ratio of sum and number."""
    rng = np.random.default_rng(2025)
    sizes = rng.geometric(0.2, 400)
    of_texts = rng.exponential(0.1, 400)
    values, clusters = np.repeat(of_texts, sizes), np.repeat(np.arange(400), sizes)
    strata = Strata(sizes=(values.size,), of=np.zeros(values.size, dtype=np.intp), clusters=clusters)
    drawn = rng.integers(400, size=(20_000, 400))
    means = (of_texts * sizes)[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    found = bootstrap_mean(values, strata=strata)
    assert found.estimate == pytest.approx(values.mean())
    standard_error = means.std()
    low, high = np.quantile(means, [0.025, 0.975])
    assert abs(found.low - low) < 0.15 * standard_error
    assert abs(found.high - high) < 0.15 * standard_error
    of_requests = bootstrap_mean(values)
    assert found.high - found.low > 2 * (of_requests.high - of_requests.low)


def test_each_request_has_a_cluster() -> None:
    with pytest.raises(StrataError, match="2 of 3 requests have a cluster"):
        Strata(sizes=(3,), of=np.zeros(3, dtype=np.intp), clusters=np.array([0, 1]))


def test_some_of_the_requests_keep_their_clusters() -> None:
    strata = Strata(sizes=(5, 5), of=np.array([0, 0, 1]), clusters=np.array([2, 2, 1])).at(np.array([0, 2]))
    assert strata.of.tolist() == [0, 1]
    assert strata.clusters is not None
    assert strata.clusters.tolist() == [2, 1]
