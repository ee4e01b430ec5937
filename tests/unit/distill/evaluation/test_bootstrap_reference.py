"""The panel's intervals against a bootstrap that resamples rows, which is scipy's own to the last digits."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import softmax

from distill.evaluation.label_metrics import label_metrics
from monitor.settings import MetricsSection

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Reference = Mapping[str, Callable[[Floats], Floats]]

NAMES = tuple("abcd")
RESAMPLES, N = 10_000, 600


@pytest.fixture(scope="module")
def rows() -> tuple[Floats, Ints]:
    rng = np.random.default_rng(2025)
    labels = rng.choice(4, size=N, p=[0.5, 0.3, 0.15, 0.05])
    logits = rng.normal(size=(N, 4))
    logits[np.arange(N), labels] += 2
    return logits, labels


def features(logits: Floats, labels: Ints) -> tuple[Floats, Reference]:
    """(n, f) numbers of each row, and each metric as a function of their (b, f) sums over resamples."""
    p, predicted = softmax(logits, axis=1), logits.argmax(axis=1)
    right, top = predicted == labels, p.max(axis=1)
    bins = np.eye(10)[np.clip(np.ceil(top * 10).astype(int) - 1, 0, 9)]
    true, said = np.eye(4)[labels], np.eye(4)[predicted]
    table = np.column_stack([right, true + said, true * said, bins * (right - top)[:, None]])

    def macro_f1(sums: Floats) -> Floats:
        return np.asarray((2 * sums[:, 5:9] / sums[:, 1:5]).mean(axis=1))

    return table, {
        "accuracy": lambda sums: sums[:, 0] / N,
        "macro_f1": macro_f1,
        "ece": lambda sums: np.abs(sums[:, 9:]).sum(axis=1) / N,
    }


def resampled(table: Floats, seed: int) -> Floats:
    """The features' sums over scipy's own resamples: how often each row is drawn, times the features."""
    drawn = np.random.default_rng(seed).integers(0, N, size=(RESAMPLES, N))
    keys = drawn + N * np.arange(RESAMPLES)[:, None]
    return np.bincount(keys.ravel(), minlength=RESAMPLES * N).reshape(RESAMPLES, N) @ table


@pytest.fixture(scope="module")
def reference(rows: tuple[Floats, Ints]) -> Mapping[str, Floats]:
    """(seeds, 2) bounds of each metric."""
    table, metrics = features(*rows)
    bounds: dict[str, list[Floats]] = {name: [] for name in metrics}
    for seed in (2025, 2026, 2027):
        sums = resampled(table, seed)
        for name, metric in metrics.items():
            bounds[name].append(np.percentile(metric(sums), [2.5, 97.5]))
    return {name: np.array(each) for name, each in bounds.items()}


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "ece"])
def test_the_reference_is_scipys_bootstrap(
    rows: tuple[Floats, Ints], reference: Mapping[str, Floats], name: str
) -> None:
    """With its seed, to 1e-7."""
    table, metrics = features(*rows)

    def statistic(index: Ints, axis: int) -> Floats:
        del axis
        sums = table[index].sum(axis=-2)
        return metrics[name](sums.reshape(-1, table.shape[1])).reshape(sums.shape[:-1])

    found = stats.bootstrap(
        (np.arange(N),),
        statistic,
        vectorized=True,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=RESAMPLES // 20,
        rng=np.random.default_rng(2025),
    ).confidence_interval
    np.testing.assert_allclose(reference[name][0], found, rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", ["accuracy", "macro_f1", "ece"])
def test_the_panel_equals_the_reference_within_monte_carlo_noise(
    rows: tuple[Floats, Ints], reference: Mapping[str, Floats], name: str
) -> None:
    """A drawn bound wanders by about .008 widths from seed to seed, and is the mean of three; .03 allowed.

    For accuracy, whose bounds are exact, a row more or less is more than that: a row is allowed.
    """
    settings = MetricsSection(resamples=RESAMPLES)
    found = {each.name: each for each in label_metrics(*rows, NAMES, settings)}
    low, high = reference[name].mean(axis=0)
    allowed = 1.01 / N if name == "accuracy" else 0.03 * (high - low)
    assert (found[name].low, found[name].high) == pytest.approx((low, high), abs=allowed)
