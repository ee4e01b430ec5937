"""The intervals of estimated accuracy where texts repeat by a Zipf law, each text with one true label."""

from dataclasses import replace
from typing import Final

import numpy as np
import pytest

from db.records import AccuracyEstimates, Interval
from monitor.labels.estimated_accuracy import estimate
from monitor.strata import Strata

_RUNS: Final = 1_000
_SAMPLE: Final = 3_000
_TEXTS: Final = 20_000
_LABELS: Final = 200
_CALIBRATION: Final = 1_000_000  #: rows: only the sample is uncertain


def _window(exponent: float, rng: np.random.Generator, *, by_text: bool) -> tuple[AccuracyEstimates, float]:
    """Return the estimates from a sample, by a calibrated teacher, and the accuracy of all traffic."""
    of_traffic = 1 / np.arange(1, _TEXTS + 1) ** exponent
    of_traffic /= of_traffic.sum()
    expected = rng.beta(8, 0.6, _TEXTS).clip(1e-6, 1 - 1e-6)
    right = rng.random(_TEXTS) < expected
    texts = rng.choice(_TEXTS, _SAMPLE, p=of_traffic)
    strata = Strata.one(_SAMPLE)
    found = estimate(
        np.column_stack([np.log(expected), np.log1p(-expected)])[texts],
        np.array([[1.0, 0.0]] * _SAMPLE),
        replace(strata, clusters=texts) if by_text else strata,
        temperature=1.0,
        calibration_rows=_CALIBRATION,
        truth={row: 0 if right[text] else 1 for row, text in enumerate(texts[:_LABELS].tolist())},
    )
    return found, float(of_traffic @ right)


def _coverage(found: list[tuple[Interval | None, float]]) -> float:
    return float(np.mean([each is not None and each.low <= truth <= each.high for each, truth in found]))


@pytest.mark.parametrize("exponent", [0, 0.8, 1.0, 1.2])
def test_the_intervals_cover_however_often_texts_repeat(exponent: float) -> None:
    rng = np.random.default_rng(2025)
    windows = [_window(exponent, rng, by_text=True) for _ in range(_RUNS)]
    assert _coverage([(found.by_confidence, truth) for found, truth in windows]) >= 0.93
    assert _coverage([(found.by_labels, truth) for found, truth in windows]) >= 0.93


def test_an_interval_that_counts_requests_is_too_short_for_the_confidence() -> None:
    rng = np.random.default_rng(2026)
    windows = [_window(1.2, rng, by_text=False) for _ in range(_RUNS)]
    assert _coverage([(found.by_confidence, truth) for found, truth in windows]) < 0.6
