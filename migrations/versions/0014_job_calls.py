"""The time at which workers were notified of a job, and an index that finds a monitor's jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column(
            "announced_at",
            sa.DateTime(timezone=True),
            comment="UTC; when workers were called to it; NULL: not since it was queued or last taken",
        ),
    )
    op.create_index("ix_jobs_monitor_id", "jobs", ["monitor", "id"])


def downgrade() -> None:
    op.drop_index("ix_jobs_monitor_id", "jobs")
    op.drop_column("jobs", "announced_at")
