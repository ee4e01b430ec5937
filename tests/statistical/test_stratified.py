"""What a stratified sample promises: no bias, and intervals that cover, over many samples of one window."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from monitor.intervals import bootstrap_mean
from monitor.sampling import BottomK
from monitor.strata import Strata
from triggers.wilson import score_interval

_SAMPLES = 2_000
_REQUESTS, _SAMPLE, _FLOOR = 20_000, 1_000, 150
#: Ten labels; on the three rare ones, of 5% in all, 15% of the requests disagree, on the others 2%.
_SHARES = (0.4, 0.2, 0.15, 0.1, 0.05, 0.03, 0.02, 0.025, 0.015, 0.01)
_RARE = 7


@dataclass(frozen=True, kw_only=True)
class _Window:
    label: NDArray[np.intp]
    agrees: NDArray[np.bool_]
    kl: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Of each sample: its estimates, those without weights, and whether its intervals cover the truth."""

    agreement: NDArray[np.float64]
    kl: NDArray[np.float64]
    unweighted: NDArray[np.float64]
    covers: NDArray[np.bool_]
    kl_covers: NDArray[np.bool_]


@pytest.fixture(scope="module")
def window() -> _Window:
    rng = np.random.default_rng(2025)
    label = rng.choice(len(_SHARES), size=_REQUESTS, p=_SHARES)
    rare = label >= _RARE
    return _Window(
        label=label,
        agrees=rng.random(_REQUESTS) >= np.where(rare, 0.15, 0.02),
        kl=rng.gamma(0.5, np.where(rare, 0.6, 0.12)),
    )


@pytest.fixture(scope="module")
def found(window: _Window) -> _Found:
    """From 2,000 samples, each with a hash key of its own."""
    ids = [f"r-{number}" for number in range(_REQUESTS)]
    labels, truth = window.label.tolist(), (window.agrees.mean(), window.kl.mean())
    rows = []
    for number in range(_SAMPLES):
        bottom = BottomK[int](_SAMPLE, f"key {number}", tie_break=int, strata=len(_SHARES), floor=_FLOOR)
        for index, mark in bottom.admit(ids, labels):
            bottom.keep(mark, index)
        draw = bottom.draw()
        chosen, strata = np.array(draw.items), Strata(sizes=draw.sizes, of=np.array(draw.strata))
        agrees = window.agrees[chosen]
        agreement = score_interval(float(strata.share(agrees)), strata.n_effective)
        kl = bootstrap_mean(window.kl[chosen], strata=strata)
        covers = [each.low <= true <= each.high for each, true in zip((agreement, kl), truth, strict=True)]
        rows.append((agreement.estimate, kl.estimate, agrees.mean(), *covers))
    agreement, kl, unweighted, covers, kl_covers = np.array(rows).T
    return _Found(
        agreement=agreement,
        kl=kl,
        unweighted=unweighted,
        covers=covers.astype(bool),
        kl_covers=kl_covers.astype(bool),
    )


def _errors(estimates: NDArray[np.float64], truth: float) -> float:
    """How many standard errors of their mean the estimates are off."""
    return float((estimates.mean() - truth) / (estimates.std() / np.sqrt(estimates.size)))


def test_the_mean_estimate_is_the_truth(window: _Window, found: _Found) -> None:
    assert abs(_errors(found.agreement, window.agrees.mean())) <= 3
    assert abs(_errors(found.kl, window.kl.mean())) <= 3


def test_without_weights_the_rare_labels_would_condemn_the_student(window: _Window, found: _Found) -> None:
    assert _errors(found.unweighted, window.agrees.mean()) < -30


def test_the_intervals_cover_the_truth(found: _Found) -> None:
    assert 0.94 <= found.covers.mean() <= 0.97
    assert 0.94 <= found.kl_covers.mean() <= 0.97


def test_rare_labels_are_seen_more_surely_than_in_a_uniform_sample(window: _Window) -> None:
    """Each of the three rare labels has the floor's 50 requests, of which a uniform sample has 10 to 25."""
    bottom = BottomK[int](_SAMPLE, "key", tie_break=int, strata=len(_SHARES), floor=_FLOOR)
    for index, mark in bottom.admit([f"r-{n}" for n in range(_REQUESTS)], window.label.tolist()):
        bottom.keep(mark, index)
    strata = bottom.draw().strata
    assert [strata.count(label) for label in range(_RARE, 10)] == [50, 50, 50]
