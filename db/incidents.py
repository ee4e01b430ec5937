"""Incidents: at most one a monitor and kind is open, and at most one is pending."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, Row, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from db.errors import RedistillError
from db.records import Incident
from db.states import IncidentKind, IncidentState, Severity
from db.tables import incidents

#: As stored. One that a person has taken is firing, with the time when they did: code that knows nothing of
#: it sees an open incident.
_UNRESOLVED = (IncidentState.PENDING, IncidentState.FIRING)


class NoSuchIncidentError(RedistillError):
    """There is no incident {incident_id}: `redistill incidents list` shows those there are."""


class LaterIncidentError(RedistillError):
    """Incident {incident_id} is of the kind {kind!r}, which a later version of redistill has opened: take it
    with that one.
    """


def unresolved(connection: Connection, monitor: str) -> tuple[Incident, ...]:
    """Those that are pending, firing or acknowledged, oldest first.

    Kinds that only a later version knows, which works or has worked beside this one, are left to it.
    """
    rows = connection.execute(
        select(incidents)
        .where(
            incidents.c.monitor == monitor,
            incidents.c.state.in_(_UNRESOLVED),
            incidents.c.kind.in_(list(IncidentKind)),
        )
        .order_by(incidents.c.id)
    )
    return tuple(_incident(row) for row in rows)


def firing(connection: Connection, monitor: str) -> tuple[Incident, ...]:
    """Those of which the on-call was told and that are not over, oldest first."""
    return tuple(each for each in unresolved(connection, monitor) if each.state is not IncidentState.PENDING)


def get(connection: Connection, monitor: str, incident_id: int) -> Incident:
    """The monitor's incident as it stands; nobody changes it until this transaction ends."""
    row = connection.execute(
        select(incidents)
        .where(incidents.c.id == incident_id, incidents.c.monitor == monitor)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise NoSuchIncidentError(incident_id=incident_id)
    if row.kind not in set(IncidentKind):
        raise LaterIncidentError(incident_id=incident_id, kind=row.kind)
    return _incident(row)


def add(
    connection: Connection,
    *,
    monitor: str,
    kind: IncidentKind,
    severity: Severity,
    state: IncidentState,
    summary: str,
    cycle_id: int | None,
    job_id: int | None,
    since: datetime | None,
    now: datetime,
) -> int | None:
    """A new incident, pending or firing; returns its number, or None if one of its kind is in that state (a
    unique index sees to it).
    """
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert
    statement = (
        insert(incidents)
        .values(
            monitor=monitor,
            kind=kind,
            severity=severity,
            state=state,
            summary=summary,
            opened_at=now,
            cycle_id=cycle_id,
            job_id=job_id,
            since=since,
        )
        .on_conflict_do_nothing()
        .returning(incidents.c.id)
    )
    added: int | None = connection.scalar(statement)
    return added


def change(connection: Connection, incident: Incident, values: Mapping[str, object]) -> bool:
    """Change columns of an incident that is still in that state; False if somebody else moved it."""
    changed = connection.execute(
        update(incidents)
        .where(
            incidents.c.id == incident.incident_id,
            incidents.c.state == _stored(incident.state),
            incidents.c.acknowledged_at.is_(None)
            if incident.acknowledged_at is None
            else incidents.c.acknowledged_at.is_not(None),
        )
        .values(values)
    )
    return changed.rowcount == 1


def forget(connection: Connection, incident_id: int) -> None:
    """Remove one that is pending: nobody was told of it."""
    connection.execute(
        delete(incidents).where(incidents.c.id == incident_id, incidents.c.state == IncidentState.PENDING)
    )


def _stored(state: IncidentState) -> IncidentState:
    return IncidentState.FIRING if state is IncidentState.ACKNOWLEDGED else state


def _incident(row: Row[tuple[object, ...]]) -> Incident:
    fields = row._asdict()
    state = IncidentState(fields["state"])
    if state is IncidentState.FIRING and fields["acknowledged_at"] is not None:
        state = IncidentState.ACKNOWLEDGED
    return Incident(
        incident_id=fields["id"],
        kind=IncidentKind(fields["kind"]),
        severity=Severity(fields["severity"]),
        state=state,
        **{
            name: fields[name]
            for name in Incident.__dataclass_fields__
            if name not in {"incident_id", "kind", "severity", "state"}
        },
    )
