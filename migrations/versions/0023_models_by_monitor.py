"""The monitor of a row of model_history: two monitors may have the same version."""

from alembic import op

revision = "0023"
down_revision = "0022"

VIEW = """
    CREATE VIEW model_history AS
    WITH newest AS (
        SELECT monitor, version, MAX(job_id) AS job_id
        FROM evaluations WHERE dataset = 'test' GROUP BY monitor, version
    ), scores AS (
        SELECT e.monitor, e.version,
            MAX(CASE e.metric WHEN 'accuracy' THEN e.value END) AS accuracy,
            MAX(CASE e.metric WHEN 'accuracy' THEN e.low END) AS accuracy_low,
            MAX(CASE e.metric WHEN 'accuracy' THEN e.high END) AS accuracy_high,
            MAX(CASE e.metric WHEN 'macro_f1' THEN e.value END) AS macro_f1,
            MAX(CASE e.metric WHEN 'rare_class_accuracy' THEN e.value END) AS rare_class_accuracy,
            MAX(CASE e.metric WHEN 'ece' THEN e.value END) AS ece,
            MAX(CASE e.metric WHEN 'agreement' THEN e.value END) AS agreement,
            MAX(CASE e.metric WHEN 'kl' THEN e.value END) AS kl,
            MAX(CASE e.metric WHEN 'latency_p95_ms' THEN e.value END) AS latency_p95_ms
        FROM evaluations e JOIN newest n
            ON n.monitor = e.monitor AND n.version = e.version AND n.job_id = e.job_id
        WHERE e.dataset = 'test'
        GROUP BY e.monitor, e.version
    )
    SELECT m.version, m.role, m.parent_version, m.job_id, m.alpha, m.temperature,
        s.accuracy, s.accuracy_low, s.accuracy_high, s.macro_f1, s.rare_class_accuracy, s.ece,
        s.agreement, s.kl, s.latency_p95_ms, m.created_at, p.promoted_at, p.retired_at{more}
    FROM models m
    LEFT JOIN scores s ON s.monitor = m.monitor AND s.version = m.version
    LEFT JOIN promotions p ON p.id = (
        SELECT MAX(q.id) FROM promotions q
        WHERE q.monitor = m.monitor AND q.role = m.role AND q.version = m.version
    )
"""
COMMENT = (
    "One row per model version and role: its scores on the labelled test set in the newest job "
    "that measured it (kl in nats), and the start and end of its latest time as the current "
    "version"
)


def upgrade() -> None:
    _create_view(more=", m.monitor")


def downgrade() -> None:
    _create_view(more="")


def _create_view(*, more: str) -> None:
    op.execute("DROP VIEW model_history")
    op.execute(VIEW.format(more=more))
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW model_history IS '{COMMENT}'")
