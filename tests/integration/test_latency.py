"""The 95th percentile of a model's time for one request, and its interval."""

from pathlib import Path

import numpy as np
import pytest

from monitor.latency import _p95, latency_p95_ms
from monitor.models import load
from tests.models import make_model


def test_the_latency_of_a_model_lies_in_its_interval(tmp_path: Path) -> None:
    model = load(make_model(tmp_path, ("faq", "promotion"), seed=1))
    latency = latency_p95_ms(model, ["hello", "where is my order"], runs=80)
    assert 0 < latency.low <= latency.estimate <= latency.high
    for nothing in (latency_p95_ms(model, [], runs=80), latency_p95_ms(model, ["hello"], runs=0)):
        assert np.isnan([nothing.estimate, nothing.low, nothing.high]).all()


def test_the_interval_of_a_percentile_holds_it_in_95_of_100_samples() -> None:
    """By exponential times, whose 95th percentile is ln 20; the estimate is a time that was measured."""
    rng = np.random.default_rng(2025)
    samples = rng.exponential(size=(2_000, 200)).tolist()
    found = [_p95(times) for times in samples]
    covered = np.mean([each.low <= np.log(20) <= each.high for each in found])
    assert 0.95 <= covered <= 0.985
    assert all(each.estimate in times for each, times in zip(found, samples, strict=True))


@pytest.mark.parametrize(("n", "expected"), [(1, (1, 1, 1)), (20, (17, 19, 20)), (100, (90, 95, 100))])
def test_the_bounds_are_order_statistics(n: int, expected: tuple[int, int, int]) -> None:
    found = _p95([float(rank) for rank in range(n, 0, -1)])
    assert (found.low, found.estimate, found.high) == expected
