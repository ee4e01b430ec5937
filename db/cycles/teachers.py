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
    other = None if is_old else _last_with_reference(connection, earlier, version, reference_cycles)
    reference = own if is_whole else ()
    if other is not None:
        reference = _first(connection, earlier, other, reference_cycles)
    return KnownTeacher(
        version=version,
        predecessor=None if is_old else _predecessor(connection, earlier, version),
        reference=reference,
        reference_version=version if is_whole else other,
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


def _predecessor(connection: Connection, earlier: _Conditions, version: str) -> str | None:
    query = select(cycles.c.teacher_version).where(*earlier, cycles.c.teacher_version != version)
    return connection.scalar(query.order_by(cycles.c.window_end.desc()).limit(1))


def _last_with_reference(
    connection: Connection, earlier: _Conditions, version: str, enough: int
) -> str | None:
    query = (
        select(cycles.c.teacher_version)
        .join(teacher_metrics, teacher_metrics.c.cycle_id == cycles.c.id)
        .where(*earlier, cycles.c.teacher_version != version)
        .group_by(cycles.c.teacher_version)
        .having(func.count() >= enough)
        .order_by(func.max(cycles.c.window_end).desc())
        .limit(1)
    )
    return connection.scalar(query)


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
