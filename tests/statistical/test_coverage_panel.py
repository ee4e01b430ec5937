"""What the intervals of a labelled evaluation promise, over samples of one large population."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from distill.evaluation.label_metrics import label_metrics
from monitor.settings import MetricsSection, Misroute

_SAMPLES, _N = 2_000, 2_000
_LABELS = tuple(f"intent {number}" for number in range(10))
_SHARES = np.array([0.2, 0.18, 0.16, 0.14, 0.12, 0.1, 0.055, 0.02, 0.015, 0.01])
#: How much the confidence is overdone: an ECE of .017, and of .034.
_SHARPENED = (1.3, 2.0)
_SETTINGS = MetricsSection(
    rare_labels=_LABELS[-3:],
    misroutes=tuple(Misroute(true=label, cost=5, critical=True) for label in _LABELS[-3:]),
    resamples=500,
    seeds=(1,),
)


def _population(sharpened: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits that are the true posterior times `sharpened`, and labels, of 400,000 rows."""
    rng = np.random.default_rng(2025)
    truth = rng.choice(len(_SHARES), size=400_000, p=_SHARES)
    seen = rng.normal(size=(truth.size, len(_SHARES)))
    seen[np.arange(truth.size), truth] += 3.2
    return sharpened * (3.2 * seen + np.log(_SHARES)), truth


def _panel(logits: NDArray[np.float64], truth: NDArray[np.int64]) -> Mapping[str, tuple[float, float, float]]:
    panel = label_metrics(logits, truth, _LABELS, _SETTINGS)
    return {each.name: (each.low, each.value, each.high) for each in panel if ":" not in each.name}


@pytest.fixture(scope="module", params=_SHARPENED)
def coverage(request: pytest.FixtureRequest) -> Mapping[str, float]:
    logits, truth = _population(request.param)
    true = {name: value for name, (_low, value, _high) in _panel(logits, truth).items()}
    rng, covered = np.random.default_rng(7), Counter[str]()
    for _ in range(_SAMPLES):
        rows = rng.integers(0, truth.size, _N)
        for name, (low, _value, high) in _panel(logits[rows], truth[rows]).items():
            covered[name] += low <= true[name] <= high
    return {name: count / _SAMPLES for name, count in covered.items()}


def test_the_panels_intervals_cover_the_truth(coverage: Mapping[str, float]) -> None:
    """94-97% of all samples of 2,000 rows: 2,000 of them leave three standard errors, .015, open."""
    exact = (
        "accuracy",
        "macro_f1",
        "rare_class_accuracy",
        "critical_misroutes",
        "misroute_cost",
        "ece_debiased",
        "nll",
        "brier",
    )
    assert {name: coverage[name] for name in exact if not 0.925 <= coverage[name] <= 0.985} == {}


def test_the_debiased_ece_has_the_better_interval(coverage: Mapping[str, float]) -> None:
    """Nearer to 95%: that of the plain one lies too high as long as the model is close to calibrated."""
    assert abs(coverage["ece_debiased"] - 0.95) <= abs(coverage["ece"] - 0.95) + 0.005
