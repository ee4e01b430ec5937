"""Ended cycles as the rules see them, read from the database."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, Table, or_, select

from db.cycles.rows import known_interval_of
from db.records import CyclePoint, Details, Interval, LabelMeasurement, StratumCount
from db.states import CycleStatus, VerdictReason
from db.tables import class_metrics, cycles, evidence, input_drift, strata

_NO_DETAILS = Details()

Rows = Sequence[Row[tuple[object, ...]]]


#: The columns of a cycle's row that a point has.
_OWN: Final[Sequence[ColumnElement[Any]]] = (
    *(cycles.c.id, cycles.c.window_end, cycles.c.status, cycles.c.verdict_reason, cycles.c.n_slots),
    *(cycles.c.teacher_version, cycles.c.student_version, cycles.c.n_scored, cycles.c.n_disagreements),
    *(cycles.c.agreement, cycles.c.agreement_exact, cycles.c.agreement_low, cycles.c.agreement_high),
    *(cycles.c.kl, cycles.c.kl_low, cycles.c.kl_high, cycles.c.kl_t1, cycles.c.js),
    *(cycles.c.serving_skew, cycles.c.serving_skew_low, cycles.c.serving_skew_high),
)


def read(
    connection: Connection,
    monitor: str,
    *,
    since: datetime | None = None,
    after: datetime | None = None,
    until: datetime | None = None,
    oldest: int | None = None,
    details: Details = _NO_DETAILS,
) -> tuple[CyclePoint, ...]:
    """Return the monitor's ended cycles as the rules see them, oldest first, without quiet ones.

    The bounds, where given, are since <= window_end, after < window_end and window_end < until, and at most
    the `oldest` of these cycles.
    """
    query = select(*_OWN).where(
        cycles.c.monitor == monitor,
        cycles.c.status != CycleStatus.RUNNING,
        cycles.c.verdict_reason.is_distinct_from(VerdictReason.QUIET),
    )
    if since is not None:
        query = query.where(cycles.c.window_end >= since)
    if after is not None:
        query = query.where(cycles.c.window_end > after)
    if until is not None:
        query = query.where(cycles.c.window_end < until)
    rows = connection.execute(query.order_by(cycles.c.window_end).limit(oldest)).all()
    if not rows:
        return ()
    # The windows, not the numbers of the cycles, of which there may be too many.
    chosen = (
        cycles.c.monitor == monitor,
        cycles.c.window_end.between(rows[0].window_end, rows[-1].window_end),
    )
    labels = _by_cycle(connection, class_metrics, chosen) if details.labels else {}
    drawn = _by_cycle(connection, strata, chosen) if details.strata else {}
    log_increments = _by_cycle(connection, evidence, chosen) if details.log_increments else {}
    inputs = _by_cycle(connection, input_drift, chosen) if details.input_drift else {}
    return tuple(
        _point(
            row,
            labels.get(row.id, ()),
            drawn.get(row.id, ()),
            log_increments.get(row.id, ()),
            inputs.get(row.id, ()),
        )
        for row in rows
    )


def streak_start(connection: Connection, monitor: str, *, until: datetime) -> datetime | None:
    """Return the window_end of the cycle from which on the streaks of the windows before `until` depend.

    That is the last cycle of another version pair than that of the last evaluated one, as it ends every
    streak; None if there is none.
    """
    newest_first = (
        select(cycles.c.window_end)
        .where(
            cycles.c.monitor == monitor,
            cycles.c.status == CycleStatus.EVALUATED,
            cycles.c.window_end < until,
        )
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    )
    versions = newest_first.with_only_columns(cycles.c.teacher_version, cycles.c.student_version)
    pair = connection.execute(versions).one_or_none()
    if pair is None:
        return None
    other_pair = or_(cycles.c.teacher_version != pair[0], cycles.c.student_version != pair[1])
    return connection.scalar(newest_first.where(other_pair))


def _by_cycle(
    connection: Connection, source: Table, chosen: Sequence[ColumnElement[bool]]
) -> Mapping[int, Rows]:
    found: dict[int, list[Row[tuple[object, ...]]]] = defaultdict(list)
    query = select(source).join(cycles, cycles.c.id == source.c.cycle_id).where(*chosen)
    for row in connection.execute(query):
        found[row.cycle_id].append(row)
    return found


def _point(
    row: Row[tuple[object, ...]],
    labels: Rows = (),
    drawn: Rows = (),
    log_increments: Rows = (),
    inputs: Rows = (),
) -> CyclePoint:
    return CyclePoint(
        window_end=row.window_end,
        status=_seen_as(row),
        teacher_version=row.teacher_version,
        student_version=row.student_version,
        n=row.n_scored,
        disagreements=row.n_disagreements,
        agreement=None if row.agreement_exact is None else Fraction(row.agreement_exact),
        kl=row.kl,
        kl_t1=row.kl_t1,
        js=row.js,
        serving_skew=row.serving_skew,
        input_drift=inputs[0].accuracy if inputs else None,
        intervals={
            metric: interval
            for metric in ("agreement", "kl", "serving_skew")
            if (interval := known_interval_of(row, metric)) is not None
        },
        labels={each.label: label_of(each) for each in labels},
        strata=tuple(
            StratumCount(n_seen=each.n_seen, n=each.n, disagreements=each.n_disagreements) for each in drawn
        ),
        log_increments={each.key: tuple(json.loads(each.gains)) for each in log_increments},
        n_slots=row.n_slots if row.verdict_reason == VerdictReason.TOO_FEW_SAMPLES else 1,
    )


def _seen_as(row: Row[tuple[object, ...]]) -> CycleStatus:
    """Return a cycle's status as the rules see it.

    A cycle in which no rule could be evaluated counts as evaluated: it had enough evidence, and other rules
    may use it.
    """
    if row.verdict_reason == VerdictReason.NO_RULE_EVALUATED:
        return CycleStatus.EVALUATED
    return CycleStatus(row.status)


def label_of(row: Row[tuple[object, ...]]) -> LabelMeasurement:
    """Return the measurement in a row of `class_metrics`."""
    return LabelMeasurement(
        label=row.label,
        n=row.n,
        share=row.share,
        agreement=Interval(estimate=row.agreement, low=row.agreement_low, high=row.agreement_high),
        kl=row.kl,
    )
