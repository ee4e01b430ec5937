"""Soft labels of jobs are online or offline."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"

BEFORE = "online: the teacher runs while training"
AFTER = (
    "online: the teacher runs while training; offline: its logits were kept. online until a candidate is made"
)


def upgrade() -> None:
    _comment(BEFORE, AFTER)


def downgrade() -> None:
    _comment(AFTER, BEFORE)


def _comment(before: str, after: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.alter_column(
            "jobs",
            "soft_labels",
            existing_type=sa.Text(),
            existing_nullable=False,
            existing_comment=before,
            comment=after,
        )
