"""Counts of what has ended, filled from the rows that are there."""

import json
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0037"
down_revision = "0036"

CYCLES = """
    SELECT monitor, verdict, count(*) FROM cycles
    WHERE status IN ('evaluated', 'inconclusive', 'failed', 'skipped')
        AND verdict_reason <> 'quiet' GROUP BY monitor, verdict"""
JOBS = """
    SELECT monitor, status, count(*) FROM jobs
    WHERE status IN ('succeeded', 'rejected', 'failed', 'cancelled') GROUP BY monitor, status"""
REJECTS = """
    SELECT c.monitor, r.reason, sum(r.n) FROM rejects r JOIN cycles c ON c.id = r.cycle_id
    WHERE c.status IN ('evaluated', 'inconclusive') GROUP BY c.monitor, r.reason"""
DELIVERIES = """
    SELECT i.monitor, d.channel, d.state, count(*) FROM deliveries d JOIN incidents i ON i.id = d.incident_id
    WHERE d.state IN ('delivered', 'dead') GROUP BY i.monitor, d.channel, d.state"""
COUNTED = (
    ("cycles_total", ("verdict",), CYCLES),
    ("jobs_total", ("status",), JOBS),
    ("records_rejected_total", ("reason",), REJECTS),
    ("deliveries_total", ("channel", "state"), DELIVERIES),
)


def upgrade() -> None:
    table = op.create_table(
        "running_counts",
        sa.Column("monitor", sa.Text(), primary_key=True, comment="The monitor"),
        sa.Column(
            "name",
            sa.Text(),
            primary_key=True,
            comment="The metric, without redistill_",
        ),
        sa.Column(
            "labels",
            sa.Text(),
            primary_key=True,
            comment="JSON: the metric's labels, in alphabetical order",
        ),
        sa.Column("value", sa.Float(), nullable=False, comment="The count, or a sum in the metric's unit"),
        comment="Counts of what has ended, which also cover rows that were deleted since",
    )
    op.bulk_insert(table, list(_counted()))


def _counted() -> Iterator[dict[str, object]]:
    for name, labels, query in COUNTED:
        for monitor, *values, n in op.get_bind().execute(sa.text(query)):
            named = json.dumps(dict(zip(labels, values, strict=True)), sort_keys=True)
            yield {"monitor": monitor, "name": name, "labels": named, "value": float(n)}


def downgrade() -> None:
    op.drop_table("running_counts")
