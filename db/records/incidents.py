"""Incidents, and the delivery of messages about them to the on-call."""

from dataclasses import dataclass
from datetime import datetime

from db.states import IncidentKind, IncidentState, Severity


@dataclass(frozen=True, kw_only=True)
class Incident:
    """A problem of which the on-call is notified until it is resolved."""

    incident_id: int
    monitor: str
    kind: IncidentKind
    severity: Severity
    state: IncidentState
    summary: str
    opened_at: datetime
    resolved_at: datetime | None
    cycle_id: int | None
    job_id: int | None
    since: datetime | None = None  #: start of the problem; None: `opened_at`
    clearing_since: datetime | None = None  #: end of the problem, while the incident still fires
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Undelivered:
    """The messages that one channel has not accepted."""

    channel: str
    n_waiting: int  #: still to be sent, after failed attempts or none
    n_dead: int  #: given up
    last_error: str | None  #: None: the last message has not been sent yet


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One message of the outbox, due for one channel."""

    delivery_id: int
    incident_id: int
    channel: str
    event: IncidentState
    dedup_key: str  #: the same for all messages of one incident
    payload: str  #: JSON text, schema `redistill.incident/1`
    attempts: int
    severity: Severity | None = None  #: the incident's at that event
    thread: str | None = None  #: the channel's receipt for its first message about the incident, if any

    @property
    def key(self) -> str:
        """The key by which a receiver drops repeated messages.

        It is the same for every attempt to send one message, and of no other message, since an incident fires
        once per severity.
        """
        return ":".join((self.dedup_key, self.event, *filter(None, [self.severity])))
