"""E-detectors, against exact expectations: whoever bets on a level that holds wins nothing in the mean."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from triggers.rules.sequential import (
    MEAN_BETS,
    SHARE_BETS,
    Stratum,
    add,
    mean_log_increments,
    share_boost,
    share_log_increments,
    start,
    statistic,
)

LEVELS = st.floats(0.01, 0.3)
ALARM_THRESHOLD = 20_000.0
WINS = st.lists(st.floats(-20, 9), min_size=7, max_size=7).map(np.array)


def uniform(n: int, errors: int) -> list[Stratum]:
    return [Stratum(weight=1.0, n=n, errors=errors)]


def per_count(n: int, level: float) -> np.ndarray:
    return np.array([share_log_increments(uniform(n, k), level) for k in range(n + 1)])


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), LEVELS)
def test_gains_of_a_uniform_sample_are_likelihood_ratios(count: tuple[int, int], level: float) -> None:
    k, n = count
    rates = [level * ratio for ratio in SHARE_BETS if level * ratio < 1]
    expected = [stats.binom.logpmf(k, n, rate) - stats.binom.logpmf(k, n, level) for rate in rates]
    np.testing.assert_allclose(share_log_increments(uniform(n, k), level), expected, atol=1e-9)


@given(st.integers(1, 100), LEVELS)
def test_at_the_level_a_stake_is_kept_in_the_mean(n: int, level: float) -> None:
    law = stats.binom.pmf(np.arange(n + 1), n, level)
    np.testing.assert_allclose(law @ np.exp(per_count(n, level)), 1, atol=1e-9)


@given(
    rates=st.lists(st.integers(0, 400).map(lambda each: each / 1_000), min_size=2, max_size=2),
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=2),
    share=st.floats(0.05, 0.95),
    bound=st.floats(0.0, 0.2),
)
def test_a_stratified_sample_wins_nothing_in_the_mean_while_the_window_keeps_the_level(
    rates: list[float], sizes: list[int], share: float, bound: float
) -> None:
    """Whatever the strata's rates, if their weighted mean is at most the level: all counts enumerated."""
    weights = [part * sum(sizes) / n for part, n in zip((share, 1 - share), sizes, strict=True)]
    level = max(0.01, share * rates[0] + (1 - share) * rates[1] + bound)
    total = np.zeros(1)
    for counts in product(*(range(n + 1) for n in sizes)):
        law = np.prod([stats.binom.pmf(k, n, p) for k, n, p in zip(counts, sizes, rates, strict=True)])
        strata = [Stratum(weight=w, n=n, errors=k) for w, n, k in zip(weights, sizes, counts, strict=True)]
        total = total + law * np.exp(share_log_increments(strata, level))
    assert (total <= 1 + 1e-9).all()


@given(
    st.lists(st.floats(0, 50), min_size=1, max_size=5),
    st.lists(st.floats(0.1, 3), min_size=5, max_size=5),
    st.floats(0.05, 1),
)
def test_gains_of_a_mean_are_the_product_written_out(
    values: list[float], weights: list[float], level: float
) -> None:
    weights = weights[: len(values)]
    expected = [
        np.prod([1 + bet * (w * x / level - 1) for x, w in zip(values, weights, strict=True)])
        for bet in MEAN_BETS
    ]
    np.testing.assert_allclose(np.exp(mean_log_increments(values, level, weights)), expected, rtol=1e-9)


@given(st.floats(1e-6, 1), st.floats(0, 1), st.integers(1, 6), st.floats(0.01, 0.5))
def test_whoever_bets_on_a_mean_that_holds_wins_nothing(
    chance: float, part: float, n: int, level: float
) -> None:
    """Values of 0 or `high` with a mean of `part` of the level: all samples enumerated."""
    high = part * level / chance
    total = np.zeros(1)
    for ones in range(n + 1):
        values = [high] * ones + [0.0] * (n - ones)
        total = total + stats.binom.pmf(ones, n, chance) * np.exp(mean_log_increments(values, level))
    assert (total <= 1 + 1e-9).all()


@given(WINS, st.integers(5, 400), st.sampled_from([0.03, 0.05, 0.1]))
def test_the_boost_gives_back_what_lies_beyond_the_reach(
    log_wealth: np.ndarray, n: int, level: float
) -> None:
    """E min(reach, b S) is 1 + M at the level, and no more at any smaller rate; b is never below 1."""
    log_b = float(share_boost(log_wealth, n, level, ALARM_THRESHOLD))
    assert log_b >= 0
    after = np.exp(
        np.minimum(statistic(add(log_wealth, per_count(n, level))) + log_b, np.log(ALARM_THRESHOLD))
    )
    fair = float(np.mean(1 + np.exp(log_wealth)))
    counts = np.arange(n + 1)
    mean = stats.binom.pmf(counts, n, level) @ after
    assert mean == pytest.approx(fair, rel=1e-9) or (log_b == 0 and mean <= fair)
    for rate in (0.2 * level, 0.9 * level):
        assert stats.binom.pmf(counts, n, rate) @ after <= fair * (1 + 1e-9)


def test_the_boost_of_many_detectors_is_that_of_each() -> None:
    log_wealth = np.random.default_rng(1).normal(3, 4, size=(20, 7))
    together = share_boost(log_wealth, 5_500, 0.05, ALARM_THRESHOLD)
    np.testing.assert_allclose(
        together, [share_boost(one, 5_500, 0.05, ALARM_THRESHOLD) for one in log_wealth], rtol=1e-9
    )


def test_evidence_grows_with_the_errors_and_starts_at_nothing() -> None:
    log_increments = per_count(1_000, 0.05)
    log_wealth = add(start(log_increments), log_increments)
    np.testing.assert_allclose(log_wealth, log_increments)
    assert (np.diff(statistic(log_wealth)) > 0).all()
    assert statistic(start(log_increments[0])) == -np.inf


def test_rates_of_one_and_more_are_not_bet_on() -> None:
    assert share_log_increments(uniform(10, 5), 0.3).size == sum(0.3 * ratio < 1 for ratio in SHARE_BETS) == 6
    assert np.isfinite(share_log_increments(uniform(10, 10), 0.5)).all()


def test_a_drift_to_94_percent_is_found_as_fast_as_the_design_says() -> None:
    """Mean delays over 400 streams at n = 5,500: 2.4 cycles at .94, 1.04 at .93 (statistics.md, 4)."""
    rng = np.random.default_rng(2025)
    for agreement, expected in ((0.94, 2.4), (0.93, 1.04)):
        log_wealth = np.full((400, 7), -np.inf)
        delay = np.zeros(400)
        for cycle in range(1, 15):
            errors = rng.binomial(5_500, 1 - agreement, size=400)
            log_increments = np.array([share_log_increments(uniform(5_500, int(k)), 0.05) for k in errors])
            log_wealth = add(
                log_wealth, log_increments + share_boost(log_wealth, 5_500, 0.05, ALARM_THRESHOLD)[:, None]
            )
            delay[(delay == 0) & (statistic(log_wealth) >= np.log(ALARM_THRESHOLD))] = cycle
        assert (delay > 0).all()
        assert delay.mean() == pytest.approx(expected, abs=0.2)
