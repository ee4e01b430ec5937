"""Ended cycles, as the rules and the worker need them."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from sqlalchemy import ColumnElement, Connection, Row, Table, func, or_, select

from db.cycles.rows import known_interval_of
from db.records import (
    ArchivedCycle,
    CyclePoint,
    Details,
    InputDrift,
    Interval,
    LabelMeasurement,
    Slot,
    StratumCount,
)
from db.states import CycleStatus, TeacherReason, Verdict, VerdictReason
from db.tables import class_metrics, cycles, evidence, input_drift, strata, teacher_metrics

_NO_DETAILS = Details()


def points(
    connection: Connection,
    monitor: str,
    *,
    since: datetime | None = None,
    after: datetime | None = None,
    until: datetime | None = None,
    details: Details = _NO_DETAILS,
) -> tuple[CyclePoint, ...]:
    """Ended cycles with since <= window_end, after < window_end and window_end < until, oldest first, as the
    rules see them.
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


def points_of_pair(
    connection: Connection, slot: Slot, pair: tuple[str, str] | None, *, details: Details = _NO_DETAILS
) -> tuple[CyclePoint, ...]:
    """The cycles before the slot that its streaks can depend on: those of one version pair.

    `pair` is the (teacher, student) of the slot's own cycle if that is evaluated; otherwise None, and
    the last evaluated cycle's is meant. Everything before the last cycle of another pair is left
    unread, since that cycle ends every streak.
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
        return points(connection, slot.monitor, until=slot.window_end, details=details)
    other_pair = or_(cycles.c.teacher_version != pair[0], cycles.c.student_version != pair[1])
    ends_all = select(cycles.c.window_end).where(*before, other_pair).order_by(newest_first).limit(1)
    return points(
        connection,
        slot.monitor,
        since=connection.scalar(ends_all),
        until=slot.window_end,
        details=details,
    )


def newest_statuses(
    connection: Connection, monitor: str, limit: int, *, until: datetime
) -> tuple[CycleStatus, ...]:
    """Return the statuses of the last `limit` ended cycles with window_end <= until, newest first."""
    query = (
        select(cycles.c.status)
        .where(
            cycles.c.monitor == monitor,
            cycles.c.status != CycleStatus.RUNNING,
            cycles.c.window_end <= until,
        )
        .order_by(cycles.c.window_end.desc())
        .limit(limit)
    )
    return tuple(map(CycleStatus, connection.scalars(query)))


def verdicts_of(connection: Connection, monitor: str, student: str, *, since: datetime) -> tuple[int, int]:
    """How many cycles begun since then were evaluated with that student, and how many were healthy."""
    row = connection.execute(
        select(func.count(), func.count().filter(cycles.c.verdict == Verdict.HEALTHY)).where(
            cycles.c.monitor == monitor,
            cycles.c.student_version == student,
            cycles.c.status == CycleStatus.EVALUATED,
            cycles.c.started_at >= since,
        )
    ).one()
    return int(row[0]), int(row[1])


def has_later_result(connection: Connection, slot: Slot, *, or_unjudged: bool = False) -> bool:
    """Return whether a cycle of a later window has been evaluated already.

    If asked, one counts too that waits to be judged again. A window with too few requests does not wait.
    """
    waits = (cycles.c.status == CycleStatus.INCONCLUSIVE) & (
        cycles.c.verdict_reason != VerdictReason.TOO_FEW_SAMPLES
    )
    is_evaluated = cycles.c.status == CycleStatus.EVALUATED
    return (
        connection.scalar(
            select(cycles.c.id)
            .where(
                cycles.c.monitor == slot.monitor,
                or_(is_evaluated, waits) if or_unjudged else is_evaluated,
                cycles.c.window_end > slot.window_end,
            )
            .limit(1)
        )
        is not None
    )


def newest_archived(
    connection: Connection, monitor: str, pair: tuple[str, str], *, since: datetime
) -> int | None:
    """The newest cycle of the (teacher, student) pair that has a sample and ended at `since` or later.

    It is evaluated, or inconclusive only because the teacher's labels had another mix.
    """
    return connection.scalar(
        select(cycles.c.id)
        .where(
            cycles.c.monitor == monitor,
            or_(cycles.c.status == CycleStatus.EVALUATED, _only_labels_moved()),
            cycles.c.teacher_version == pair[0],
            cycles.c.student_version == pair[1],
            cycles.c.archive.is_not(None),
            cycles.c.window_end >= since,
        )
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    )


@dataclass(frozen=True, kw_only=True)
class PairArchive:
    """The archived sample of one cycle of a version pair."""

    uri: str
    sha256: str
    n: int  #: requests that were sampled


def archives_of_pair(connection: Connection, cycle_id: int, *, kept: timedelta) -> tuple[PairArchive, ...]:
    """The samples of the cycle's version pair that condemned its student, newest first.

    The cycle's own comes first, whatever its verdict: a person may look back from a healthy one. Those that
    are inconclusive only because the teacher's labels had another mix are among them: that mix may be the
    drift. Those of windows that ended more than `kept` before its own have expired.
    """
    cycle = connection.execute(select(cycles).where(cycles.c.id == cycle_id)).one()
    rows = connection.execute(
        select(cycles.c.archive, cycles.c.archive_sha256, cycles.c.n_sampled)
        .where(
            cycles.c.monitor == cycle.monitor,
            cycles.c.teacher_version == cycle.teacher_version,
            cycles.c.student_version == cycle.student_version,
            or_(cycles.c.verdict == Verdict.BREACHED, cycles.c.id == cycle_id, _only_labels_moved()),
            cycles.c.window_end <= cycle.window_end,
            cycles.c.window_end >= cycle.window_end - kept,
            cycles.c.archive.is_not(None),
        )
        .order_by(cycles.c.window_end.desc())
    )
    return tuple(
        PairArchive(uri=row.archive, sha256=row.archive_sha256, n=row.n_sampled or 0) for row in rows
    )


def _only_labels_moved() -> ColumnElement[bool]:
    moved = select(teacher_metrics.c.cycle_id).where(teacher_metrics.c.reason == TeacherReason.LABELS_MOVED)
    return (cycles.c.verdict_reason == VerdictReason.TEACHER_UNHEALTHY) & cycles.c.id.in_(moved)


def archives_before(
    connection: Connection, slot: Slot, teacher_version: str, *, since: datetime
) -> tuple[tuple[str, str], ...]:
    """(uri, SHA-256) of the samples that this teacher scored for the monitor's windows before the slot's.

    Newest first, of windows that ended at `since` or later; not those in which it was found unhealthy.
    """
    rows = connection.execute(
        select(cycles.c.archive, cycles.c.archive_sha256)
        .where(
            cycles.c.monitor == slot.monitor,
            cycles.c.teacher_version == teacher_version,
            cycles.c.window_end < slot.window_end,
            cycles.c.window_end >= since,
            cycles.c.archive.is_not(None),
            cycles.c.verdict_reason != VerdictReason.TEACHER_UNHEALTHY,
        )
        .order_by(cycles.c.window_end.desc())
    )
    return tuple((row.archive, row.archive_sha256) for row in rows)


def healthy_archives(
    connection: Connection, slot: Slot, pair: tuple[str, str], *, since: datetime
) -> tuple[ArchivedCycle, ...]:
    """The healthy cycles of the (teacher, student) pair before the slot whose samples were archived.

    Oldest first, of windows that ended at `since` or later.
    """
    rows = connection.execute(
        select(cycles.c.id, cycles.c.archive, cycles.c.archive_sha256)
        .where(
            cycles.c.monitor == slot.monitor,
            cycles.c.teacher_version == pair[0],
            cycles.c.student_version == pair[1],
            cycles.c.verdict == Verdict.HEALTHY,
            cycles.c.window_end < slot.window_end,
            cycles.c.window_end >= since,
            cycles.c.archive.is_not(None),
        )
        .order_by(cycles.c.window_end)
    )
    return tuple(ArchivedCycle(cycle_id=row.id, uri=row.archive, sha256=row.archive_sha256) for row in rows)


def label_shares(connection: Connection, cycle_id: int) -> Mapping[str, float]:
    """The share of a cycle's window that the teacher gives to each label; empty if none was measured."""
    rows = connection.execute(
        select(class_metrics.c.label, class_metrics.c.share).where(class_metrics.c.cycle_id == cycle_id)
    )
    return {row.label: row.share for row in rows}


def input_drift_of(connection: Connection, cycle_id: int) -> InputDrift | None:
    """How the cycle's requests differ from its reference's; None if that was not measured."""
    query = select(input_drift).where(input_drift.c.cycle_id == cycle_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    return InputDrift(
        reference_cycle_id=row.reference_cycle_id,
        n=row.n,
        n_reference=row.n_reference,
        accuracy=row.accuracy,
        p_value=row.p_value,
        psi=Interval(estimate=row.psi, low=row.psi_low, high=row.psi_high),
        js=Interval(estimate=row.js, low=row.js_low, high=row.js_high),
    )


Rows = Sequence[Row[tuple[object, ...]]]


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
    """Return a cycle's status for the rules. One in which none could be evaluated had enough evidence: the
    rules looked at it, and others may.
    """
    if row.verdict_reason == VerdictReason.NO_RULE_EVALUATED:
        return CycleStatus.EVALUATED
    return CycleStatus(row.status)


def label_of(row: Row[tuple[object, ...]]) -> LabelMeasurement:
    """What a row of `class_metrics` says."""
    return LabelMeasurement(
        label=row.label,
        n=row.n,
        share=row.share,
        agreement=Interval(estimate=row.agreement, low=row.agreement_low, high=row.agreement_high),
        kl=row.kl,
    )
