"""Incidents: per monitor and kind at most one is open, and at most one is pending."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from db.connection.upsert import insert_for
from db.errors import RedistillError
from db.records import Incident
from db.states import IncidentKind, IncidentState, Severity
from db.tables import incidents

#: As stored. An acknowledged incident is stored as firing, with the time of the acknowledgement: code that
#: does not know acknowledgements sees an open incident.
_UNRESOLVED = (IncidentState.PENDING, IncidentState.FIRING)
#: The columns that show whether a row is still the incident that was read: it may have changed, and SQLite
#: gives the number of a deleted pending incident to a new one.
_IDENTITY = ("kind", "opened_at", "severity", "acknowledged_at", "clearing_since")


class NoSuchIncidentError(RedistillError):
    """There is no incident {incident_id}: choose one from `redistill incidents list`."""


class LaterIncidentError(RedistillError):
    """Incident {incident_id} is of the kind {kind!r}, which only a later version of redistill knows:
    acknowledge it with that version.
    """


def unresolved(connection: Connection, monitor: str) -> tuple[Incident, ...]:
    """Return the pending, firing and acknowledged incidents, oldest first.

    Kinds that only a later version knows are left to that version, which runs or has run beside this one.
    """
    return tuple(_incident(row) for row in connection.execute(_unresolved(monitor)))


def lock_unresolved(connection: Connection, monitor: str) -> tuple[Incident, ...]:
    """Return what `unresolved` returns, locked until this transaction ends.

    So no incident is taken for open, and a new one not raised, while another process is about to resolve it.
    """
    found = connection.execute(_unresolved(monitor).with_for_update(key_share=True))
    return tuple(_incident(row) for row in found)


def _unresolved(monitor: str) -> Select[tuple[object, ...]]:
    # Literal values, as in the partial index: see db/queue.py.
    states: BindParameter[str] = bindparam("unresolved", _UNRESOLVED, expanding=True, literal_execute=True)
    return (
        select(incidents)
        .where(
            incidents.c.monitor == monitor,
            incidents.c.state.in_(states),
            incidents.c.kind.in_(list(IncidentKind)),
        )
        .order_by(incidents.c.id)
    )


def firing(connection: Connection, monitor: str) -> tuple[Incident, ...]:
    """Return the incidents of which the on-call was notified and that are not resolved, oldest first."""
    return tuple(each for each in unresolved(connection, monitor) if each.state is not IncidentState.PENDING)


def get(connection: Connection, monitor: str, incident_id: int) -> Incident:
    """Return the monitor's incident, locked until this transaction ends."""
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
    """Add an incident, pending or firing, and return its number.

    Return None if an incident of its kind is already in that state, which a unique index ensures.
    """
    insert = insert_for(connection)
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
    """Change columns of an incident that is still as it was read.

    Return False if another process has changed it, or has opened another one that excludes the change.
    """
    statement = update(incidents).where(*_as_seen(incident)).values(values)
    try:
        with connection.begin_nested():
            return connection.execute(statement).rowcount == 1
    except IntegrityError:
        return False


def forget(connection: Connection, incident: Incident) -> None:
    """Delete an incident that is still pending: nobody was notified of it."""
    is_pending = incidents.c.state == IncidentState.PENDING
    connection.execute(delete(incidents).where(is_pending, *_as_seen(incident)))


def _as_seen(incident: Incident) -> Iterator[ColumnElement[bool]]:
    yield incidents.c.id == incident.incident_id
    yield incidents.c.state == _stored(incident.state)
    for name in _IDENTITY:
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
