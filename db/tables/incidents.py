"""What the on-call was told, and how it reached them."""

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, text

from db.tables.columns import BigId, UTCDateTime, metadata, row_id

incidents = Table(
    "incidents",
    metadata,
    row_id("The incident's number"),
    Column("monitor", Text, nullable=False, comment="The monitor"),
    Column("kind", Text, nullable=False, comment="What it is about, such as drift or blind"),
    Column("severity", Text, nullable=False, comment="info, warning, error or critical"),
    Column("state", Text, nullable=False, comment="firing or resolved"),
    Column("summary", Text, nullable=False, comment="What is wrong, in one line, with the numbers"),
    Column("opened_at", UTCDateTime, nullable=False, comment="UTC"),
    Column("acknowledged_at", UTCDateTime, comment="UTC; when a person took it; NULL so far"),
    Column("resolved_at", UTCDateTime, comment="UTC"),
    Column("cycle_id", BigId, ForeignKey("cycles.id"), comment="The cycle that opened it"),
    Column("job_id", BigId, ForeignKey("jobs.id"), comment="The job that was ordered with it"),
    comment="What the on-call was told",
)

Index(
    "uq_incidents_firing",
    incidents.c.monitor,
    incidents.c.kind,
    unique=True,
    sqlite_where=text("state = 'firing'"),
    postgresql_where=text("state = 'firing'"),
)


deliveries = Table(
    "deliveries",
    metadata,
    row_id("The message's number"),
    Column("incident_id", BigId, ForeignKey("incidents.id"), nullable=False, comment="Its incident"),
    Column("channel", Text, nullable=False, comment="The channel's name in the configuration"),
    Column("event", Text, nullable=False, comment="firing or resolved"),
    Column("dedup_key", Text, nullable=False, comment="The same for all messages of an incident"),
    Column("payload", Text, nullable=False, comment="JSON, schema redistill.incident/1"),
    Column("state", Text, nullable=False, comment="pending, delivered or dead"),
    Column("attempts", Integer, nullable=False, comment="How often it was sent"),
    Column("next_attempt_at", UTCDateTime, nullable=False, comment="UTC; not sent before"),
    Column("delivered_at", UTCDateTime, comment="UTC; when the channel accepted it"),
    Column("last_error", Text, comment="What the last failed attempt met"),
    Column("receipt", Text, comment="What the channel calls the message, where later ones can answer it"),
    UniqueConstraint("incident_id", "channel", "event"),
    Index("ix_deliveries_state_next_attempt_at", "state", "next_attempt_at"),
    comment="The outbox: messages written with the decision, sent after it",
)
