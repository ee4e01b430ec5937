"""The text of each rule that judged a cycle, and the log increments of sequential rules."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

BEFORE = """
    CREATE VIEW rule_history AS
    SELECT c.monitor, o.cycle_id, c.window_end, o.rule, o.metric, o.value, o.threshold,
        o.breached, o.streak, o.fired, o.reason{more}
    FROM rule_outcomes o JOIN cycles c ON c.id = o.cycle_id
"""
COMMENT = "What each rule said at each cycle, and why"


def upgrade() -> None:
    op.add_column(
        "rule_outcomes",
        sa.Column(
            "statistic",
            sa.Float(),
            comment="Of a sequential rule: the log of its evidence; NULL otherwise",
        ),
    )
    op.add_column(
        "rule_outcomes",
        sa.Column("rule_version", sa.Text(), comment="SHA-256 of the rule's text (see rule_texts)"),
    )
    op.create_table(
        "rule_texts",
        sa.Column("version", sa.Text(), nullable=False, comment="SHA-256 of the text"),
        sa.Column("text", sa.Text(), nullable=False, comment="The rule with all its keys, as JSON"),
        sa.Column(
            "first_used_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="UTC; when it first judged a cycle",
        ),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_rule_texts")),
        comment="The rules that have judged cycles, as they were",
    )
    op.create_table(
        "evidence",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column("key", sa.Text(), nullable=False, comment="The metric and the level, such as kl>0.15"),
        sa.Column(
            "gains", sa.Text(), nullable=False, comment="JSON: the log of what each bet on it has gained"
        ),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_evidence_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("cycle_id", "key", name=op.f("pk_evidence")),
        comment="What a cycle's requests say against a level of KL, for sequential rules",
    )
    _view(", o.statistic, o.rule_version")


def downgrade() -> None:
    op.execute("DROP VIEW rule_history")
    op.drop_table("evidence")
    op.drop_table("rule_texts")
    op.drop_column("rule_outcomes", "rule_version")
    op.drop_column("rule_outcomes", "statistic")
    _create("")


def _view(more: str) -> None:
    op.execute("DROP VIEW rule_history")
    _create(more)


def _create(more: str) -> None:
    op.execute(BEFORE.format(more=more))
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW rule_history IS '{COMMENT}'")
