"""The estimated accuracy of the student in each cycle, and what the newest labels say of its teacher.

Every row has the state of its teacher by the newest labels so far, which the next cycle takes over. Labels
that arrive late change it in the rows from their cycle up to the next whose own labels decide. Rows are
locked from the oldest window to the newest, so that no two writers wait for each other.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from db.cycles.rows import columns_of
from db.records import AccuracyEstimates, EstimatedAccuracy
from db.states import AccuracyMethod, AccuracyReason, TeacherHealth, TeacherReason
from db.tables import cycles, estimated_accuracy, teacher_metrics

_ENDS: Final = ("", "_low", "_high")
_rows = estimated_accuracy.c


def contradicted_before(
    connection: Connection, monitor: str, teacher_version: str, window_end: datetime
) -> bool:
    """Return whether the newest labels of earlier windows that were enough to decide contradict the teacher.

    The row that says so is locked: if labels change it, the caller sees that, or the labels the new cycle.
    """
    earlier = _of_teacher(monitor, teacher_version).where(cycles.c.window_end < window_end)
    newest = earlier.order_by(cycles.c.window_end.desc()).limit(1).with_for_update(of=estimated_accuracy)
    row = connection.execute(newest).one_or_none()
    # A row that another transaction replaced while this one waited for it is passed over for an older one.
    while (again := connection.execute(newest).one_or_none()) != row:
        row = again
    return row is not None and bool(row.teacher_contradicted)


def put(
    connection: Connection,
    cycle_id: int,
    found: AccuracyEstimates,
    shown: EstimatedAccuracy,
    *,
    contradicted_before: bool,
) -> None:
    """Store the estimates of a cycle, replacing earlier ones.

    What its labels say of the teacher withholds the estimates of later cycles, or shows them again. The row
    of the cycle has its versions already.
    """
    is_contradicted = contradicted_before if found.contradicted is None else found.contradicted
    connection.execute(delete(estimated_accuracy).where(_rows.cycle_id == cycle_id))
    connection.execute(
        insert(estimated_accuracy).values(
            cycle_id=cycle_id,
            **(columns_of("estimated_accuracy", shown.accuracy) if shown.accuracy else {}),
            method=shown.method,
            reason=shown.reason,
            n_labels=found.n_labels,
            teacher_temperature=found.teacher_temperature,
            **(columns_of("by_confidence", found.by_confidence) if found.by_confidence else {}),
            rectifier=found.rectifier,
            contradicted=found.contradicted,
            teacher_contradicted=is_contradicted,
        )
    )
    own = select(cycles.c.monitor, cycles.c.teacher_version, cycles.c.window_end)
    cycle = connection.execute(own.where(cycles.c.id == cycle_id)).one()
    later = _of_teacher(cycle.monitor, cycle.teacher_version).order_by(cycles.c.window_end)
    after = cycle.window_end
    while rows := _differing(connection, later, after, is_contradicted=is_contradicted):
        _set(connection, [row.cycle_id for row in rows], is_contradicted=is_contradicted)
        after = rows[-1].window_end


def health_at(connection: Connection, cycle_id: int) -> tuple[TeacherHealth, TeacherReason]:
    """Return the health of the teacher in a cycle, and its reason."""
    query = select(teacher_metrics.c.health, teacher_metrics.c.reason)
    row = connection.execute(query.where(teacher_metrics.c.cycle_id == cycle_id)).one_or_none()
    if row is None:  # of a cycle from before revision 0010
        return TeacherHealth.UNKNOWN, TeacherReason.NO_EVIDENCE
    return TeacherHealth(row.health), TeacherReason(row.reason)


def _differing(
    connection: Connection, later: Select[Any], after: datetime, *, is_contradicted: bool
) -> list[Row[Any]]:
    """Lock and return the rows after a window that took over another state, up to one whose labels decide."""
    following = later.where(cycles.c.window_end > after)
    first = connection.execute(following.limit(1)).one_or_none()
    if first is None or first.contradicted is not None or first.teacher_contradicted == is_contradicted:
        return []
    end = connection.scalar(
        following.with_only_columns(cycles.c.window_end).where(_rows.contradicted.is_not(None)).limit(1)
    )
    if end is not None:
        following = following.where(cycles.c.window_end < end)
    return list(connection.execute(following.with_for_update(of=estimated_accuracy)).all())


def _set(connection: Connection, cycle_ids: list[int], *, is_contradicted: bool) -> None:
    these = _rows.cycle_id.in_(cycle_ids)
    connection.execute(update(estimated_accuracy).where(these).values(teacher_contradicted=is_contradicted))
    shown, withheld = AccuracyReason.TEACHER_CALIBRATED, AccuracyReason.CONTRADICTED_BY_LABELS
    values: dict[str, Any] = {
        f"estimated_accuracy{end}": None if is_contradicted else _rows[f"by_confidence{end}"] for end in _ENDS
    }
    connection.execute(
        update(estimated_accuracy)
        .where(these, _rows.reason == (shown if is_contradicted else withheld))
        .values(
            **values,
            method=None if is_contradicted else AccuracyMethod.TEACHER_CONFIDENCE,
            reason=withheld if is_contradicted else shown,
        )
    )


def _of_teacher(monitor: str, teacher_version: str) -> Select[Any]:
    return (
        select(_rows.cycle_id, _rows.contradicted, _rows.teacher_contradicted, cycles.c.window_end)
        .join(cycles, cycles.c.id == _rows.cycle_id)
        .where(cycles.c.monitor == monitor, cycles.c.teacher_version == teacher_version)
    )
