"""The state of each rule after the last judged cycle, and the spread of a bound over seeds."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "rule_states",
        sa.Column("monitor", sa.Text(), nullable=False, comment="The monitor"),
        sa.Column(
            "rule_version", sa.Text(), nullable=False, comment="SHA-256 of the rule's text (see rule_texts)"
        ),
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle after which it is so"),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            comment="JSON: streak, evidence and what else the rule looks back at",
        ),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_rule_states_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("monitor", "rule_version", name=op.f("pk_rule_states")),
        comment="Where each rule stands after the last judged cycle; can be computed from the cycles",
    )
    op.add_column(
        "evaluations",
        sa.Column(
            "spread", sa.Float(), comment="How far apart a bound lies by different seeds; 0 if none is drawn"
        ),
    )


def downgrade() -> None:
    op.drop_column("evaluations", "spread")
    op.drop_table("rule_states")
