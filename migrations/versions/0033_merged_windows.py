"""Windows of several slots, and those that wait for more requests."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"

SECONDS = {
    "postgresql": "CAST(EXTRACT(EPOCH FROM c.finished_at - c.started_at) AS DOUBLE PRECISION)",
    "sqlite": "ROUND((julianday(c.finished_at) - julianday(c.started_at)) * 86400, 3)",
}
VIEW = """
    CREATE VIEW cycle_history AS
    SELECT c.monitor, c.id AS cycle_id, c.window_start, c.window_end, c.status, c.verdict,
        c.verdict_reason, c.n_seen, c.n_sampled, c.n_scored, c.n_rejected,
        c.agreement, c.agreement_low, c.agreement_high, c.kl, c.kl_low, c.kl_high, c.kl_t1, c.js,
        (SELECT MAX(o.streak) FROM rule_outcomes o
            WHERE o.cycle_id = c.id AND o.metric = 'agreement') AS agreement_streak,
        (SELECT MAX(o.streak) FROM rule_outcomes o
            WHERE o.cycle_id = c.id AND o.metric = 'kl') AS kl_streak,
        c.teacher_version, c.student_version, c.alpha, c.started_at, c.finished_at,
        {seconds} AS seconds, c.order_reason, c.order_detail, c.error{more}
    FROM cycles c
"""
COMMENT = (
    "One row per cycle: its measurements, verdict and models; kl and js in nats, seconds is its run time"
)
TABLE_BEFORE = "One row per slot: its measurements and its verdict"
TABLE = "One row per window, of one slot or of several: its measurements and its verdict"
#: Name, type, default and comment.
COLUMNS = (
    ("n_slots", sa.Integer, "1", "Slots of the schedule in the window"),
    ("n_empty", sa.Integer, "0", "Slots without a record at the end of the window while it was quiet"),
    (
        "quiet_at",
        sa.DateTime,
        None,
        "UTC; when the window last had too few requests to be judged yet; NULL if it never had",
    ),
)
INDEX = "ix_cycles_quiet"
HAS_WAITED = sa.text("quiet_at IS NOT NULL")


def upgrade() -> None:
    op.execute("DROP VIEW cycle_history")
    for name, kind, default, comment in COLUMNS:
        type_ = sa.DateTime(timezone=True) if kind is sa.DateTime else sa.Integer()
        column = sa.Column(name, type_, nullable=default is None, server_default=default, comment=comment)
        op.add_column("cycles", column)
    op.create_index(
        INDEX, "cycles", ["monitor", "window_end"], sqlite_where=HAS_WAITED, postgresql_where=HAS_WAITED
    )
    _create(more=", c.n_slots")
    _comment_on_table(TABLE_BEFORE, TABLE)


def downgrade() -> None:
    _comment_on_table(TABLE, TABLE_BEFORE)
    op.execute("DROP VIEW cycle_history")
    op.drop_index(INDEX, "cycles")
    for name, *_ in COLUMNS:
        op.drop_column("cycles", name)
    _create(more="")


def _create(*, more: str) -> None:
    dialect = op.get_context().dialect.name
    op.execute(VIEW.format(seconds=SECONDS[dialect], more=more))
    if dialect == "postgresql":
        op.execute(f"COMMENT ON VIEW cycle_history IS '{COMMENT}'")


def _comment_on_table(before: str, after: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.create_table_comment("cycles", after, existing_comment=before)
