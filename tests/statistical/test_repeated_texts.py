"""Intervals where texts repeat by a Zipf law: of a window, and of the part of its sample held out by text.

The requests of a window are drawn one by one, so its interval is right however often texts repeat. The
held-out part has all requests with a text, or none. Where texts repeat, an interval that counts its requests
contains the truth in 20 to 50% of cases; one that counts its texts, by `Strata.clusters`, in 94% or more.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from db.records import Interval
from distill.training.dataset import HELD_OUT_SHARE
from monitor.strata import Strata
from triggers.wilson import score_interval

_RUNS: Final = 1_000
_SAMPLE: Final = 10_000
_TEXTS: Final = 20_000
_THRESHOLD: Final = 0.95  #: and the expected agreement: the hardest case for verdicts


@dataclass(frozen=True, kw_only=True)
class _Window:
    """One service, whose texts agree or not, and a sample of its traffic."""

    truth: float  #: the agreement of all traffic
    agrees: NDArray[np.bool_]  #: by text
    requests: NDArray[np.intp]  #: of the sample, by text
    held_out: NDArray[np.bool_]  #: by text

    @classmethod
    def drawn(cls, exponent: float, rng: np.random.Generator) -> "_Window":
        of_traffic = 1 / np.arange(1, _TEXTS + 1) ** exponent
        of_traffic /= of_traffic.sum()
        agrees = rng.random(_TEXTS) < _THRESHOLD
        return cls(
            truth=float(of_traffic @ agrees),
            agrees=agrees,
            requests=rng.multinomial(_SAMPLE, of_traffic),
            held_out=rng.random(_TEXTS) < HELD_OUT_SHARE,
        )

    def of_window(self) -> Interval:
        return score_interval(float(self.requests @ self.agrees) / _SAMPLE, _SAMPLE)

    def of_held_out(self, *, by_text: bool) -> Interval:
        texts = np.repeat(np.flatnonzero(self.held_out), self.requests[self.held_out])
        one = Strata.one(texts.size)
        strata = Strata(sizes=one.sizes, of=one.of, clusters=texts if by_text else None)
        return score_interval(float(strata.share(self.agrees[texts])), strata.n_effective)


def _covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize("exponent", [0, 0.8, 1.0, 1.2])
def test_intervals_cover_however_often_texts_repeat(exponent: float) -> None:
    rng = np.random.default_rng(2025)
    windows = [_Window.drawn(exponent, rng) for _ in range(_RUNS)]
    of_window = np.mean([_covers(each.of_window(), each.truth) for each in windows])
    by_text = np.mean([_covers(each.of_held_out(by_text=True), each.truth) for each in windows])
    by_row = np.mean([_covers(each.of_held_out(by_text=False), each.truth) for each in windows])
    assert of_window == pytest.approx(0.95, abs=0.02)
    assert by_text == pytest.approx(0.955, abs=0.03)
    assert by_row < (0.94 if exponent == 0 else 0.6)


@pytest.mark.parametrize("exponent", [0, 0.8, 1.0, 1.2])
def test_a_whole_interval_does_not_contradict_the_window(exponent: float) -> None:
    rng = np.random.default_rng(2026)

    def contradicts(window: _Window) -> bool:
        found, agreement = window.of_held_out(by_text=True), window.of_window().estimate
        return found.high < _THRESHOLD <= agreement or agreement < _THRESHOLD <= found.low

    assert np.mean([contradicts(_Window.drawn(exponent, rng)) for _ in range(_RUNS)]) <= 0.05
