"""Incidents that are pending, acknowledged or clearing; whether a promoted candidate ended the drift.

Code of revision 0011 keeps working: it ignores pending incidents, and sees acknowledged ones as firing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

IN_STATE = sa.text("state = 'pending'")
INCIDENT_HISTORY = """
    CREATE VIEW incident_history AS
    SELECT i.id AS incident_id, i.monitor, i.kind, i.severity, {state} AS state,
        i.opened_at, i.acknowledged_at, i.resolved_at, i.cycle_id, i.job_id,
        COUNT(d.id) FILTER (WHERE d.state = 'delivered') AS deliveries_ok,
        COUNT(d.id) FILTER (WHERE d.state = 'pending') AS deliveries_pending,
        COUNT(d.id) FILTER (WHERE d.state = 'dead') AS deliveries_dead{more}
    FROM incidents i LEFT JOIN deliveries d ON d.incident_id = i.id
    WHERE i.state <> 'pending'
    GROUP BY i.id
"""
STATE = "CASE WHEN i.state = 'firing' AND i.acknowledged_at IS NOT NULL THEN 'acknowledged' ELSE i.state END"
JOB_HISTORY = """
    CREATE VIEW job_history AS
    SELECT j.id AS job_id, j.monitor, j.cycle_id, j.rule, j.reason, j.alpha_from, j.alpha_to,
        j.temperature, j.soft_labels, j.status, j.attempt,
        j.enqueued_at, j.started_at, j.finished_at, j.candidate_version, j.decision, j.decision_reason,
        (SELECT MAX(p.promoted_at) FROM promotions p
            WHERE p.monitor = j.monitor AND p.role = 'student' AND p.version = j.candidate_version)
            AS promoted_at, j.evidence{more}
    FROM jobs j
"""
COMMENTS = {
    "incident_history": "One row an incident, with how many of its messages were delivered, wait or are dead",
    "job_history": "One row a re-distillation job; promoted_at is its candidate's latest promotion",
}
INCIDENT_COLUMNS = (
    ("since", sa.DateTime(timezone=True), "UTC; since when what it is about is so; NULL: since opened_at"),
    (
        "clearing_since",
        sa.DateTime(timezone=True),
        "UTC; since when what it is about is over, while it keeps firing; NULL: it is not",
    ),
    ("acknowledged_by", sa.Text(), "The person who took it, as they call themselves"),
)
COMMENTED = (
    ("severity", "info, warning, error or critical; it may rise", "info, warning, error or critical"),
    ("state", "pending, firing or resolved", "firing or resolved"),
    ("opened_at", "UTC; when it fired, or became pending", "UTC"),
)


def upgrade() -> None:
    _drop_views()
    for name, kind, comment in INCIDENT_COLUMNS:
        op.add_column("incidents", sa.Column(name, kind, comment=comment))
    _comment("incidents", {name: new for name, new, _ in COMMENTED})
    op.create_index(
        "uq_incidents_pending",
        "incidents",
        ["monitor", "kind"],
        unique=True,
        sqlite_where=IN_STATE,
        postgresql_where=IN_STATE,
    )
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.add_column(sa.Column("severity", sa.Text(), comment="The incident's at that event"))
        deliveries.drop_constraint("uq_deliveries_incident_id_channel_event", type_="unique")
        deliveries.create_unique_constraint(
            "uq_deliveries_incident_id_channel_event_severity",
            ["incident_id", "channel", "event", "severity"],
        )
    _comment("deliveries", {"event": "firing, acknowledged or resolved"})
    op.add_column(
        "jobs",
        sa.Column(
            "recovery",
            sa.Text(),
            comment="recovered or not_recovered: what the watch found once its candidate served; NULL so far",
        ),
    )
    _create("incident_history", INCIDENT_HISTORY.format(state=STATE, more=", i.since, i.acknowledged_by"))
    _create("job_history", JOB_HISTORY.format(more=", j.recovery"))


def downgrade() -> None:
    _drop_views()
    op.drop_column("jobs", "recovery")
    op.execute(
        "DELETE FROM deliveries WHERE id NOT IN (SELECT MIN(id) FROM deliveries "
        "GROUP BY incident_id, channel, event)"
    )
    with op.batch_alter_table("deliveries") as deliveries:
        deliveries.drop_constraint("uq_deliveries_incident_id_channel_event_severity", type_="unique")
        deliveries.create_unique_constraint(
            "uq_deliveries_incident_id_channel_event", ["incident_id", "channel", "event"]
        )
        deliveries.drop_column("severity")
    _comment("deliveries", {"event": "firing or resolved"})
    op.execute("DELETE FROM incidents WHERE state = 'pending'")
    op.drop_index("uq_incidents_pending", "incidents")
    for name, _, _ in INCIDENT_COLUMNS:
        op.drop_column("incidents", name)
    _comment("incidents", {name: old for name, _, old in COMMENTED})
    _create(
        "incident_history",
        INCIDENT_HISTORY.format(state="i.state", more="").replace("    WHERE i.state <> 'pending'\n", ""),
    )
    _create("job_history", JOB_HISTORY.format(more=""))


def _drop_views() -> None:
    for view in COMMENTS:
        op.execute(f"DROP VIEW {view}")


def _create(view: str, query: str) -> None:
    op.execute(query)
    if _is_postgresql():
        comment = COMMENTS[view].replace("'", "''")
        op.execute(f"COMMENT ON VIEW {view} IS '{comment}'")


def _comment(table: str, comments: dict[str, str]) -> None:
    if _is_postgresql():
        for column, comment in comments.items():
            op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{comment}'")


def _is_postgresql() -> bool:
    return op.get_context().dialect.name == "postgresql"
