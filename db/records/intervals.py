"""An estimate with its bounds."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95% interval. All three are NaN when there was nothing to estimate."""

    estimate: float
    low: float
    high: float
