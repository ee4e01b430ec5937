"""The views that docs and dashboards rely on: their names, columns and column order are public."""

from typing import NamedTuple

from alembic import op

revision = "0002"
down_revision = "0001"


class View(NamedTuple):
    """A view's comment and query."""

    comment: str
    query: str


SECONDS = {
    "postgresql": "CAST(EXTRACT(EPOCH FROM c.finished_at - c.started_at) AS DOUBLE PRECISION)",
    "sqlite": "ROUND((julianday(c.finished_at) - julianday(c.started_at)) * 86400, 3)",
}

VIEWS = {
    "cycle_history": View(
        "One row a cycle: its evidence, verdict and models; kl and js in nats, seconds is its run time",
        """
        SELECT c.monitor, c.id AS cycle_id, c.window_start, c.window_end, c.status, c.verdict,
            c.verdict_reason, c.n_seen, c.n_sampled, c.n_scored, c.n_rejected,
            c.agreement, c.agreement_low, c.agreement_high, c.kl, c.kl_low, c.kl_high, c.kl_t1, c.js,
            (SELECT MAX(o.streak) FROM rule_outcomes o
                WHERE o.cycle_id = c.id AND o.metric = 'agreement') AS agreement_streak,
            (SELECT MAX(o.streak) FROM rule_outcomes o
                WHERE o.cycle_id = c.id AND o.metric = 'kl') AS kl_streak,
            c.teacher_version, c.student_version, c.alpha, c.started_at, c.finished_at,
            {seconds} AS seconds
        FROM cycles c
        """,
    ),
    "class_history": View(
        "Agreement and KL (nats) of each cycle by the teacher's label",
        """
        SELECT c.monitor, m.cycle_id, c.window_end, m.label, m.n, m.share,
            m.agreement, m.agreement_low, m.agreement_high, m.kl
        FROM class_metrics m JOIN cycles c ON c.id = m.cycle_id
        """,
    ),
    "rule_history": View(
        "What each rule said at each cycle, and why",
        """
        SELECT c.monitor, o.cycle_id, c.window_end, o.rule, o.metric, o.value, o.threshold,
            o.breached, o.streak, o.fired, o.reason
        FROM rule_outcomes o JOIN cycles c ON c.id = o.cycle_id
        """,
    ),
    "job_history": View(
        "One row a re-distillation job; promoted_at is its candidate's latest promotion",
        """
        SELECT j.id AS job_id, j.monitor, j.cycle_id, j.rule, j.reason, j.alpha_from, j.alpha_to,
            j.temperature, j.soft_labels, j.status, j.attempt,
            j.enqueued_at, j.started_at, j.finished_at, j.candidate_version, j.decision, j.decision_reason,
            (SELECT MAX(p.promoted_at) FROM promotions p
                WHERE p.monitor = j.monitor AND p.role = 'student' AND p.version = j.candidate_version)
                AS promoted_at
        FROM jobs j
        """,
    ),
    "incident_history": View(
        "One row an incident, with how many of its messages were delivered, wait or are dead",
        """
        SELECT i.id AS incident_id, i.monitor, i.kind, i.severity, i.state,
            i.opened_at, i.acknowledged_at, i.resolved_at, i.cycle_id, i.job_id,
            COUNT(d.id) FILTER (WHERE d.state = 'delivered') AS deliveries_ok,
            COUNT(d.id) FILTER (WHERE d.state = 'pending') AS deliveries_pending,
            COUNT(d.id) FILTER (WHERE d.state = 'dead') AS deliveries_dead
        FROM incidents i LEFT JOIN deliveries d ON d.incident_id = i.id
        GROUP BY i.id
        """,
    ),
    "model_history": View(
        "One row a model version and role: its scores on the labelled test set in the newest job that "
        "measured it (kl in nats), and the start and end of its latest time as the current version",
        """
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
            s.agreement, s.kl, s.latency_p95_ms, m.created_at, p.promoted_at, p.retired_at
        FROM models m
        LEFT JOIN scores s ON s.monitor = m.monitor AND s.version = m.version
        LEFT JOIN promotions p ON p.id = (
            SELECT MAX(q.id) FROM promotions q
            WHERE q.monitor = m.monitor AND q.role = m.role AND q.version = m.version
        )
        """,
    ),
    "reject_history": View(
        "Records of each cycle's window that could not be used, by reason",
        """
        SELECT c.monitor, r.cycle_id, r.reason, r.n, r.example_object
        FROM rejects r JOIN cycles c ON c.id = r.cycle_id
        """,
    ),
}


def upgrade() -> None:
    dialect = op.get_context().dialect.name
    for name, view in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {view.query.format(seconds=SECONDS[dialect])}")
        if dialect == "postgresql":
            comment = view.comment.replace("'", "''")
            op.execute(f"COMMENT ON VIEW {name} IS '{comment}'")


def downgrade() -> None:
    for name in VIEWS:
        op.execute(f"DROP VIEW {name}")
