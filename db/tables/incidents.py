"""Incidents, and the outbox of messages about them."""

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, text

from db.tables.columns import BigId, UTCDateTime, metadata, row_id

incidents = Table(
    "incidents",
    metadata,
    row_id("The incident's number"),
    Column("monitor", Text, nullable=False, comment="The monitor"),
    Column(
        "kind",
        Text,
        nullable=False,
        comment="Kind of the problem, such as drift or blind (see docs/states.md)",
    ),
    Column("severity", Text, nullable=False, comment="info, warning, error or critical; it may rise"),
    Column("state", Text, nullable=False, comment="pending, firing or resolved"),
    Column("summary", Text, nullable=False, comment="The problem in one line, with the numbers"),
    Column("opened_at", UTCDateTime, nullable=False, comment="UTC; when it fired, or became pending"),
    Column("acknowledged_at", UTCDateTime, comment="UTC; when a person acknowledged it; NULL until then"),
    Column("resolved_at", UTCDateTime, comment="UTC"),
    Column("cycle_id", BigId, ForeignKey("cycles.id"), comment="The cycle that opened it"),
    Column("job_id", BigId, ForeignKey("jobs.id"), comment="The job that was ordered with it"),
    Column("since", UTCDateTime, comment="UTC; start of the problem; NULL: opened_at"),
    Column(
        "clearing_since",
        UTCDateTime,
        comment="UTC; end of the problem while the incident still fires; NULL until then",
    ),
    Column("acknowledged_by", Text, comment="The person who acknowledged it, by the name that they gave"),
    Index("ix_incidents_cycle_id", "cycle_id"),
    Index("ix_incidents_monitor_id", "monitor", "id"),
    Index("ix_incidents_opened_at", "opened_at"),
    Index("ix_incidents_monitor_opened_at", "monitor", "opened_at"),
    comment="Problems of which the on-call is notified",
)
Index(
    "ix_incidents_unresolved",
    incidents.c.monitor,
    sqlite_where=text("state IN ('pending', 'firing')"),
    postgresql_where=text("state IN ('pending', 'firing')"),
)
for _state in ("firing", "pending"):
    Index(
        f"uq_incidents_{_state}",
        incidents.c.monitor,
        incidents.c.kind,
        unique=True,
        sqlite_where=text(f"state = '{_state}'"),
        postgresql_where=text(f"state = '{_state}'"),
    )

deliveries = Table(
    "deliveries",
    metadata,
    row_id("The message's number"),
    Column("incident_id", BigId, ForeignKey("incidents.id"), nullable=False, comment="Its incident"),
    Column("channel", Text, nullable=False, comment="The channel's name in the configuration"),
    Column("event", Text, nullable=False, comment="firing, acknowledged or resolved"),
    Column("dedup_key", Text, nullable=False, comment="The same for all messages of an incident"),
    Column("payload", Text, nullable=False, comment="JSON, schema redistill.incident/1"),
    Column("state", Text, nullable=False, comment="pending, delivered or dead"),
    Column("attempts", Integer, nullable=False, comment="Number of attempts to send it"),
    Column("next_attempt_at", UTCDateTime, nullable=False, comment="UTC; it is not sent before"),
    Column("delivered_at", UTCDateTime, comment="UTC; when the channel accepted it"),
    Column("last_error", Text, comment="Error of the last failed attempt"),
    Column("severity", Text, comment="The incident's severity at that event"),
    Column(
        "receipt", Text, comment="The channel's identifier of the message, to which later messages can reply"
    ),
    UniqueConstraint("incident_id", "channel", "event", "severity"),
    Index("ix_deliveries_state_next_attempt_at", "state", "next_attempt_at"),
    Index(
        "ix_deliveries_channel_id",
        "channel",
        "id",
        sqlite_where=text("state = 'pending'"),
        postgresql_where=text("state = 'pending'"),
    ),
    comment="The outbox: messages are written in the transaction of the decision and sent after it",
)
