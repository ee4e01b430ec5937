"""The present state of a monitor, as its metrics show it: each number by an index, none by a long scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BindParameter, Connection, bindparam, func, select

from db import incidents, queue, versions
from db.records import Job, ModelVersion
from db.states import (
    CycleStatus,
    DeliveryState,
    IncidentKind,
    Role,
    TeacherHealth,
    Verdict,
    VerdictReason,
)
from db.tables import (
    class_metrics,
    cycles,
    deliveries,
    input_drift,
    leases,
    rule_outcomes,
    teacher_metrics,
)
from db.tables import incidents as incident_rows
from db.telemetry import counts

#: The kinds of leases of a monitor, by the beginning of their names.
LEASES: Final = ("monitor", "calibration", "erasure", "job")


@dataclass(frozen=True, kw_only=True)
class EndedCycle:
    """The cycle of the newest window that has a verdict, whatever it is."""

    window_start: datetime
    window_end: datetime
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class LabelShare:
    """A label's share of a window's requests, and the agreement on them; both in [0, 1]."""

    label: str
    share: float
    agreement: float


@dataclass(frozen=True, kw_only=True)
class EvaluatedCycle:
    """The newest cycle that judged the student."""

    window_end: datetime
    agreement: tuple[float, float, float]  #: estimate, and lower and upper end of the 95% interval
    kl: tuple[float, float, float]  #: the same, in nats
    labels: tuple[LabelShare, ...]
    input_drift: float | None  #: accuracy in [0.5, 1] of telling the window from an earlier one
    label_mix_psi: float | None  #: nats


@dataclass(frozen=True, kw_only=True)
class MonitorState:
    """Everything that the metrics of a monitor show."""

    ended: EndedCycle | None
    evaluated: EvaluatedCycle | None
    streaks: Mapping[str, int]  #: by rule, after the newest cycle that was measured
    teacher: TeacherHealth | None
    student: ModelVersion | None
    job: Job | None  #: queued or running
    leases: Mapping[str, datetime]  #: by kind, when it expires or was released
    incidents: Sequence[IncidentKind]  #: open ones of which the on-call was notified
    pending: Mapping[str, int]  #: messages that wait, by channel
    counts: Mapping[str, Sequence[tuple[Mapping[str, str], float]]]


def read(connection: Connection, monitor: str) -> MonitorState:
    """Return the state of the monitor, all of it as of one moment."""
    job = queue.open_job(connection, monitor)
    return MonitorState(
        ended=_ended(connection, monitor),
        evaluated=_evaluated(connection, monitor),
        streaks=_streaks(connection, monitor),
        teacher=_teacher(connection, monitor),
        student=versions.current(connection, monitor, Role.STUDENT),
        job=job,
        leases=_leases(connection, monitor, job),
        incidents=tuple(each.kind for each in incidents.firing(connection, monitor)),
        pending=_pending(connection, monitor),
        counts=counts.of_monitor(connection, monitor),
    )


def _ended(connection: Connection, monitor: str) -> EndedCycle | None:
    row = connection.execute(
        select(cycles.c.window_start, cycles.c.window_end, cycles.c.verdict)
        .where(cycles.c.monitor == monitor, cycles.c.verdict.is_not(None))
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    return EndedCycle(window_start=row.window_start, window_end=row.window_end, verdict=Verdict(row.verdict))


def _evaluated(connection: Connection, monitor: str) -> EvaluatedCycle | None:
    row = connection.execute(
        select(cycles, input_drift.c.accuracy, input_drift.c.psi)
        .outerjoin(input_drift, input_drift.c.cycle_id == cycles.c.id)
        .where(cycles.c.monitor == monitor, cycles.c.status == CycleStatus.EVALUATED)
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    columns = (class_metrics.c.label, class_metrics.c.share, class_metrics.c.agreement)
    labels = connection.execute(select(*columns).where(class_metrics.c.cycle_id == row.id))
    return EvaluatedCycle(
        window_end=row.window_end,
        agreement=(row.agreement, row.agreement_low, row.agreement_high),
        kl=(row.kl, row.kl_low, row.kl_high),
        labels=tuple(LabelShare(**each._mapping) for each in labels),  # noqa: SLF001 - SQLAlchemy's public name
        input_drift=row.accuracy,
        label_mix_psi=row.psi,
    )


def _streaks(connection: Connection, monitor: str) -> dict[str, int]:
    measured = (CycleStatus.EVALUATED, CycleStatus.INCONCLUSIVE)
    newest = (
        select(cycles.c.id)
        .where(
            cycles.c.monitor == monitor,
            cycles.c.status.in_(measured),
            cycles.c.verdict_reason != VerdictReason.QUIET,
        )
        .order_by(cycles.c.window_end.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = connection.execute(
        select(rule_outcomes.c.rule, rule_outcomes.c.streak).where(rule_outcomes.c.cycle_id == newest)
    )
    return {row.rule: row.streak for row in rows}


def _teacher(connection: Connection, monitor: str) -> TeacherHealth | None:
    found = connection.scalar(
        select(teacher_metrics.c.health)
        .join(cycles, cycles.c.id == teacher_metrics.c.cycle_id)
        .where(cycles.c.monitor == monitor)
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    )
    return None if found is None else TeacherHealth(found)


def _leases(connection: Connection, monitor: str, job: Job | None) -> dict[str, datetime]:
    names = {f"{kind}:{monitor}": kind for kind in LEASES if kind != "job"}
    if job is not None:
        names[queue.lease_name(job.job_id)] = "job"
    rows = connection.execute(select(leases.c.name, leases.c.expires_at).where(leases.c.name.in_(names)))
    return {names[row.name]: row.expires_at for row in rows}


def _pending(connection: Connection, monitor: str) -> dict[str, int]:
    # A literal value, as in the partial index: see db/outbox.py.
    pending: BindParameter[str] = bindparam("pending", DeliveryState.PENDING, literal_execute=True)
    rows = connection.execute(
        select(deliveries.c.channel, func.count().label("n"))
        .join(incident_rows)
        .where(incident_rows.c.monitor == monitor, deliveries.c.state == pending)
        .group_by(deliveries.c.channel)
    )
    return {row.channel: row.n for row in rows}
