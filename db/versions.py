"""Model versions: their records, their times as the current version, and their evaluations."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, func, insert, select, update

from db.errors import RedistillError
from db.records import Evaluation, GateOutcome, ModelVersion, TrainedEpoch
from db.shadows import runs as shadow_runs
from db.states import GateResult, JobDecision, JobRecovery, PromotionReason, Role
from db.tables import evaluations, gate_outcomes, jobs, models, promotions, training_epochs

_BACK: Final = (PromotionReason.ROLLBACK, PromotionReason.NOT_RECOVERED)
#: The promotions of jobs' candidates without a person.
_OF_JOBS: Final = (PromotionReason.GATES_PASSED, PromotionReason.SHADOW_PASSED)


class NoSuchModelError(RedistillError):
    """No single student version begins with {version!r}: choose one from `redistill models list`."""


class FilesBeingDeletedError(RedistillError):
    """The files of the student {version} are being deleted (keep_versions in [redistill]): promote another
    version of `redistill models list`.
    """


def is_known(connection: Connection, version: str) -> bool:
    """Return whether any monitor of the database has the version."""
    query = select(models.c.id).where(models.c.version == version)
    return connection.scalar(query.limit(1)) is not None


def find(connection: Connection, monitor: str, role: Role, version: str) -> ModelVersion | None:
    """Return the recorded version, or None."""
    row = connection.execute(
        select(models).where(models.c.monitor == monitor, models.c.role == role, models.c.version == version)
    ).one_or_none()
    return _model(row) if row else None


def by_prefix(connection: Connection, monitor: str, prefix: str) -> ModelVersion:
    """Return the only student whose version begins with `prefix`.

    Raises:
        NoSuchModelError: no student version begins with it, several do, or it is empty, as a variable of a
            script may be.
    """
    rows = connection.execute(
        select(models).where(
            models.c.monitor == monitor,
            models.c.role == Role.STUDENT,
            models.c.version.startswith(prefix, autoescape=True),
        )
    ).all()
    if len(rows) != 1 or not prefix:
        raise NoSuchModelError(version=prefix)
    return _model(rows[0])


def record(connection: Connection, model: ModelVersion, now: datetime) -> None:
    """Record a version whose files are there; leave a version that is known already as it is."""
    if find(connection, model.monitor, model.role, model.version) is None:
        connection.execute(insert(models).values(**asdict(model), created_at=now))
    else:
        _found_again(connection, model)


def move(connection: Connection, model: ModelVersion) -> None:
    """Record the new place of a version's files."""
    own = (models.c.monitor == model.monitor, models.c.role == model.role, models.c.version == model.version)
    connection.execute(update(models).where(*own).values(uri=model.uri))


def current(connection: Connection, monitor: str, role: Role) -> ModelVersion | None:
    """Return the version in service, or None before the first one."""
    row = connection.execute(
        select(models)
        .join(
            promotions,
            (promotions.c.monitor == models.c.monitor)
            & (promotions.c.role == models.c.role)
            & (promotions.c.version == models.c.version),
        )
        .where(
            promotions.c.monitor == monitor,
            promotions.c.role == role,
            promotions.c.retired_at.is_(None),
        )
    ).one_or_none()
    return _model(row) if row else None


def current_since(connection: Connection, monitor: str, role: Role) -> datetime | None:
    """Return when the version in service became the current one, or None before the first one."""
    return connection.scalar(
        select(promotions.c.promoted_at).where(
            promotions.c.monitor == monitor, promotions.c.role == role, promotions.c.retired_at.is_(None)
        )
    )


def current_reason(connection: Connection, monitor: str, role: Role) -> PromotionReason | None:
    """Return why the version in service became the current one, or None before the first one."""
    reason = connection.scalar(
        select(promotions.c.reason).where(
            promotions.c.monitor == monitor, promotions.c.role == role, promotions.c.retired_at.is_(None)
        )
    )
    return None if reason is None else PromotionReason(reason)


def previous_student(connection: Connection, monitor: str) -> ModelVersion | None:
    """Return the student that the one in service has replaced, or None."""
    version = connection.scalar(
        select(promotions.c.version)
        .where(
            promotions.c.monitor == monitor,
            promotions.c.role == Role.STUDENT,
            promotions.c.retired_at.is_not(None),
        )
        .order_by(promotions.c.id.desc())
        .limit(1)
    )
    return None if version is None else find(connection, monitor, Role.STUDENT, version)


def predecessor(history: Sequence[tuple[str, PromotionReason]]) -> str | None:
    """Return the version that a rollback promotes, from the (version, reason) of all promotions in order.

    A rollback undoes the promotions after the one it returns to, so that the next rollback returns further:
    after A, B, C and a rollback to B, the predecessor is A. None if there is none.
    """
    served: list[str] = []
    for version, reason in history:
        if reason in _BACK and version in served:
            while served[-1] != version:
                served.pop()
        elif not served or served[-1] != version:
            served.append(version)
    return served[-2] if len(served) > 1 else None


def rollback_version(connection: Connection, monitor: str) -> str | None:
    """Return the student that `redistill models rollback` promotes, or None."""
    rows = connection.execute(
        select(promotions.c.version, promotions.c.reason)
        .where(promotions.c.monitor == monitor, promotions.c.role == Role.STUDENT)
        .order_by(promotions.c.id)
    )
    return predecessor([(row.version, PromotionReason(row.reason)) for row in rows])


def promoted_by_gates_at(connection: Connection, monitor: str) -> datetime | None:
    """Return when the student in service was promoted by its gates or its shadow, or None if it was not."""
    return connection.scalar(
        select(promotions.c.promoted_at).where(
            promotions.c.monitor == monitor,
            promotions.c.role == Role.STUDENT,
            promotions.c.retired_at.is_(None),
            promotions.c.reason.in_(_OF_JOBS),
        )
    )


def ladder_since(connection: Connection, monitor: str) -> datetime | None:
    """Return when the last student that has its own ladder became the current one.

    A candidate that has not helped, or has not shown yet whether it helps, continues the ladder of its
    predecessor, and so does the student that serves again after the candidate.
    """
    did_not_help = (
        select(jobs.c.id)
        .where(
            jobs.c.monitor == promotions.c.monitor,
            jobs.c.candidate_version == promotions.c.version,
            jobs.c.decision == JobDecision.PROMOTED,
            jobs.c.recovery.is_distinct_from(JobRecovery.RECOVERED),
        )
        .exists()
    )
    since: datetime | None = connection.scalar(
        select(func.max(promotions.c.promoted_at)).where(
            promotions.c.monitor == monitor,
            promotions.c.role == Role.STUDENT,
            promotions.c.reason != PromotionReason.NOT_RECOVERED,
            ~(promotions.c.reason.in_(_OF_JOBS) & did_not_help),
        )
    )
    return since


def lock_promotions(connection: Connection, monitor: str, role: Role) -> None:
    """Let no other transaction promote a version of the role, or begin to delete its files, meanwhile."""
    rivals = select(models.c.version).where(models.c.monitor == monitor, models.c.role == role)
    connection.execute(rivals.order_by(models.c.version).with_for_update())


def promote(connection: Connection, model: ModelVersion, reason: PromotionReason, now: datetime) -> None:
    """Make a recorded version, whose files are there, the current one and retire the one before it.

    A running shadow is superseded: its candidate was compared with the student that is retired.

    Raises:
        FilesBeingDeletedError: a worker has begun to delete its files.
    """
    lock_promotions(connection, model.monitor, model.role)
    _found_again(connection, model)
    if model.role is Role.STUDENT:
        shadow_runs.supersede(connection, model.monitor, by=model.version, now=now)
    connection.execute(
        update(promotions)
        .where(
            promotions.c.monitor == model.monitor,
            promotions.c.role == model.role,
            promotions.c.retired_at.is_(None),
        )
        .values(retired_at=now)
    )
    connection.execute(
        insert(promotions).values(
            monitor=model.monitor,
            role=model.role,
            version=model.version,
            reason=reason,
            promoted_at=now,
        )
    )


def add_evaluations(
    connection: Connection, model: ModelVersion, job_id: int, evaluated: Iterable[Evaluation]
) -> None:
    """Store what a job measured on a version."""
    rows = [
        {
            "monitor": model.monitor,
            "version": model.version,
            "job_id": job_id,
            "dataset": evaluation.dataset,
            "metric": metric.name,
            "value": _or_null(metric.value),
            "low": _or_null(metric.low),
            "high": _or_null(metric.high),
            "n": metric.n,
            "spread": metric.spread,
        }
        for evaluation in evaluated
        for metric in evaluation.metrics
    ]
    if rows:
        connection.execute(insert(evaluations), rows)


def is_promoted_by_labels(connection: Connection, job_id: int) -> bool:
    """Return whether true labels decided on the candidate, in place of its agreement with the teacher."""
    query = select(gate_outcomes.c.gate).where(
        gate_outcomes.c.job_id == job_id, gate_outcomes.c.result == GateResult.REPORTED
    )
    return connection.execute(query.limit(1)).first() is not None


def is_improvement(connection: Connection, job_id: int) -> bool:
    """Return whether a job's candidate was below the threshold on the condemned sample, but proven better.

    Better means than the student before, by its agreement with the teacher there.
    """
    query = select(gate_outcomes.c.gate).where(
        gate_outcomes.c.job_id == job_id,
        gate_outcomes.c.dataset == "condemned",
        gate_outcomes.c.result.in_([GateResult.INCONCLUSIVE, GateResult.IMPROVES]),
    )
    return connection.execute(query.limit(1)).first() is not None


def add_gate_outcomes(connection: Connection, job_id: int, outcomes: Iterable[GateOutcome]) -> None:
    """Store the gates' results for a job's candidate."""
    rows = [
        {
            "job_id": job_id,
            **asdict(outcome),
            "value": _or_null(outcome.value),
            "incumbent_value": _or_null(outcome.incumbent_value),
        }
        for outcome in outcomes
    ]
    if rows:
        connection.execute(insert(gate_outcomes), rows)


def add_training(connection: Connection, job_id: int, epochs: Iterable[TrainedEpoch]) -> None:
    """Store the epochs of a job's training."""
    rows = [{"job_id": job_id, **asdict(epoch)} for epoch in epochs]
    if rows:
        connection.execute(insert(training_epochs), rows)


def _found_again(connection: Connection, model: ModelVersion) -> None:
    """Record that the files of a version are there, although they may have been deleted before."""
    this = (
        models.c.monitor == model.monitor,
        models.c.role == model.role,
        models.c.version == model.version,
        models.c.files_deleting_since.is_not(None),
    )
    is_deleted = connection.execute(select(models.c.files_deleted_at).where(*this)).one_or_none()
    if is_deleted is None:
        return
    if is_deleted.files_deleted_at is None:
        raise FilesBeingDeletedError(version=model.version[:12])
    there = {"files_deleting_since": None, "files_deleted_at": None}
    connection.execute(update(models).where(*this).values(there))


def _or_null(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value


def _model(row: Row[tuple[object, ...]]) -> ModelVersion:
    fields = row._asdict()
    return ModelVersion(
        role=Role(fields.pop("role")),
        **{name: fields[name] for name in ModelVersion.__dataclass_fields__ if name in fields},
    )
