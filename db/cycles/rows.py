"""Intervals and slices in rows of SQL.

An estimate and its bounds are the columns NAME, NAME_low and NAME_high. Slices by word are never stored.
"""

import math
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row

from db.records import Interval, Slice, SliceNumbers
from db.states import SliceKind


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


def rows_of_slices(cycle_id: int, found: Iterable[Slice]) -> list[dict[str, object]]:
    """Return the rows of a cycle's slices in their order, except words."""
    stored = [each for each in found if each.kind is not SliceKind.WORD]
    return [_row(cycle_id, rank, each) for rank, each in enumerate(stored, start=1)]


def slice_of(row: Row[Any]) -> Slice:
    """Return the slice of a row."""
    reference = None
    if row.reference_share is not None:
        reference = SliceNumbers(
            share=row.reference_share, rate=row.reference_rate, excess=row.reference_excess
        )
    return Slice(
        kind=SliceKind(row.kind),
        name=row.name,
        student_label=row.student_label,
        n=row.n,
        n_texts=row.n_texts,
        n_disagreements=row.n_disagreements,
        now=SliceNumbers(share=row.share, rate=row.rate, excess=row.excess),
        part=row.part,
        p_value=row.p_value,
        q_value=row.q_value,
        reference=reference,
        q_moved=row.q_moved,
    )


def _row(cycle_id: int, rank: int, found: Slice) -> dict[str, object]:
    before = found.reference
    return {
        "cycle_id": cycle_id,
        "rank": rank,
        "kind": found.kind,
        "name": found.name,
        "student_label": found.student_label,
        "n": found.n,
        "n_texts": found.n_texts,
        "n_disagreements": found.n_disagreements,
        "share": found.now.share,
        "rate": found.now.rate,
        "excess": found.now.excess,
        "part": found.part,
        "p_value": found.p_value,
        "q_value": found.q_value,
        "reference_share": before and before.share,
        "reference_rate": before and before.rate,
        "reference_excess": before and before.excess,
        "q_moved": found.q_moved,
    }
