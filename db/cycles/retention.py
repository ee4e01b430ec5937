"""The deletion of old cycles, incidents and worker tasks, some rows at a time.

Never deleted are jobs, models, promotions, evaluations, gate outcomes, calibrations and shadows.
Nor are cycles to which a job, an incident, an erasure or a running shadow refers, cycles with which a later
one was compared, and what the next decisions, the reference of a teacher or `redistill status` need.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Select, delete, exists, func, select, tuple_

from db.cycles import results, windows
from db.states import (
    CycleStatus,
    DeliveryState,
    IncidentState,
    ShadowState,
    TaskState,
    Verdict,
    VerdictReason,
)
from db.tables import (
    correctness,
    cycles,
    deliveries,
    erasures,
    incidents,
    input_drift,
    jobs,
    labels,
    rule_states,
    shadow_cycles,
    shadows,
    teacher_metrics,
    worker_tasks,
)

#: The most rows that one transaction deletes.
STEP_ROWS: Final = 500
#: The newest cycles of a monitor, which stay however old they are.
NEWEST_CYCLES: Final = 100
#: The newest cycles with true labels, which `redistill status` sums up.
LABELLED_CYCLES: Final = 24
#: The tables with rows of one cycle, which are deleted with it.
PARTS: Final = (*results.PARTS, labels)
_AT_ONCE: Final = 50


@dataclass(frozen=True, kw_only=True)
class Past:
    """The part of a monitor's history that may be deleted."""

    monitor: str
    before: datetime  #: of windows, incidents and tasks that ended before this
    kept: frozenset[int]  #: the numbers of cycles that stay all the same


def past(
    connection: Connection, monitor: str, keep: timedelta, now: datetime, *, reference_cycles: int
) -> Past | None:
    """Return what may be deleted of the monitor; None if it has had no cycle.

    Time is counted from the end of the newest window, or from `now` if that is earlier. So nothing is deleted
    because the monitor was stopped for long, or because a clock is ahead.
    """
    newest = windows.last_end(connection, monitor, now=now)
    if newest is None:
        return None
    kept = frozenset(_kept(connection, monitor, reference_cycles))
    return Past(monitor=monitor, before=newest - keep, kept=kept)


def delete_cycles(connection: Connection, past: Past, *, until: datetime) -> dict[str, int]:
    """Delete rows of the oldest cycles of windows up to `until`; return the numbers of rows by table.

    A cycle is deleted once nothing belongs to it any more, which may take several calls. First goes the input
    drift of cycles that stay only as the reference of a later one: else each would keep the one before it.
    """
    is_old = cycles.c.window_end <= until
    compared = _unneeded(past).where(is_old, exists().where(input_drift.c.cycle_id == cycles.c.id))
    some = connection.scalars(compared.order_by(cycles.c.window_end).limit(STEP_ROWS)).all()
    if some:
        own = delete(input_drift).where(input_drift.c.cycle_id.in_(some))
        return {"input_drift": connection.execute(own).rowcount}
    query = _cycles(past).where(is_old).order_by(cycles.c.window_end)
    found = connection.scalars(query.limit(_AT_ONCE)).all()
    deleted: dict[str, int] = {}
    left = STEP_ROWS
    for part in PARTS if found else ():
        keys = select(*part.primary_key).where(part.c.cycle_id.in_(found)).limit(left)
        rows = delete(part).where(tuple_(*part.primary_key).in_(keys))
        deleted[part.name] = connection.execute(rows).rowcount
        left -= deleted[part.name]
        if not left:
            return _without_zeros(deleted)
    if found:
        empty = delete(cycles).where(cycles.c.id.in_(found[:left]))
        deleted["cycles"] = connection.execute(empty).rowcount
    return _without_zeros(deleted)


def delete_incidents(connection: Connection, past: Past) -> dict[str, int]:
    """Delete rows of the oldest resolved incidents, messages first; return the numbers of rows by table."""
    found = connection.scalars(_incidents(past).order_by(incidents.c.id).limit(_AT_ONCE)).all()
    if not found:
        return {}
    some = select(deliveries.c.id).where(deliveries.c.incident_id.in_(found)).limit(STEP_ROWS)
    n = connection.execute(delete(deliveries).where(deliveries.c.id.in_(some))).rowcount
    if n == STEP_ROWS:
        return {"deliveries": n}
    empty = delete(incidents).where(incidents.c.id.in_(found[: STEP_ROWS - n]))
    return _without_zeros({"deliveries": n, "incidents": connection.execute(empty).rowcount})


def delete_worker_tasks(connection: Connection, past: Past) -> dict[str, int]:
    """Delete the oldest ended worker tasks; return the number of rows by table."""
    found = connection.scalars(_worker_tasks(past).order_by(worker_tasks.c.id).limit(STEP_ROWS)).all()
    if not found:
        return {}
    own = delete(worker_tasks).where(worker_tasks.c.id.in_(found))
    return {"worker_tasks": connection.execute(own).rowcount}


def deletable(connection: Connection, past: Past) -> dict[str, int]:
    """Return the numbers of cycles, incidents and worker tasks that may be deleted now."""
    queries = {"cycles": _cycles(past), "incidents": _incidents(past), "worker_tasks": _worker_tasks(past)}
    counted = {
        name: connection.scalar(select(func.count()).select_from(query.subquery())) or 0
        for name, query in queries.items()
    }
    return _without_zeros(counted)


def _without_zeros(counted: dict[str, int]) -> dict[str, int]:
    return {name: n for name, n in counted.items() if n}


def _unneeded(past: Past) -> Select[tuple[int]]:
    refers = (
        exists().where(each.c.cycle_id == cycles.c.id) for each in (jobs, incidents, rule_states, erasures)
    )
    of_running_shadow = exists().where(
        shadow_cycles.c.cycle_id == cycles.c.id,
        shadow_cycles.c.shadow_id == shadows.c.id,
        shadows.c.state == ShadowState.RUNNING,
    )
    return select(cycles.c.id).where(
        cycles.c.monitor == past.monitor,
        cycles.c.window_end < past.before,
        cycles.c.status != CycleStatus.RUNNING,
        cycles.c.id.not_in(past.kept),
        *(~each for each in (*refers, of_running_shadow)),
    )


def _cycles(past: Past) -> Select[tuple[int]]:
    is_reference = exists().where(
        input_drift.c.reference_cycle_id == cycles.c.id, input_drift.c.cycle_id != cycles.c.id
    )
    return _unneeded(past).where(~is_reference)


def _incidents(past: Past) -> Select[tuple[int]]:
    """Return the query for resolved incidents, without those that have a message which is needed.

    That is one that waits, and one that was given up if its channel has settled none since: it shows that the
    channel fails.
    """
    later, of_monitor = deliveries.alias(), incidents.alias()
    is_settled_since = exists().where(
        later.c.channel == deliveries.c.channel,
        later.c.id > deliveries.c.id,
        later.c.state != DeliveryState.PENDING,
        later.c.incident_id == of_monitor.c.id,
        of_monitor.c.monitor == past.monitor,
    )
    is_needed = exists().where(
        deliveries.c.incident_id == incidents.c.id,
        (deliveries.c.state == DeliveryState.PENDING)
        | ((deliveries.c.state == DeliveryState.DEAD) & ~is_settled_since),
    )
    return select(incidents.c.id).where(
        incidents.c.monitor == past.monitor,
        incidents.c.state == IncidentState.RESOLVED,
        incidents.c.resolved_at < past.before,
        ~is_needed,
    )


def _worker_tasks(past: Past) -> Select[tuple[int]]:
    own = select(jobs.c.monitor).where(jobs.c.id == worker_tasks.c.job_id).scalar_subquery()
    return select(worker_tasks.c.id).where(
        worker_tasks.c.state == TaskState.ENDED, worker_tasks.c.ended_at < past.before, own == past.monitor
    )


def _kept(connection: Connection, monitor: str, reference_cycles: int) -> Iterator[int]:
    """Yield the cycles that are needed although nothing refers to them."""
    own = select(cycles.c.id).where(cycles.c.monitor == monitor)
    newest, last_finished = (
        own.order_by(cycles.c.window_end.desc()),
        own.order_by(cycles.c.finished_at.desc()),
    )
    evaluated = own.where(cycles.c.status == CycleStatus.EVALUATED)
    measured = evaluated.join(teacher_metrics, teacher_metrics.c.cycle_id == cycles.c.id)
    labelled = newest.join(correctness, correctness.c.cycle_id == cycles.c.id)
    queries = [
        newest.limit(NEWEST_CYCLES),
        labelled.limit(LABELLED_CYCLES),
        newest.where(cycles.c.verdict_reason == VerdictReason.RULE_FIRED).limit(1),
        last_finished.where(cycles.c.verdict == Verdict.HEALTHY).limit(1),
        last_finished.where(cycles.c.verdict_reason == VerdictReason.TEACHER_UNHEALTHY).limit(1),
    ]
    versions = select(cycles.c.teacher_version).where(cycles.c.monitor == monitor).distinct()
    for version in connection.scalars(versions).all():
        of_teacher = cycles.c.teacher_version == version
        queries += [
            evaluated.where(of_teacher).order_by(cycles.c.window_end).limit(reference_cycles),
            measured.where(of_teacher).order_by(cycles.c.window_end).limit(reference_cycles),
            evaluated.where(of_teacher).order_by(cycles.c.window_end.desc()).limit(1),
            labelled.where(of_teacher).limit(reference_cycles),
        ]
    for query in queries:
        yield from connection.scalars(query)
