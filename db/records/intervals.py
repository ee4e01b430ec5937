"""Estimates with their bounds."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95% interval. All three numbers are NaN if there was nothing to estimate."""

    estimate: float
    low: float
    high: float
