"""The error of a failed cycle in the view cycle_history."""

from alembic import op

revision = "0026"
down_revision = "0025"

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
        {seconds} AS seconds, c.order_reason, c.order_detail{more}
    FROM cycles c
"""
COMMENT = (
    "One row per cycle: its measurements, verdict and models; kl and js in nats, seconds is its run time"
)


def upgrade() -> None:
    _create(more=", c.error")


def downgrade() -> None:
    _create(more="")


def _create(*, more: str) -> None:
    dialect = op.get_context().dialect.name
    op.execute("DROP VIEW cycle_history")
    op.execute(VIEW.format(seconds=SECONDS[dialect], more=more))
    if dialect == "postgresql":
        op.execute(f"COMMENT ON VIEW cycle_history IS '{COMMENT}'")
