"""The contenders: our modes, and the detectors of river and frouros."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from frouros.detectors.concept_drift import CUSUM, CUSUMConfig
from levels import ALARM_THRESHOLD, Evidence, Runs
from peers import (
    DDM_WARM_START,
    Adwin,
    CusumUp,
    Ddm,
    EachCycle,
    EachRequest,
    HddmW,
    Kswin,
    PageHinkleyUp,
    Watcher,
)
from river.drift import PageHinkley
from river.drift.binary import DDM, HDDMW
from streams import BLOCK, CYCLE

WARNING: Final = 0.028  #: the level of an early warning: an agreement of .972
_CUSUM_DELTA: Final = 0.005  #: the default of frouros

Build = Callable[[int, float], Watcher]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A detector, and the search for its setting."""

    build: Build  #: builds the detector for a number of streams, at a setting
    setting: str = ""  #: the name of the tuned setting; empty if the guarantee decides it
    ladder: tuple[float, float] | None = None  #: the most sensitive setting to try, and the ratio to the next
    streams: int = BLOCK  #: streams per block; fewer for slow detectors
    library: Callable[[float], Any] | None = None  #: builds the library's detector at a setting

    def bound(self, setting: float) -> float:
        """Return the bound that the statistic exceeds in an alarm."""
        return setting if self.setting and self.ladder is None else 0.5


def _page_hinkley(delta: float, alpha: float) -> Contender:
    return Contender(
        build=lambda streams, _: PageHinkleyUp(streams, delta, alpha),
        setting="threshold",
        library=lambda bound: PageHinkley(delta=delta, alpha=alpha, threshold=bound, mode="up"),
    )


def _hddm_w(weight: float, most_sensitive: float) -> Contender:
    return Contender(
        build=lambda streams, confidence: HddmW(streams, confidence, weight),
        setting="drift_confidence",
        ladder=(most_sensitive, 0.95),
        library=lambda confidence: HDDMW(drift_confidence=confidence, lambda_val=weight),
    )


CONTENDERS: Final[Mapping[str, Contender]] = {
    "R1, .95": Contender(build=lambda streams, _: EachCycle(Runs(streams, CYCLE))),
    "sequential, .95": Contender(
        build=lambda streams, _: EachCycle(Evidence(streams, CYCLE, alarm_threshold=ALARM_THRESHOLD))
    ),
    "sequential, .972": Contender(
        build=lambda streams, _: EachCycle(
            Evidence(streams, CYCLE, level=WARNING, alarm_threshold=ALARM_THRESHOLD)
        )
    ),
    "sequential, .972, each request": Contender(
        build=lambda streams, _: EachRequest(streams, WARNING), setting="log A"
    ),
    "Page-Hinkley": _page_hinkley(delta=0.005, alpha=0.9999),
    "Page-Hinkley, alpha 1": _page_hinkley(delta=0.015, alpha=1.0),
    "CUSUM": Contender(
        build=lambda streams, _: CusumUp(streams, _CUSUM_DELTA),
        setting="lambda",
        library=lambda bound: CUSUM(CUSUMConfig(delta=_CUSUM_DELTA, lambda_=bound)),
    ),
    "ADWIN": Contender(build=Adwin, setting="delta", ladder=(1e-2, 0.7), streams=100),
    "HDDM_W": _hddm_w(weight=0.05, most_sensitive=0.06),
    "HDDM_W, lambda .01": _hddm_w(weight=0.01, most_sensitive=0.062),
    "KSWIN, each cycle": Contender(build=Kswin, setting="-log10 alpha", streams=60),
    "DDM": Contender(
        build=lambda streams, _: Ddm(streams),
        setting="drift_threshold",
        library=lambda bound: DDM(warm_start=DDM_WARM_START, drift_threshold=bound),
    ),
}
