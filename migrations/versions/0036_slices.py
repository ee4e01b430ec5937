"""The slices of a cycle's sample that disagree more than the others."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: SQLite joins in the order of a CROSS JOIN, so that the newest cycles are read first.
VIEW = """
    CREATE VIEW slice_history AS
    SELECT c.monitor, c.id AS cycle_id, c.window_end, s.rank, s.kind, s.name, s.student_label, s.n, s.n_texts,
        s.n_disagreements, s.share, s.rate, s.excess, s.part, s.p_value, s.q_value,
        s.reference_share, s.reference_rate, s.reference_excess, s.q_moved
    FROM cycles c CROSS JOIN slices s WHERE s.cycle_id = c.id
"""
COMMENT = "Slices of each cycle that disagree more than the others, the one that has grown most first"


def upgrade() -> None:
    op.create_table(
        "slices",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column(
            "rank",
            sa.Integer(),
            nullable=False,
            comment="1 for the slice whose excess has grown most",
            autoincrement=False,
        ),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="label, confusion or length (see docs/states.md)"
        ),
        sa.Column(
            "name",
            sa.Text(),
            nullable=False,
            comment="The teacher's label, or the range of lengths in characters",
        ),
        sa.Column("student_label", sa.Text(), comment="The student's label, of a confusion; NULL otherwise"),
        sa.Column("n", sa.Integer(), nullable=False, comment="Sampled requests in the slice"),
        sa.Column("n_texts", sa.Integer(), nullable=False, comment="Their distinct texts"),
        sa.Column(
            "n_disagreements",
            sa.Integer(),
            nullable=False,
            comment="Those of them on which the models disagree",
        ),
        sa.Column("share", sa.Float(), nullable=False, comment="Share in [0, 1] of the window's requests"),
        sa.Column(
            "rate", sa.Float(), nullable=False, comment="Share in [0, 1] of its requests with a disagreement"
        ),
        sa.Column(
            "excess",
            sa.Float(),
            nullable=False,
            comment="(rate - the rate of all requests) * share: its disagreements beyond its traffic",
        ),
        sa.Column(
            "part", sa.Float(), nullable=False, comment="Share in [0, 1] of all disagreements of the window"
        ),
        sa.Column(
            "p_value",
            sa.Float(),
            nullable=False,
            comment="Probability of as many disagreements by chance, if its texts are like the others",
        ),
        sa.Column(
            "q_value",
            sa.Float(),
            nullable=False,
            comment="The same, corrected for all slices that were tested",
        ),
        sa.Column("reference_share", sa.Float(), comment="share in the reference; NULL without a reference"),
        sa.Column("reference_rate", sa.Float(), comment="rate in the reference; NULL without a reference"),
        sa.Column(
            "reference_excess", sa.Float(), comment="excess in the reference; NULL without a reference"
        ),
        sa.Column(
            "q_moved",
            sa.Float(),
            comment="Corrected probability by chance of more disagreements than in the reference and "
            "than elsewhere; NULL without a reference",
        ),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_slices_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("cycle_id", "rank", name=op.f("pk_slices")),
        comment="Slices of a cycle's sample that disagree more than the others, at a false discovery rate of "
        "0.05",
    )
    op.execute(VIEW)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW slice_history IS '{COMMENT}'")


def downgrade() -> None:
    op.execute("DROP VIEW slice_history")
    op.drop_table("slices")
