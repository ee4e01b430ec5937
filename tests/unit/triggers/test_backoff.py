from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from triggers.backoff import MAX_ATTEMPTS, next_delay


def delays(attempts: int, count: int = 4_000) -> np.ndarray:
    rng = np.random.default_rng(2025)
    return np.array([next_delay(attempts, rng).total_seconds() for _ in range(count)])


@pytest.mark.parametrize(
    ("attempts", "ceiling"), [(1, 5), (2, 10), (3, 20), (7, 320), (8, 640), (9, 900), (10, 900), (2_000, 900)]
)
def test_delays_are_uniform_up_to_a_doubling_ceiling(attempts: int, ceiling: int) -> None:
    """Full jitter: 5 s, then twice as much each time, capped at 15 minutes."""
    seconds = delays(attempts)
    assert seconds.min() >= 0
    assert ceiling * 0.99 < seconds.max() <= ceiling
    assert seconds.mean() == pytest.approx(ceiling / 2, rel=0.05)


def test_the_same_generator_gives_the_same_delay() -> None:
    first, second = (next_delay(3, np.random.default_rng(7)) for _ in range(2))
    assert first == second


@given(st.integers(1, MAX_ATTEMPTS), st.floats(0, 86_400))
def test_a_receiver_that_asks_for_a_wait_gets_it(attempts: int, wanted: float) -> None:
    """Retry-After is a lower bound, beyond the cap too."""
    delay = next_delay(attempts, np.random.default_rng(7), retry_after_seconds=wanted)
    assert delay >= timedelta(seconds=wanted)
    assert delay <= timedelta(seconds=max(wanted, 900))
