"""A teacher's earlier cycles: its reference cycles, its predecessor and its newest labelled cycles."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, Connection, Row, func, select

from db.cycles.cycle_points import label_of
from db.cycles.labels import correctness_of
from db.cycles.rows import interval_of
from db.records import (
    Correctness,
    KnownTeacher,
    LabelMeasurement,
    Slot,
    TeacherMeasurement,
    TeacherPoint,
)
from db.states import CycleStatus
from db.tables import class_metrics, cycles, teacher_metrics

_Conditions = Iterable[ColumnElement[bool]]


def known_teacher(connection: Connection, slot: Slot, version: str, *, reference_cycles: int) -> KnownTeacher:
    """Return what the monitor's cycles before the slot show about this teacher.

    The teacher's reference is its first `reference_cycles` evaluated cycles. While it has fewer, the
    reference is that of the last other teacher that had enough, and `predecessor` is the last other teacher,
    if any. Cycles from before revision 0010 have no teacher metrics: they make the teacher known, but cannot
    be its reference. `labelled` holds its newest `reference_cycles` cycles with true labels, whatever their
    verdict.
    """
    earlier = (
        cycles.c.monitor == slot.monitor,
        cycles.c.status == CycleStatus.EVALUATED,
        cycles.c.window_end < slot.window_end,
    )
    own = _first(connection, earlier, version, reference_cycles)
    is_whole = len(own) == reference_cycles
    is_old = is_whole or _is_old(connection, earlier, version, reference_cycles)
    others = () if is_old else _others(connection, slot, earlier, version)
    reference, reference_version = own if is_whole else (), version if is_whole else None
    for other in others:
        found = _first(connection, earlier, other, reference_cycles)
        if len(found) == reference_cycles:
            reference, reference_version = found, other
            break
    return KnownTeacher(
        version=version,
        predecessor=others[0] if others else None,
        reference=reference,
        reference_version=reference_version,
        labelled=_labelled(connection, slot, version, reference_cycles),
    )


def _labelled(connection: Connection, slot: Slot, version: str, newest: int) -> tuple[Correctness, ...]:
    found = correctness_of(
        connection, slot.monitor, until=slot.window_start, teacher_version=version, newest=newest
    )
    return tuple(each.correctness for each in found)


def _first(
    connection: Connection, earlier: _Conditions, version: str, limit: int
) -> tuple[TeacherPoint, ...]:
    query = (
        select(teacher_metrics, cycles)
        .join(cycles, cycles.c.id == teacher_metrics.c.cycle_id)
        .where(*earlier, cycles.c.teacher_version == version)
        .order_by(cycles.c.window_end)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    labels = _labels(connection, [row.cycle_id for row in rows])
    return tuple(_point(row, labels[row.cycle_id]) for row in rows)


def _is_old(connection: Connection, earlier: _Conditions, version: str, enough: int) -> bool:
    query = select(cycles.c.id).where(*earlier, cycles.c.teacher_version == version).limit(enough)
    return len(connection.execute(query).all()) == enough


def _others(connection: Connection, slot: Slot, earlier: _Conditions, version: str) -> tuple[str, ...]:
    """Return the other teachers with such a cycle; the one with the newest comes first.

    The recursion goes from one version to the next in the index, past the many cycles of each.
    """
    versions = select(func.min(cycles.c.teacher_version).label("version")).where(
        cycles.c.monitor == slot.monitor
    )
    known = versions.cte("known", recursive=True)
    following = versions.where(cycles.c.teacher_version > known.c.version).scalar_subquery()
    known = known.union_all(select(following).where(known.c.version.is_not(None)))
    newest = (
        select(cycles.c.window_end)
        .where(*earlier, cycles.c.teacher_version == known.c.version)
        .order_by(cycles.c.window_end.desc())
        .limit(1)
        .scalar_subquery()
    )
    found = select(known.c.version, newest.label("newest")).where(known.c.version != version).subquery()
    query = select(found.c.version).where(found.c.newest.is_not(None)).order_by(found.c.newest.desc())
    return tuple(connection.scalars(query))


def _labels(connection: Connection, cycle_ids: list[int]) -> Mapping[int, Mapping[str, LabelMeasurement]]:
    found: dict[int, dict[str, LabelMeasurement]] = defaultdict(dict)
    query = select(class_metrics).where(class_metrics.c.cycle_id.in_(cycle_ids))
    for row in connection.execute(query.order_by(class_metrics.c.label)):
        found[row.cycle_id][row.label] = label_of(row)
    return found


def _point(row: Row[tuple[object, ...]], labels: Mapping[str, LabelMeasurement]) -> TeacherPoint:
    return TeacherPoint(
        measured=TeacherMeasurement(
            confidence=interval_of(row, "confidence"),
            entropy=interval_of(row, "entropy"),
            n_effective=row.n_effective,
            label_gap=row.label_gap,
        ),
        agreement=interval_of(row, "agreement"),
        labels=labels,
    )
