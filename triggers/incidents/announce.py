"""The changes of incidents that signals cause, and the messages to the channels, in one transaction."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from db import incidents, outbox
from db.records import Incident
from db.states import IncidentState
from triggers.alert_settings import Alert
from triggers.incidents.lifecycle import Signal, Transition, TransitionReason, step
from triggers.incidents.payload import message
from triggers.settings import IncidentPolicy


@dataclass(frozen=True, kw_only=True)
class Audience:
    """The channels that are notified of a monitor's incidents, and the policy for resolving them."""

    monitor: str
    alerts: Sequence[Alert]
    policy: IncidentPolicy


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """The cycle, job or check that the signals come from."""

    at: datetime  #: the time that the signals refer to
    now: datetime
    cycle_id: int | None = None
    job_id: int | None = None
    details: Mapping[str, object]  #: JSON values to add to the message


def announce(
    connection: Connection, audience: Audience, signals: Iterable[Signal], occasion: Occasion
) -> None:
    """Apply the signals to the incidents, and write the messages, in this transaction.

    If another process opens an incident of the same kind first, that process notifies.
    """
    unresolved = incidents.lock_unresolved(connection, audience.monitor)
    for signal in signals:
        transition = step(
            _of_kind(unresolved, signal),
            signal,
            at=occasion.at,
            keep_firing_for=audience.policy.keep_firing_for,
        )
        if transition is not None:
            carry_out(connection, audience, transition, occasion)


def carry_out(connection: Connection, audience: Audience, transition: Transition, occasion: Occasion) -> bool:
    """Write one transition and its messages; return False if another process got there first."""
    incident_id = _write(connection, audience.monitor, transition, occasion)
    if incident_id is None:
        return False
    event = transition.event
    if event is None:
        return True
    dedup_key = outbox.dedup_key_of(connection, incident_id) or _new_key(audience, incident_id, occasion)
    payload = message(
        transition,
        event,
        monitor=audience.monitor,
        incident_id=incident_id,
        dedup_key=dedup_key,
        policy=audience.policy,
        at=occasion.now,
        details=occasion.details,
    )
    heard = outbox.channels_of(connection, incident_id)
    for alert in audience.alerts:
        is_new = event is IncidentState.FIRING and alert.hears(transition.kind, transition.severity)
        if is_new or alert.name in heard:
            outbox.add(
                connection,
                incident_id=incident_id,
                channel=alert.name,
                event=event,
                severity=transition.severity,
                dedup_key=dedup_key,
                payload=payload,
                now=occasion.now,
            )
    return True


def _new_key(audience: Audience, incident_id: int, occasion: Occasion) -> str:
    """Return the key of a new incident, which no other has: no receiver takes it for one that it knows.

    A database that was restored from a backup gives numbers again, for the same windows, and so do two
    installations with monitors of one name.
    """
    at = f"{occasion.at.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    return f"redistill:{audience.monitor}:{incident_id}:{at}:{uuid.uuid4().hex[:12]}"


def _of_kind(unresolved: Sequence[Incident], signal: Signal) -> Incident | None:
    """Return the open incident; a pending one beside it was written by an older version of this program."""
    found = [each for each in unresolved if each.kind is signal.kind]
    return min(found, key=lambda each: each.state is IncidentState.PENDING, default=None)


def _write(connection: Connection, monitor: str, transition: Transition, occasion: Occasion) -> int | None:
    incident, now = transition.incident, occasion.now
    if incident is None and transition.to_state is not None:
        return incidents.add(
            connection,
            monitor=monitor,
            kind=transition.kind,
            severity=transition.severity,
            state=transition.to_state,
            summary=transition.summary,
            cycle_id=occasion.cycle_id,
            job_id=occasion.job_id,
            since=transition.since,
            now=now,
        )
    if incident is None:
        return None
    if transition.to_state is None:
        incidents.forget(connection, incident)
        return incident.incident_id
    changed = incidents.change(connection, incident, _values(transition, incident, occasion))
    return incident.incident_id if changed else None


def _values(transition: Transition, incident: Incident, occasion: Occasion) -> dict[str, object]:
    now = occasion.now
    values: dict[str, object] = {
        "severity": transition.severity,
        "clearing_since": transition.clearing_since,
    }
    match transition.reason:
        case TransitionReason.OPENED | TransitionReason.ESCALATED:
            values |= {"state": IncidentState.FIRING, "summary": transition.summary}
            values |= {"acknowledged_at": None, "acknowledged_by": None}
            if incident.state is IncidentState.PENDING:
                values |= {"opened_at": now, "cycle_id": occasion.cycle_id, "job_id": occasion.job_id}
        case TransitionReason.ACKNOWLEDGED:
            values |= {"acknowledged_at": now, "acknowledged_by": transition.by}
        case TransitionReason.RESOLVED:
            values |= {"state": IncidentState.RESOLVED, "resolved_at": now}
    return values
