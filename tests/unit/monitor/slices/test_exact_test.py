"""Exact p-values and their correction, against scipy and against counting every draw."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitor.slices.exact_test import Weighed, false_discovery, more_frequent, upper_tail


def weighed(weights: list[float], events: list[bool]) -> Weighed:
    of, event = np.array(weights, dtype=float), np.array(events, dtype=bool)
    parts = (of[event], of[event] ** 2, of[~event], of[~event] ** 2)
    return Weighed(
        **dict(
            zip(
                ("events", "events_squared", "others", "others_squared"),
                (np.array([part.sum()]) for part in parts),
                strict=True,
            )
        )
    )


def p_of(one: tuple[int, int], other: tuple[int, int]) -> float:
    """The p-value for k of n texts in each group, all of weight 1."""
    groups = [weighed([1.0] * n, [index < k for index in range(n)]) for k, n in (one, other)]
    return float(more_frequent(*groups)[0])


@given(st.integers(2, 4_000), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_tail_is_that_of_scipy(total: int, first: float, second: float, third: float) -> None:
    n, events = 1 + int(first * (total - 1)), int(second * total)
    least, most = max(0, n + events - total), min(n, events)
    found = least + int(third * (most - least))
    p = float(upper_tail(*(np.array([float(each)]) for each in (found, n, events, total)))[0])
    if found * total > n * events:
        assert p == pytest.approx(stats.hypergeom.sf(found - 1, total, events, n), rel=1e-7, abs=1e-290)
    else:
        assert p == 1


def test_the_p_value_counts_the_draws_that_are_as_extreme() -> None:
    draws = list(combinations(range(9), 4))  # of which texts, 0 to 4, have the event
    as_extreme = sum(sum(each < 5 for each in draw) >= 3 for draw in draws)
    assert p_of((3, 4), (2, 5)) == pytest.approx(as_extreme / len(draws))


def test_equal_weights_of_any_size_count_as_one_text_each() -> None:
    """Shares of a window are small weights."""
    texts = [each < 30 for each in range(300)]
    groups = [weighed([1 / 7_001] * 300, texts), weighed([1 / 7_001] * 3_000, [False] * 2_970 + texts[:30])]
    assert float(more_frequent(*groups)[0]) == pytest.approx(p_of((30, 300), (30, 3_000)), rel=1e-9)


def test_one_heavy_event_is_one_event() -> None:
    """100 light texts without the event do not make one with a weight of 30 significant."""
    one = weighed([0.1] * 100 + [3.0], [False] * 100 + [True])
    other = weighed([1.0] * 2_000, [index < 60 for index in range(2_000)])
    assert 0.1 < float(more_frequent(one, other)[0]) < 0.2


@pytest.mark.parametrize("groups", [((0, 0), (0, 0)), ((0, 0), (3, 9)), ((0, 5), (0, 9)), ((5, 5), (9, 9))])
def test_nothing_to_compare_is_no_evidence(groups: tuple[tuple[int, int], tuple[int, int]]) -> None:
    assert p_of(*groups) == 1


@given(st.lists(st.floats(0, 1), max_size=60))
def test_q_values_are_those_of_scipy(p_values: list[float]) -> None:
    p = np.array(p_values)
    expected = stats.false_discovery_control(p, method="by") if p.size else p
    assert false_discovery(p) == pytest.approx(expected)
