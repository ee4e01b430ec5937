"""Ended cycles as the rules see them, read from the database."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction

from sqlalchemy import ColumnElement, Connection, Row, Table, or_, select

from db.cycles.rows import known_interval_of
from db.records import CyclePoint, Details, Interval, LabelMeasurement, Slot, StratumCount
from db.states import CycleStatus, VerdictReason
from db.tables import class_metrics, cycles, evidence, input_drift, strata

_NO_DETAILS = Details()

Rows = Sequence[Row[tuple[object, ...]]]


def read(
    connection: Connection,
    monitor: str,
    *,
    since: datetime | None = None,
    after: datetime | None = None,
    until: datetime | None = None,
    details: Details = _NO_DETAILS,
) -> tuple[CyclePoint, ...]:
    """Return the monitor's ended cycles as the rules see them, oldest first.

    The bounds, where given, are since <= window_end, after < window_end and window_end < until.
    """
    chosen: list[ColumnElement[bool]] = [
        cycles.c.monitor == monitor,
        cycles.c.status != CycleStatus.RUNNING,
    ]
    if since is not None:
        chosen.append(cycles.c.window_end >= since)
    if after is not None:
        chosen.append(cycles.c.window_end > after)
    if until is not None:
        chosen.append(cycles.c.window_end < until)
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
        for row in connection.execute(select(cycles).where(*chosen).order_by(cycles.c.window_end))
    )


def of_pair(
    connection: Connection, slot: Slot, pair: tuple[str, str] | None, *, details: Details = _NO_DETAILS
) -> tuple[CyclePoint, ...]:
    """Return the cycles before the slot on which its streaks can depend: those of one version pair.

    `pair` is the (teacher, student) of the slot's own cycle if that cycle is evaluated; if it is None, the
    pair of the last evaluated cycle is used. Cycles before the last one of another pair are not read, since
    that cycle ends every streak.
    """
    before = (
        cycles.c.monitor == slot.monitor,
        cycles.c.status == CycleStatus.EVALUATED,
        cycles.c.window_end < slot.window_end,
    )
    newest_first = cycles.c.window_end.desc()
    if pair is None:
        versions = select(cycles.c.teacher_version, cycles.c.student_version)
        last = connection.execute(versions.where(*before).order_by(newest_first).limit(1)).one_or_none()
        pair = (last[0], last[1]) if last else None
    if pair is None:
        return read(connection, slot.monitor, until=slot.window_end, details=details)
    other_pair = or_(cycles.c.teacher_version != pair[0], cycles.c.student_version != pair[1])
    streak_end = select(cycles.c.window_end).where(*before, other_pair).order_by(newest_first).limit(1)
    return read(
        connection,
        slot.monitor,
        since=connection.scalar(streak_end),
        until=slot.window_end,
        details=details,
    )


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
