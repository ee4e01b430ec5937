"""How far two mixes of labels lie apart, against the formulas and the law of the interval."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from monitor.reference.label_mix import LabelMixError, compare_mixes

THEN = (0.5, 0.3, 0.12, 0.08)
NOW = (0.4, 0.25, 0.3, 0.05)

mixes = st.lists(st.integers(0, 50), min_size=3, max_size=3).filter(any)


def shares(counts: list[int]) -> list[float]:
    return [count / sum(counts) for count in counts]


def test_both_are_the_formulas_less_what_chance_gives() -> None:
    found = compare_mixes(THEN, NOW, n_then=2_000, n_now=1_000)
    by_chance = 3 * (1 / 2_000 + 1 / 1_000)
    smooth = [[(n * each + 0.5) / (n + 2) for each in mix] for mix, n in ((THEN, 2_000), (NOW, 1_000))]
    psi = sum((p - q) * math.log(p / q) for p, q in zip(*smooth, strict=True))
    assert found.psi.estimate == pytest.approx(psi - by_chance)
    assert found.js.estimate == pytest.approx(jensenshannon(THEN, NOW) ** 2 - by_chance / 8)


def test_an_interval_ends_where_the_law_puts_a_fortieth_beyond_what_was_found() -> None:
    found = compare_mixes(THEN, NOW, n_then=2_000, n_now=1_000)
    scale = 8 / (1 / 2_000 + 1 / 1_000)
    x = jensenshannon(THEN, NOW) ** 2 * scale
    assert stats.ncx2.sf(x, 3, found.js.low * scale) == pytest.approx(0.025)
    assert stats.ncx2.cdf(x, 3, found.js.high * scale) == pytest.approx(0.025)


def test_a_mix_that_has_not_moved_is_at_0_and_may_have_moved_a_little() -> None:
    found = compare_mixes(THEN, THEN, n_then=1_000, n_now=1_000)
    for interval in (found.psi, found.js):
        assert interval.estimate == interval.low == 0
        assert 0 < interval.high < 0.05


@pytest.mark.parametrize(("then", "now"), [((1.0, 0.0), (0.6, 0.4)), ((0.0, 1.0), (1.0, 0.0))])
def test_a_label_that_is_absent_on_a_side_makes_nothing_infinite(
    then: tuple[float, ...], now: tuple[float, ...]
) -> None:
    found = compare_mixes(then, now, n_then=1_000, n_now=500)
    assert 0.1 < found.js.low <= found.js.estimate <= found.js.high <= math.log(2)
    assert 0.5 < found.psi.low <= found.psi.estimate <= found.psi.high < 20


def test_one_label_alone_has_not_moved() -> None:
    found = compare_mixes([1.0, 0.0], [1.0, 0.0], n_then=400, n_now=400)
    assert (found.psi.estimate, found.js.estimate) == (0, 0)
    assert 0 < found.psi.high < 0.1


def test_labels_that_are_rare_in_both_count_as_one() -> None:
    many = compare_mixes(
        [0.9, *[0.001] * 100, 0.0], [0.8, *[0.002] * 50, *[0.0] * 50, 0.1], n_then=1_000, n_now=1_000
    )
    one = compare_mixes([0.9, 0.1, 0.0], [0.8, 0.1, 0.1], n_then=1_000, n_now=1_000)
    assert many.psi.estimate == pytest.approx(one.psi.estimate)
    assert many.js.estimate == pytest.approx(one.js.estimate)


@pytest.mark.parametrize(
    ("then", "now", "n", "problem"),
    [
        ([0.5, 0.5], [1.0], 10, r"\(2,\) and \(1,\)"),
        ([[0.5, 0.5]], [[0.5, 0.5]], 10, r"\(1, 2\)"),
        ([0.5, 0.4], [0.5, 0.5], 10, "shares of 10 requests add up to 0.9"),
        ([1.5, -0.5], [0.5, 0.5], 10, "add up to 1"),
        ([0.5, 0.5], [0.5, 0.5], 0, "shares of 0 requests"),
    ],
)
def test_what_is_no_pair_of_mixes_is_refused(
    then: list[float], now: list[float], n: float, problem: str
) -> None:
    with pytest.raises(LabelMixError, match=problem):
        compare_mixes(then, now, n_then=n, n_now=10)


@given(then=mixes, now=mixes, n_then=st.floats(1, 1e5), n_now=st.floats(1, 1e5))
def test_both_are_symmetric_finite_and_between_their_bounds(
    then: list[int], now: list[int], n_then: float, n_now: float
) -> None:
    found = compare_mixes(shares(then), shares(now), n_then=n_then, n_now=n_now)
    back = compare_mixes(shares(now), shares(then), n_then=n_now, n_now=n_then)
    for interval, twin in ((found.psi, back.psi), (found.js, back.js)):
        assert 0 <= interval.low <= interval.estimate <= interval.high < math.inf
        assert np.allclose(
            (interval.estimate, interval.low, interval.high), (twin.estimate, twin.low, twin.high)
        )
