"""The strata of each sample, and its exact agreement."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

VIEW = """
    CREATE VIEW strata_history AS
    SELECT c.monitor, s.cycle_id, c.window_end, s.student_label, s.n_seen, s.n, s.n_disagreements,
        CAST(s.n_seen AS DOUBLE PRECISION) / c.n_seen * c.n_sampled / NULLIF(s.n, 0) AS weight
    FROM strata s JOIN cycles c ON c.id = s.cycle_id
"""
COMMENT = "How each cycle's sample was drawn; weight is what a request counts, 1 in the mean"

SHARE_BEFORE = "Their share in [0, 1] of the scored requests"
SHARE = "Their share in [0, 1] of the window's requests"


def upgrade() -> None:
    op.add_column(
        "cycles", sa.Column("agreement_exact", sa.Text(), comment="The same as a fraction of whole numbers")
    )
    op.create_table(
        "strata",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column(
            "student_label",
            sa.Text(),
            nullable=False,
            comment="The label that the log recorded; empty: none, or the sample is uniform",
        ),
        sa.Column(
            "n_seen", sa.BigInteger(), nullable=False, comment="Distinct usable requests of the window"
        ),
        sa.Column("n", sa.Integer(), nullable=False, comment="Of them in the sample"),
        sa.Column(
            "n_disagreements", sa.Integer(), nullable=False, comment="Of those with different top-1 labels"
        ),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_strata_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("cycle_id", "student_label", name=op.f("pk_strata")),
        comment="How a cycle's sample was drawn: agreement is the sum of n_seen * (n - n_disagreements) / n, "
        "divided by that of n_seen",
    )
    op.execute(VIEW)
    if op.get_context().dialect.name == "postgresql":
        comment = COMMENT.replace("'", "''")
        op.execute(f"COMMENT ON VIEW strata_history IS '{comment}'")
        _comment_on_share(SHARE_BEFORE, SHARE)


def _comment_on_share(before: str, after: str) -> None:
    op.alter_column(
        "class_metrics",
        "share",
        existing_type=sa.Float(),
        existing_nullable=False,
        existing_comment=before,
        comment=after,
    )


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        _comment_on_share(SHARE, SHARE_BEFORE)
    op.execute("DROP VIEW strata_history")
    op.drop_table("strata")
    op.drop_column("cycles", "agreement_exact")
