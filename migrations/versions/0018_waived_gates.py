"""Waived gates, which the incumbent does not meet either: both values, and how they were measured."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

RESULT_BEFORE = "pass or fail"
RESULT = "pass, waived or fail"


def upgrade() -> None:
    op.add_column(
        "gate_outcomes",
        sa.Column(
            "metric",
            sa.Text(),
            comment="The metric in evaluations that the gate judged; NULL: that of the gate's name",
        ),
    )
    op.add_column(
        "gate_outcomes",
        sa.Column(
            "incumbent_value",
            sa.Float(),
            comment="The incumbent's value of the same metric; NULL if it was not measured",
        ),
    )
    op.add_column(
        "gate_outcomes",
        sa.Column("detail", sa.Text(), comment="How the value was measured, where that matters"),
    )
    _comment_on_result(RESULT_BEFORE, RESULT)


def _comment_on_result(before: str, after: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.alter_column(
            "gate_outcomes",
            "result",
            existing_type=sa.Text(),
            existing_nullable=False,
            existing_comment=before,
            comment=after,
        )


def downgrade() -> None:
    _comment_on_result(RESULT, RESULT_BEFORE)
    for name in ("detail", "incumbent_value", "metric"):
        op.drop_column("gate_outcomes", name)
