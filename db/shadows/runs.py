"""The shadows of a monitor: their start, their end, and the one that runs."""

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Row, insert, select, update

from db.records import Job, Shadow
from db.states import JobDecision, ShadowReason, ShadowState
from db.tables import jobs, shadows

#: The decision on the job of a shadow that ended with one.
_DECISIONS: Final = {
    ShadowState.PROMOTED: JobDecision.PROMOTED,
    ShadowState.STOPPED: JobDecision.REJECTED,
}


def start(connection: Connection, job: Job, candidate_version: str, now: datetime) -> int:
    """Begin the shadow of a job's candidate beside the job's incumbent, and return its number.

    A monitor has one running shadow: an older one is superseded.
    """
    older = running(connection, job.monitor)
    if older is not None:
        _supersede(connection, older, ShadowReason.NEWER_CANDIDATE, by=candidate_version, now=now)
    statement = insert(shadows).values(
        monitor=job.monitor,
        job_id=job.job_id,
        candidate_version=candidate_version,
        incumbent_version=job.student_version,
        state=ShadowState.RUNNING,
        started_at=now,
    )
    return int(connection.execute(statement.returning(shadows.c.id)).scalar_one())


def running(connection: Connection, monitor: str) -> Shadow | None:
    """Return the monitor's running shadow, or None."""
    row = connection.execute(
        select(shadows).where(shadows.c.monitor == monitor, shadows.c.state == ShadowState.RUNNING)
    ).one_or_none()
    return _shadow(row) if row else None


def end(
    connection: Connection,
    shadow: Shadow,
    *,
    state: ShadowState,
    reason: ShadowReason,
    detail: str,
    now: datetime,
) -> bool:
    """End a running shadow, with the decision on its job; return False if it has ended already."""
    this = (shadows.c.id == shadow.shadow_id, shadows.c.state == ShadowState.RUNNING)
    ended = update(shadows).where(*this).values(state=state, reason=reason, detail=detail, ended_at=now)
    if connection.execute(ended).rowcount != 1:
        return False
    if (decision := _DECISIONS.get(state)) is not None:
        own = (jobs.c.id == shadow.job_id, jobs.c.decision == JobDecision.SHADOWED)
        decided = update(jobs).where(*own).values(decision=decision, decision_reason=detail)
        connection.execute(decided)
    return True


def supersede(connection: Connection, monitor: str, *, by: str, now: datetime) -> None:
    """End the monitor's running shadow, if there is one, as the student `by` comes into service."""
    shadow = running(connection, monitor)
    if shadow is None:
        return
    is_own = by == shadow.candidate_version
    reason = ShadowReason.BY_HAND if is_own else ShadowReason.OTHER_STUDENT
    _supersede(connection, shadow, reason, by=by, now=now)


def _supersede(
    connection: Connection, shadow: Shadow, reason: ShadowReason, *, by: str, now: datetime
) -> None:
    what = {
        ShadowReason.BY_HAND: "the candidate was promoted without waiting for its shadow",
        ShadowReason.OTHER_STUDENT: f"the student {by[:12]} came into service",
        ShadowReason.NEWER_CANDIDATE: f"a newer job made the candidate {by[:12]}",
    }
    end(connection, shadow, state=ShadowState.SUPERSEDED, reason=reason, detail=what[reason], now=now)


def _shadow(row: Row[tuple[object, ...]]) -> Shadow:
    fields = row._asdict()
    return Shadow(
        shadow_id=fields.pop("id"),
        **{name: fields[name] for name in Shadow.__dataclass_fields__ if name in fields},
    )
