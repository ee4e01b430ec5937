"""The comparison of the answers recorded in the log with the student's."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

COLUMNS = (
    ("n_recorded", sa.Integer(), "Scored requests whose student logits the log has"),
    ("n_rescored", sa.Integer(), "Of them scored by the student too"),
    ("serving_skew", sa.Float(), "Share in [0, 1] to which it gives another label than was served"),
    ("serving_skew_low", sa.Float(), "Lower end of its 95% Wilson interval"),
    ("serving_skew_high", sa.Float(), "Upper end of its 95% Wilson interval"),
)
VIEW = """
    CREATE VIEW serving_history AS
    SELECT monitor, id AS cycle_id, window_end, n_recorded, n_rescored, serving_skew, serving_skew_low,
        serving_skew_high
    FROM cycles WHERE n_recorded IS NOT NULL
"""
COMMENT = "Whether what is served is what the student answers; one row a cycle that used recorded answers"


def upgrade() -> None:
    for name, kind, comment in COLUMNS:
        op.add_column("cycles", sa.Column(name, kind, comment=comment))
    op.execute(VIEW)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW serving_history IS '{COMMENT}'")


def downgrade() -> None:
    op.execute("DROP VIEW serving_history")
    for name, _, _ in reversed(COLUMNS):
        op.drop_column("cycles", name)
