"""Incidents: at most one a monitor and kind is open, and at most one is pending."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from db.errors import RedistillError
from db.records import Incident
from db.states import IncidentKind, IncidentState, Severity
from db.tables import incidents

#: As stored. One that a person has taken is firing, with the time when they did: code that knows nothing of
#: it sees an open incident.
_UNRESOLVED = (IncidentState.PENDING, IncidentState.FIRING)
#: What tells an incident from what has become of it, or from another one under its number: SQLite gives the
#: number of a pending one that was forgotten again.
_SEEN = ("kind", "opened_at", "severity", "acknowledged_at", "clearing_since")


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
    return tuple(_incident(row) for row in connection.execute(_unresolved(monitor)))


def lock_unresolved(connection: Connection, monitor: str) -> tuple[Incident, ...]:
    """The same; nobody changes them until this transaction ends. So none is found to be open, and what it is
    about not told again, that another process is just about to resolve.
    """
    found = connection.execute(_unresolved(monitor).with_for_update(key_share=True))
    return tuple(_incident(row) for row in found)


def _unresolved(monitor: str) -> Select[tuple[object, ...]]:
    return (
        select(incidents)
        .where(
            incidents.c.monitor == monitor,
            incidents.c.state.in_(_UNRESOLVED),
            incidents.c.kind.in_(list(IncidentKind)),
        )
        .order_by(incidents.c.id)
    )


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
    """Change columns of an incident that still is as it was seen; False if somebody else changed it, or has
    opened another one that it would stand beside.
    """
    statement = update(incidents).where(*_as_seen(incident)).values(values)
    try:
        with connection.begin_nested():
            return connection.execute(statement).rowcount == 1
    except IntegrityError:
        return False


def forget(connection: Connection, incident: Incident) -> None:
    """Remove one that is pending, if it still is: nobody was told of it."""
    is_pending = incidents.c.state == IncidentState.PENDING
    connection.execute(delete(incidents).where(is_pending, *_as_seen(incident)))


def _as_seen(incident: Incident) -> Iterator[ColumnElement[bool]]:
    yield incidents.c.id == incident.incident_id
    yield incidents.c.state == _stored(incident.state)
    for name in _SEEN:
        yield incidents.c[name].is_not_distinct_from(getattr(incident, name))


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
