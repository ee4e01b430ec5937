"""Intervals in rows of SQL: an estimate and its bounds are the columns NAME, NAME_low and NAME_high."""

import math
from typing import Any

from sqlalchemy import Row

from db.records import Interval


def interval_of(row: Row[Any], name: str) -> Interval:
    """Return the interval stored under a name; NULL becomes NaN."""
    estimate, low, high = (
        math.nan if bound is None else bound
        for bound in (getattr(row, name + end) for end in ("", "_low", "_high"))
    )
    return Interval(estimate=estimate, low=low, high=high)


def known_interval_of(row: Row[Any], name: str) -> Interval | None:
    """Return the interval stored under a name, or None if its estimate is NULL."""
    return None if getattr(row, name) is None else interval_of(row, name)


def columns_of(name: str, interval: Interval) -> dict[str, float]:
    """Return the columns in which an interval is stored."""
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
