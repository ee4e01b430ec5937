"""What the on-call is told, and how it reaches them."""

from dataclasses import dataclass
from datetime import datetime

from db.states import IncidentKind, IncidentState, Severity


@dataclass(frozen=True, kw_only=True)
class Incident:
    """Something that a person is told about until it is over."""

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
    since: datetime | None = None  #: since when what it is about is so; None: since `opened_at`
    clearing_since: datetime | None = None  #: since when that is over, while it keeps firing
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Undelivered:
    """What one channel has not accepted."""

    channel: str
    n_waiting: int  #: sent in vain so far, or by nobody, and to be sent
    n_dead: int  #: given up
    last_error: str | None  #: None: nobody has tried to send the last one


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
    thread: str | None = None  #: what the channel calls its first message about the incident, if it has one

    @property
    def key(self) -> str:
        """By which a receiver drops what it has seen: the same for every sending of one message, and of no
        other, since an incident fires once a severity.
        """
        return ":".join((self.dedup_key, self.event, *filter(None, [self.severity])))
