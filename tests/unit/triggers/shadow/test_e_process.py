"""The e-processes of a shadow: their values, and how often they decide wrongly and rightly."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import binom

from triggers.shadow.e_process import ERROR_RATE, is_decided, log_e_value

COUNTS = st.integers(0, 40)


def exact(won: int, lost: int) -> Fraction:
    """The mean of the bets in exact arithmetic, with the density 12 t (1 - t) of t in (1/2, 1)."""
    terms = (
        Fraction((-1) ** k * math.comb(lost + 1, k), won + 2 + k) * (1 - Fraction(1, 2 ** (won + 2 + k)))
        for k in range(lost + 2)
    )
    return 12 * 2 ** (won + lost) * sum(terms, Fraction(0))


@given(won=COUNTS, lost=COUNTS)
def test_the_value_is_that_of_exact_arithmetic(won: int, lost: int) -> None:
    assert log_e_value(won, lost) == pytest.approx(math.log(exact(won, lost)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("counts", [(120, 90), (400, 300), (30, 45)])
def test_the_value_is_the_integral_over_the_bets(counts: tuple[int, int]) -> None:
    won, lost = counts

    def bet(t: float) -> float:
        return 12 * t * (1 - t) * math.exp(won * math.log(2 * t) + lost * math.log(2 - 2 * t))

    assert math.exp(log_e_value(won, lost)) == pytest.approx(quad(bet, 0.5, 1, epsabs=0)[0], rel=1e-6)


@given(won=COUNTS, lost=COUNTS, more=st.integers(1, 5))
def test_more_texts_won_is_more_evidence(won: int, lost: int, more: int) -> None:
    assert log_e_value(won + more, lost) > log_e_value(won, lost) > log_e_value(won, lost + more)


@given(n=st.integers(0, 60), thousandths=st.integers(0, 500))
def test_the_mean_is_at_most_one_where_no_more_is_won_than_lost(n: int, thousandths: int) -> None:
    """Exact, by the law of the number of texts that are won among n."""
    e_values = np.exp([log_e_value(won, n - won) for won in range(n + 1)])
    assert binom.pmf(np.arange(n + 1), n, thousandths / 1_000) @ e_values <= 1 + 1e-9


@given(rates=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_the_mean_is_at_most_one_where_texts_are_drawn_independently(rates: list[float]) -> None:
    """Each text that is won has one that is lost with the same probability to be in the sample."""
    law = np.ones(1)
    for rate in rates:
        law = np.convolve(law, [1 - rate, rate])
    both = np.outer(law, law)
    n = len(rates) + 1
    e_values = np.exp([[log_e_value(won, lost) for lost in range(n)] for won in range(n)])
    assert (both * e_values).sum() <= 1 + 1e-9


def test_counts_of_any_size_have_a_value() -> None:
    assert log_e_value(100_000, 10) > 1_000
    assert log_e_value(10, 100_000) == -math.inf
    assert math.isfinite(log_e_value(1_000_000, 1_000_000))


def test_twenty_decides() -> None:
    assert ERROR_RATE == 0.05
    assert is_decided(math.log(20))
    assert not is_decided(math.log(19.999))


def first_decision(share_won: float, *, cycles: int, runs: int) -> np.ndarray:
    """The cycle, from 1, at which the e-value decides, with 60 discordant texts each; 0: none does."""
    rng = np.random.default_rng(2025)
    won = np.cumsum(rng.binomial(60, share_won, (runs, cycles)), axis=1)
    texts = 60 * np.arange(1, cycles + 1)
    table = [
        np.array([is_decided(log_e_value(each, n - each)) for each in range(n + 1)]) for n in texts.tolist()
    ]
    decided = np.stack([table[cycle][won[:, cycle]] for cycle in range(cycles)], axis=1)
    return np.where(decided.any(axis=1), decided.argmax(axis=1) + 1, 0)


def test_equal_students_are_rarely_told_apart() -> None:
    """Ville: at most .05, however long it runs. The design has .012 each way over 200 cycles."""
    found = (first_decision(0.5, cycles=50, runs=4_000) > 0).mean()
    assert 0.001 < found < 0.02


@pytest.mark.parametrize(("share_won", "median", "by_the_fourth"), [(0.65, 2, 0.95), (0.75, 1, 1.0)])
def test_a_clear_difference_is_found_within_four_cycles(
    share_won: float, median: int, by_the_fourth: float
) -> None:
    found = first_decision(share_won, cycles=4, runs=2_000)
    found = np.where(found == 0, 99, found)
    assert np.median(found) == median
    assert (found <= 4).mean() >= by_the_fourth - 0.01
