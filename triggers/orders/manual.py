"""A re-distillation that a person orders: the same kind of job as a cycle's, without a rule."""

from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import Connection

from db import queue, versions
from db.archives import cycle_archives
from db.errors import RedistillError
from db.records import ModelVersion, NewJob
from db.states import Role
from triggers.orders import alpha
from triggers.orders.episode import last_job_before_episode
from triggers.settings import AlphaPolicy


class NothingInServiceError(RedistillError):
    """No {role} is in service for the monitor {monitor!r} yet: run a first cycle (`redistill cycle`), which
    records both models.
    """


def order_by_hand(
    connection: Connection,
    monitor: str,
    policy: AlphaPolicy,
    *,
    reason: str,
    alpha_to: Decimal | None,
    kept: timedelta,
    now: datetime,
) -> int:
    """Queue a job for the teacher and the student in service, and return its number.

    Attempts, floor and cooldown do not apply. `alpha_to` defaults to one step below the ladder's alpha, and
    to the floor if the ladder is there. The job's data end at the newest cycle of the two models whose sample
    is still kept, whatever its verdict.

    Raises:
        NothingInServiceError: no cycle has recorded a teacher and a student.
        OpenJobError: the monitor has a queued or running job.
    """
    teacher, student = (_serving(connection, monitor, role) for role in (Role.TEACHER, Role.STUDENT))
    alpha_from = _alpha_now(connection, teacher, student, policy, now)
    step = policy.alpha_step if alpha.lowers(policy, None) else Decimal(0)
    lower = min(alpha_from, max(alpha_from - step, policy.alpha_floor))
    job = NewJob(
        monitor=monitor,
        cycle_id=cycle_archives.newest(
            connection, monitor, (teacher.version, student.version), since=now - kept
        ),
        rule=None,
        reason=reason,
        teacher_version=teacher.version,
        student_version=student.version,
        alpha_from=alpha_from,
        alpha_to=lower if alpha_to is None else alpha_to,
        temperature=policy.temperature,
    )
    with queue.one_open_job(connection, monitor):
        return queue.enqueue(connection, job, now)


def _serving(connection: Connection, monitor: str, role: Role) -> ModelVersion:
    model = versions.current(connection, monitor, role)
    if model is None:
        raise NothingInServiceError(role=role, monitor=monitor)
    return model


def _alpha_now(
    connection: Connection, teacher: ModelVersion, student: ModelVersion, policy: AlphaPolicy, now: datetime
) -> Decimal:
    """Return the ladder's present alpha, as a cycle would find it."""
    jobs = queue.of_monitor(connection, student.monitor)
    since = versions.ladder_since(connection, student.monitor)
    ladder = alpha.ladder_of(
        [job for job in jobs if job.teacher_version == teacher.version],
        began_at=since,
        before_episode=last_job_before_episode(connection, student.monitor, policy, ladder_since=since),
        student_alpha=alpha.alpha_from_teacher(student.alpha, student.version, teacher.version, jobs),
        wanted=True,
        is_latest=True,
    )
    return alpha.decide(policy, ladder, now).alpha_from
