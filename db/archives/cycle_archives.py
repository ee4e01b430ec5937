"""Ended cycles whose samples were archived."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Row, exists, or_, select, update

from db.records import ArchivedCycle, Job, SampledCycle, Slot
from db.states import CycleStatus, LabelOutcome, Role, TeacherHealth, TeacherReason, Verdict, VerdictReason
from db.tables import correctness, cycles, jobs, promotions, teacher_metrics


@dataclass(frozen=True, kw_only=True)
class PairArchive:
    """The archived sample of one cycle of a version pair."""

    cycle_id: int
    uri: str
    sha256: str
    n: int  #: sampled requests


@dataclass(frozen=True, kw_only=True)
class StudentArchive:
    """The archived sample of one cycle of a student."""

    cycle_id: int
    window_end: datetime
    uri: str
    sha256: str
    teacher_version: str
    is_evaluated: bool  #: the teacher was healthy enough for a verdict
    n: int  #: sampled requests
    n_labelled: int  #: those with a true label, without disagreements on one that no model has


@dataclass(frozen=True, kw_only=True)
class NewestTeacher:
    """The teacher of the newest cycle that had enough requests to judge it."""

    version: str
    health: TeacherHealth


def newest(connection: Connection, monitor: str, pair: tuple[str, str], *, since: datetime) -> int | None:
    """Return the newest archived cycle of the (teacher, student) pair whose window ended at `since` or later.

    The cycle is evaluated, or inconclusive only because the teacher's mix of labels moved.
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


def of_pair(connection: Connection, cycle_id: int, *, kept: timedelta) -> tuple[PairArchive, ...]:
    """Return the samples of the cycle's version pair that condemned its student, newest first.

    The cycle's own sample comes first, whatever its verdict: a person may order a job from a healthy cycle.
    Cycles that are inconclusive only because the teacher's mix of labels moved are included: that mix may be
    the drift. Samples of windows that ended more than `kept` before the cycle's own window have expired.
    """
    cycle = connection.execute(select(cycles).where(cycles.c.id == cycle_id)).one()
    return _of_pair(connection, cycle, since=cycle.window_end - kept)


def of_promoted_jobs(
    connection: Connection, job: Job, *, newest: int, kept: timedelta
) -> tuple[PairArchive, ...]:
    """Return the samples of the monitor's `newest` earlier jobs of the same teacher, newest job first.

    Only jobs count whose candidates came into service. Of each, the samples are those of `of_pair`, as far as
    their windows ended within `kept` before that of the job's own cycle.
    """
    served = exists().where(
        promotions.c.monitor == jobs.c.monitor,
        promotions.c.role == Role.STUDENT,
        promotions.c.version == jobs.c.candidate_version,
    )
    rows = connection.execute(
        select(cycles)
        .join(jobs, jobs.c.cycle_id == cycles.c.id)
        .where(
            jobs.c.monitor == job.monitor,
            jobs.c.teacher_version == job.teacher_version,
            jobs.c.id < job.job_id,
            served,
        )
        .order_by(jobs.c.id.desc())
        .limit(newest)
    ).all()
    own = connection.scalar(select(cycles.c.window_end).where(cycles.c.id == job.cycle_id))
    since = (own or job.enqueued_at) - kept
    return tuple(archive for row in rows for archive in _of_pair(connection, row, since=since))


def _of_pair(
    connection: Connection, cycle: Row[tuple[object, ...]], *, since: datetime
) -> tuple[PairArchive, ...]:
    rows = connection.execute(
        select(cycles.c.id, cycles.c.archive, cycles.c.archive_sha256, cycles.c.n_sampled)
        .where(
            cycles.c.monitor == cycle.monitor,
            cycles.c.teacher_version == cycle.teacher_version,
            cycles.c.student_version == cycle.student_version,
            or_(cycles.c.verdict == Verdict.BREACHED, cycles.c.id == cycle.id, _only_labels_moved()),
            cycles.c.window_end <= cycle.window_end,
            cycles.c.window_end >= since,
            cycles.c.archive.is_not(None),
        )
        .order_by(cycles.c.window_end.desc())
    )
    return tuple(
        PairArchive(cycle_id=row.id, uri=row.archive, sha256=row.archive_sha256, n=row.n_sampled or 0)
        for row in rows
    )


def scored_before(
    connection: Connection, slot: Slot, teacher_version: str, *, since: datetime
) -> tuple[tuple[str, str], ...]:
    """Return (URI, SHA-256) of the samples that the teacher scored in the monitor's windows before the slot.

    They come newest first, from windows that ended at `since` or later and whose teacher was not unhealthy.
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


def healthy_before(
    connection: Connection, slot: Slot, pair: tuple[str, str], *, since: datetime
) -> tuple[ArchivedCycle, ...]:
    """Return the healthy, archived cycles of the (teacher, student) pair before the slot.

    They come oldest first, from windows that ended at `since` or later.
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


def of_student(
    connection: Connection, monitor: str, student_version: str, *, since: datetime
) -> tuple[StudentArchive, ...]:
    """Return the student's archived samples of windows that ended after `since`, newest first."""
    query = (
        select(
            cycles.c.id,
            cycles.c.status,
            cycles.c.window_end,
            cycles.c.archive,
            cycles.c.archive_sha256,
            cycles.c.teacher_version,
            cycles.c.n_sampled,
            correctness.c.tallies,
        )
        .join(correctness, correctness.c.cycle_id == cycles.c.id, isouter=True)
        .where(
            cycles.c.monitor == monitor,
            cycles.c.student_version == student_version,
            cycles.c.status.in_((CycleStatus.EVALUATED, CycleStatus.INCONCLUSIVE)),
            cycles.c.window_end > since,
            cycles.c.archive.is_not(None),
        )
        .order_by(cycles.c.window_end.desc())
    )
    return tuple(
        StudentArchive(
            cycle_id=row.id,
            window_end=row.window_end,
            uri=row.archive,
            sha256=row.archive_sha256,
            teacher_version=row.teacher_version,
            is_evaluated=row.status == CycleStatus.EVALUATED,
            n=row.n_sampled or 0,
            n_labelled=0 if row.tallies is None else _n_in_scope(row.tallies),
        )
        for row in connection.execute(query)
    )


def sample_of_cycle(connection: Connection, monitor: str, cycle_id: int | None = None) -> SampledCycle | None:
    """Return the archived sample of a cycle, by default of the newest one that has a sample; None if none."""
    query = (
        select(cycles.c.id, cycles.c.window_end, cycles.c.archive, cycles.c.archive_sha256)
        .where(cycles.c.monitor == monitor, cycles.c.archive.is_not(None))
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    )
    row = connection.execute(
        query if cycle_id is None else query.where(cycles.c.id == cycle_id)
    ).one_or_none()
    return row and SampledCycle(
        cycle_id=row.id, window_end=row.window_end, uri=row.archive, sha256=row.archive_sha256
    )


def newest_teacher(connection: Connection, monitor: str) -> NewestTeacher | None:
    """Return the teacher of the newest cycle with enough evidence about it, or None if there is none."""
    row = connection.execute(
        select(cycles.c.teacher_version, teacher_metrics.c.health)
        .join(teacher_metrics, teacher_metrics.c.cycle_id == cycles.c.id)
        .where(cycles.c.monitor == monitor, teacher_metrics.c.reason != TeacherReason.NO_EVIDENCE)
        .order_by(cycles.c.window_end.desc())
        .limit(1)
    ).one_or_none()
    return row and NewestTeacher(version=row.teacher_version, health=TeacherHealth(row.health))


def _only_labels_moved() -> ColumnElement[bool]:
    moved = select(teacher_metrics.c.cycle_id).where(teacher_metrics.c.reason == TeacherReason.LABELS_MOVED)
    return (cycles.c.verdict_reason == VerdictReason.TEACHER_UNHEALTHY) & cycles.c.id.in_(moved)


def move(connection: Connection, cycle_id: int, before: str, after: str) -> None:
    """Record the new place of a cycle's archive, unless the cycle has another archive by now."""
    own = (cycles.c.id == cycle_id, cycles.c.archive == before)
    connection.execute(update(cycles).where(*own).values(archive=after))


def _n_in_scope(tallies: str) -> int:
    stored = json.loads(tallies)
    return sum(stored[outcome][0] for outcome in LabelOutcome if outcome is not LabelOutcome.OUT_OF_SCOPE)
