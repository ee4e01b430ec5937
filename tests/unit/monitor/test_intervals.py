"""Intervals against closed forms, brute force and scipy's bootstrap."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from db.records import Interval
from monitor.intervals import (
    CountError,
    SampleValuesError,
    binomial_bootstrap,
    bootstrap_mean,
    multinomial_bootstrap,
    wilson,
)
from triggers.wilson import ConfidenceError

COUNTS = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
CONFIDENCES = st.floats(0.5, 0.999)


def bounds(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


def scipy_bootstrap(values: NDArray[np.float64], seed: int) -> tuple[float, float]:
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=10_000,
        method="percentile",
        batch=500,
        rng=np.random.default_rng(seed),
    )
    return found.confidence_interval


@given(COUNTS, CONFIDENCES)
def test_wilson_equals_scipys(count: tuple[int, int], confidence: float) -> None:
    """Estimate and bounds, from no success to all."""
    found = wilson(*count, confidence=confidence)
    expected = stats.binomtest(*count).proportion_ci(confidence, method="wilson")
    assert found.estimate == count[0] / count[1]
    assert bounds(found) == pytest.approx(tuple(expected), abs=1e-12)


@given(COUNTS)
def test_wilson_stays_inside_zero_and_one_and_has_a_length(count: tuple[int, int]) -> None:
    found = wilson(*count)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert found.low < found.high


@given(COUNTS, CONFIDENCES)
@example((40, 80), 0.5)
def test_binomial_bootstrap_is_the_binomials_quantiles(count: tuple[int, int], confidence: float) -> None:
    """Where there are 40 of either kind; else it is Wilson's."""
    successes, n = count
    found = binomial_bootstrap(successes, n, confidence=confidence)
    if min(successes, n - successes) < 40:
        assert found == wilson(successes, n, confidence=confidence)
    else:
        tail = (1 - confidence) / 2
        law = stats.binom(n, successes / n)
        assert bounds(found) == (law.ppf(tail) / n, law.ppf(1 - tail) / n)


def test_binomial_bootstrap_equals_scipys_bootstrap() -> None:
    """To two counts of 5,500, scipy's Monte-Carlo noise."""
    hits = np.r_[np.ones(5357), np.zeros(143)]
    assert bounds(binomial_bootstrap(5357, 5500)) == pytest.approx(
        scipy_bootstrap(hits, 2025), abs=2.01 / 5500
    )


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ([0.0, 1.0], "two values"),
        ([0.0, 0.0, 1.0], "mass at the lower end, and an atom of 1/27 at the upper"),
        ([1.0, 1.0, 0.0], "the mirror image"),
        ([0.1, 0.3, 7.0, 2.0], "values between the lattice's points"),
        ([0.0, 0.0, 0.0, 0.0, 1e6], "one enormous value"),
        ([-3.0, -1.0, -2.5, 4.0, 4.0], "negative values"),
        ([1e-300, 3e-300, 2e-300], "tiny values"),
    ],
)
def test_bootstrap_mean_of_few_values_equals_enumerating_all_resamples(values: list[float], why: str) -> None:
    """All nⁿ resamples; quantiles as the smallest mean with that much mass up to it."""
    means = np.array([math.fsum(resample) for resample in product(values, repeat=len(values))])
    low, high = np.quantile(means / len(values), [0.025, 0.975], method="inverted_cdf")
    spread = max(values) - min(values)
    assert bounds(bootstrap_mean(values)) == pytest.approx((low, high), abs=1e-3 * spread), why


@pytest.mark.parametrize(
    ("draw", "n"),
    [
        (lambda rng, n: rng.exponential(0.083, n), 5500),
        (lambda rng, n: rng.gamma(0.16, 0.083 / 0.16, n), 1000),
        (lambda rng, n: rng.lognormal(-3.5, 2.0, n), 300),
        (lambda rng, n: rng.pareto(1.5, n), 200),
    ],
    ids=["exponential", "cv 2.5", "lognormal", "pareto"],
)
def test_bootstrap_mean_equals_scipys_within_its_noise(
    draw: Callable[[np.random.Generator, int], NDArray[np.float64]], n: int
) -> None:
    """A bound of scipy's wanders by about .027 standard errors (B = 10,000); .12 are allowed."""
    values = draw(np.random.default_rng(7), n)
    standard_error = float(values.std()) / math.sqrt(n)
    for seed in (2025, 2026, 2027):
        expected = scipy_bootstrap(values, seed)
        assert bounds(bootstrap_mean(values)) == pytest.approx(expected, abs=0.12 * standard_error)


@pytest.mark.parametrize("n", [800, 1000, 100_000])
def test_bootstrap_mean_of_zeros_and_ones_is_the_binomial_bootstrap(n: int) -> None:
    """Two-valued samples lie on the lattice, so nothing is lost on it."""
    ones = n // 20
    values = np.r_[np.ones(ones), np.zeros(n - ones)]
    assert bounds(bootstrap_mean(values)) == pytest.approx(bounds(binomial_bootstrap(ones, n)))


def test_bootstrap_mean_of_many_values_is_normal() -> None:
    """At n = 300,000 the lattice has grown: the bounds are 1.96 standard errors away."""
    values = np.random.default_rng(3).exponential(size=300_000)
    found = bootstrap_mean(values)
    standard_error = float(values.std()) / math.sqrt(values.size)
    reach = np.array([found.estimate - found.low, found.high - found.estimate]) / standard_error
    np.testing.assert_allclose(reach, 1.96, atol=0.01)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), CONFIDENCES)
def test_bootstrap_mean_stays_among_its_values(values: list[float], confidence: float) -> None:
    found = bootstrap_mean(values, confidence=confidence)
    slack = 1e-9 * max(1.0, *map(abs, values))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    assert found.estimate == pytest.approx(math.fsum(values) / len(values), abs=slack)


@pytest.mark.parametrize("values", [[0.3], [0.1] * 7])
def test_bootstrap_mean_of_equal_values_has_no_length(values: list[float]) -> None:
    """One value, too: no resample can differ."""
    value = values[0]
    assert bootstrap_mean(values) == Interval(estimate=value, low=value, high=value)


def test_a_higher_confidence_is_a_wider_interval() -> None:
    values = np.random.default_rng(5).exponential(size=400)
    for narrow, wide in [
        (wilson(30, 40, confidence=0.9), wilson(30, 40, confidence=0.99)),
        (binomial_bootstrap(30, 40, confidence=0.9), binomial_bootstrap(30, 40, confidence=0.99)),
        (bootstrap_mean(values, confidence=0.9), bootstrap_mean(values, confidence=0.99)),
    ]:
        assert wide.low < narrow.low < narrow.high < wide.high


def test_multinomial_bootstrap_gives_each_statistic_its_interval() -> None:
    """The share in one cell and in two are binomial, and come from the same resamples."""
    cells = [700, 200, 100]

    def share(*which: int) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
        return lambda counts: counts[:, which].sum(axis=1) / 1000

    first, outer, inner = multinomial_bootstrap(
        cells, [share(0), share(0, 2), share(1)], rng=np.random.default_rng(2025)
    )
    assert bounds(first) == pytest.approx(bounds(binomial_bootstrap(700, 1000)), abs=0.003)
    assert bounds(outer) == pytest.approx(bounds(binomial_bootstrap(800, 1000)), abs=0.003)
    assert (1 - outer.high, 1 - outer.low) == pytest.approx(bounds(inner), abs=1e-12)
    assert (first.estimate, outer.estimate, inner.estimate) == (0.7, 0.8, 0.2)


def test_multinomial_bootstrap_draws_as_many_resamples_as_asked() -> None:
    """In blocks when there are many cells, without one too many or too few."""
    seen = []

    def first_share(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        seen.append(len(counts))
        return counts[:, 0] / counts.sum(axis=1)

    cells = np.full(2000, 3)
    multinomial_bootstrap(cells, [first_share], rng=np.random.default_rng(1), resamples=2500)
    assert sorted(seen) == [1, 403, 2097]


def test_multinomial_bootstrap_repeats_itself_with_the_same_generator() -> None:
    def share(counts: NDArray[np.int64]) -> NDArray[np.float64]:
        return counts[:, 0] / counts.sum(axis=1)

    one, same, other = (
        multinomial_bootstrap([31, 72], [share], rng=np.random.default_rng(seed), resamples=200)
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


@pytest.mark.parametrize(
    "nothing",
    [
        lambda: wilson(0, 0),
        lambda: binomial_bootstrap(0, 0),
        lambda: bootstrap_mean([]),
        lambda: multinomial_bootstrap([], [np.sum], rng=np.random.default_rng(1))[0],
    ],
    ids=["wilson", "binomial", "mean", "multinomial"],
)
def test_nothing_to_estimate_from_is_nan(nothing: Callable[[], Interval]) -> None:
    found = nothing()
    assert all(map(math.isnan, (found.estimate, found.low, found.high)))


@pytest.mark.parametrize("interval", [wilson, binomial_bootstrap])
@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, -1)])
def test_impossible_counts_are_refused(
    interval: Callable[[int, int], Interval], successes: int, n: int
) -> None:
    with pytest.raises(CountError, match=f"{successes} of {n}"):
        interval(successes, n)


@pytest.mark.parametrize(
    ("values", "message"),
    [([0.1, math.nan], "number 1 is not finite"), ([[0.1]], r"shape is \(1, 1\)")],
)
def test_unusable_values_have_no_mean(values: ArrayLike, message: str) -> None:
    with pytest.raises(SampleValuesError, match=message):
        bootstrap_mean(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, math.nan])
def test_a_confidence_lies_between_zero_and_one(confidence: float) -> None:
    for interval in (
        lambda: wilson(1, 2, confidence=confidence),
        lambda: binomial_bootstrap(1, 2, confidence=confidence),
        lambda: bootstrap_mean([1.0, 2.0], confidence=confidence),
    ):
        with pytest.raises(ConfidenceError, match="between 0 and 1"):
            interval()
