"""Ended cycles, as the rules and the worker need them."""

from datetime import datetime
from fractions import Fraction

from sqlalchemy import Connection, Row, or_, select

from db.records import CyclePoint, Slot
from db.states import CycleStatus, Verdict
from db.tables import cycles


def points(
    connection: Connection,
    monitor: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> tuple[CyclePoint, ...]:
    """Ended cycles with since <= window_end < until, oldest first, as the rules see them."""
    query = (
        select(cycles)
        .where(cycles.c.monitor == monitor, cycles.c.status != CycleStatus.RUNNING)
        .order_by(cycles.c.window_end)
    )
    if since is not None:
        query = query.where(cycles.c.window_end >= since)
    if until is not None:
        query = query.where(cycles.c.window_end < until)
    return tuple(_point(row) for row in connection.execute(query))


def points_of_pair(
    connection: Connection, slot: Slot, pair: tuple[str, str] | None
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
        return points(connection, slot.monitor, until=slot.window_end)
    other_pair = or_(cycles.c.teacher_version != pair[0], cycles.c.student_version != pair[1])
    ends_all = select(cycles.c.window_end).where(*before, other_pair).order_by(newest_first).limit(1)
    return points(connection, slot.monitor, since=connection.scalar(ends_all), until=slot.window_end)


def newest_points(
    connection: Connection, monitor: str, limit: int, *, until: datetime
) -> tuple[CyclePoint, ...]:
    """The last `limit` ended cycles with window_end <= until, newest first."""
    query = (
        select(cycles)
        .where(
            cycles.c.monitor == monitor,
            cycles.c.status != CycleStatus.RUNNING,
            cycles.c.window_end <= until,
        )
        .order_by(cycles.c.window_end.desc())
        .limit(limit)
    )
    return tuple(_point(row) for row in connection.execute(query))


def has_later_result(connection: Connection, slot: Slot) -> bool:
    """Whether a cycle of a later window has been evaluated already."""
    return (
        connection.scalar(
            select(cycles.c.id)
            .where(
                cycles.c.monitor == slot.monitor,
                cycles.c.status == CycleStatus.EVALUATED,
                cycles.c.window_end > slot.window_end,
            )
            .limit(1)
        )
        is not None
    )


def archives_of_pair(connection: Connection, cycle_id: int, *, limit: int) -> tuple[tuple[str, str], ...]:
    """(uri, SHA-256) of the breached samples of the cycle's version pair, newest first, itself first."""
    cycle = connection.execute(select(cycles).where(cycles.c.id == cycle_id)).one()
    rows = connection.execute(
        select(cycles.c.archive, cycles.c.archive_sha256)
        .where(
            cycles.c.monitor == cycle.monitor,
            cycles.c.teacher_version == cycle.teacher_version,
            cycles.c.student_version == cycle.student_version,
            cycles.c.verdict == Verdict.BREACHED,
            cycles.c.window_end <= cycle.window_end,
            cycles.c.archive.is_not(None),
        )
        .order_by(cycles.c.window_end.desc())
        .limit(limit)
    )
    return tuple((row.archive, row.archive_sha256) for row in rows)


def archives_before(
    connection: Connection, slot: Slot, teacher_version: str, *, since: datetime
) -> tuple[tuple[str, str], ...]:
    """(uri, SHA-256) of the samples that this teacher scored for the monitor's windows before the slot's.

    Newest first, of windows that ended at `since` or later.
    """
    rows = connection.execute(
        select(cycles.c.archive, cycles.c.archive_sha256)
        .where(
            cycles.c.monitor == slot.monitor,
            cycles.c.teacher_version == teacher_version,
            cycles.c.window_end < slot.window_end,
            cycles.c.window_end >= since,
            cycles.c.archive.is_not(None),
        )
        .order_by(cycles.c.window_end.desc())
    )
    return tuple((row.archive, row.archive_sha256) for row in rows)


def _point(row: Row[tuple[object, ...]]) -> CyclePoint:
    return CyclePoint(
        window_end=row.window_end,
        status=CycleStatus(row.status),
        teacher_version=row.teacher_version,
        student_version=row.student_version,
        n=row.n_scored,
        disagreements=row.n_disagreements,
        agreement=None if row.agreement_exact is None else Fraction(row.agreement_exact),
        kl=row.kl,
        kl_t1=row.kl_t1,
        js=row.js,
        serving_skew=row.serving_skew,
    )
