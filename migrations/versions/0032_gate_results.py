"""Gates may be inconclusive, and a candidate may improve on its incumbent without ending the drift."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"

BEFORE = "pass, waived, reported or fail"
AFTER = "pass, waived, inconclusive, improves, worse, reported or fail"


def upgrade() -> None:
    _comment(BEFORE, AFTER)


def downgrade() -> None:
    _comment(AFTER, BEFORE)


def _comment(before: str, after: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.alter_column(
            "gate_outcomes",
            "result",
            existing_type=sa.Text(),
            existing_nullable=False,
            existing_comment=before,
            comment=after,
        )
