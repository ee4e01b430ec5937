"""Indexes and views by which the newest rows of a long history are found without reading the others."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

#: table, columns, and for a partial index its condition
INDEXES = {
    "ix_cycles_window_end": ("cycles", ["window_end"], None),
    "ix_cycles_monitor_teacher_version_window_end": (
        "cycles",
        ["monitor", "teacher_version", "window_end"],
        None,
    ),
    "ix_cycles_monitor_verdict_reason_window_end": (
        "cycles",
        ["monitor", "verdict_reason", "window_end"],
        None,
    ),
    "ix_cycles_monitor_finished_at": ("cycles", ["monitor", "finished_at"], None),
    "ix_cycles_monitor_student_version_started_at": (
        "cycles",
        ["monitor", "student_version", "started_at"],
        None,
    ),
    "ix_cycles_unfinished": ("cycles", ["monitor", "window_end"], "status IN ('running', 'failed')"),
    "ix_cycles_recorded": ("cycles", ["window_end"], "n_recorded IS NOT NULL"),
    "ix_cycles_recorded_of_monitor": ("cycles", ["monitor", "window_end"], "n_recorded IS NOT NULL"),
    "ix_input_drift_reference_cycle_id": ("input_drift", ["reference_cycle_id"], None),
    "ix_jobs_cycle_id": ("jobs", ["cycle_id"], None),
    "ix_models_created_at": ("models", ["created_at"], None),
    "ix_models_monitor_created_at": ("models", ["monitor", "created_at"], None),
    "ix_promotions_monitor_role_version_id": ("promotions", ["monitor", "role", "version", "id"], None),
    "ix_calibrations_calibrated_at": ("calibrations", ["calibrated_at"], None),
    "ix_calibrations_monitor_calibrated_at": ("calibrations", ["monitor", "calibrated_at"], None),
    "ix_incidents_cycle_id": ("incidents", ["cycle_id"], None),
    "ix_incidents_monitor_id": ("incidents", ["monitor", "id"], None),
    "ix_incidents_opened_at": ("incidents", ["opened_at"], None),
    "ix_incidents_monitor_opened_at": ("incidents", ["monitor", "opened_at"], None),
    "ix_incidents_unresolved": ("incidents", ["monitor"], "state IN ('pending', 'firing')"),
    "ix_deliveries_channel_id": ("deliveries", ["channel", "id"], None),
}

MODEL_HISTORY_BEFORE = """
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
        s.agreement, s.kl, s.latency_p95_ms, m.created_at, p.promoted_at, p.retired_at, m.monitor
    FROM models m
    LEFT JOIN scores s ON s.monitor = m.monitor AND s.version = m.version
    LEFT JOIN promotions p ON p.id = (
        SELECT MAX(q.id) FROM promotions q
        WHERE q.monitor = m.monitor AND q.role = m.role AND q.version = m.version
    )
"""
SCORE = """(SELECT e.{column} FROM evaluations e
            WHERE e.monitor = m.monitor AND e.version = m.version AND e.dataset = 'test'
                AND e.metric = '{metric}' AND e.job_id = (
                    SELECT MAX(n.job_id) FROM evaluations n
                    WHERE n.monitor = m.monitor AND n.version = m.version AND n.dataset = 'test'
                )) AS {name}"""
SCORES = (
    ("accuracy", "value", "accuracy"),
    ("accuracy", "low", "accuracy_low"),
    ("accuracy", "high", "accuracy_high"),
    *((name, "value", name) for name in ("macro_f1", "rare_class_accuracy", "ece", "agreement", "kl")),
    ("latency_p95_ms", "value", "latency_p95_ms"),
)
MODEL_HISTORY = f"""
    CREATE VIEW model_history AS
    SELECT m.version, m.role, m.parent_version, m.job_id, m.alpha, m.temperature,
        {", ".join(SCORE.format(metric=metric, column=column, name=name) for metric, column, name in SCORES)},
        m.created_at, p.promoted_at, p.retired_at, m.monitor
    FROM models m
    LEFT JOIN promotions p ON p.id = (
        SELECT MAX(q.id) FROM promotions q
        WHERE q.monitor = m.monitor AND q.role = m.role AND q.version = m.version
    )
"""  # noqa: S608 - the names are constants
MODEL_COMMENT = (
    "One row per model version and role: its scores on the labelled test set in the newest job "
    "that measured it (kl in nats), and the start and end of its latest time as the current "
    "version"
)
INCIDENT_HISTORY = """
    CREATE VIEW incident_history AS
    SELECT i.id AS incident_id, i.monitor, i.kind, i.severity,
        CASE WHEN i.state = 'firing' AND i.acknowledged_at IS NOT NULL THEN 'acknowledged' ELSE i.state END
            AS state,
        i.opened_at, i.acknowledged_at, i.resolved_at, i.cycle_id, i.job_id,
        {counts}, i.since, i.acknowledged_by
    FROM incidents i{join}
    WHERE i.state <> 'pending'{group}
"""
#: In this order SQLite reads the newest rejects first; in the other, all cycles of a monitor.
REJECT_HISTORY = """
    CREATE VIEW reject_history AS
    SELECT c.monitor, r.cycle_id, r.reason, r.n, r.example_object
    FROM rejects r {join} cycles c {on} c.id = r.cycle_id
"""
REJECT_COMMENT = "Unusable records of each cycle''s window, by reason"
COUNTS = (("delivered", "deliveries_ok"), ("pending", "deliveries_pending"), ("dead", "deliveries_dead"))
INCIDENT_COMMENT = (
    "One row per incident, with the numbers of its messages that are delivered, pending or dead"
)


def upgrade() -> None:
    for name, (table, columns, condition) in INDEXES.items():
        where = None if condition is None else sa.text(condition)
        op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
    _create_view("model_history", MODEL_HISTORY, MODEL_COMMENT)
    # Not as conditions on the state: SQLite would take the index on it, which finds nearly all messages.
    counts = (
        f"(SELECT COUNT(CASE d.state WHEN '{state}' THEN 1 END) FROM deliveries d "  # noqa: S608 - constants
        f"WHERE d.incident_id = i.id) AS {name}"
        for state, name in COUNTS
    )
    query = INCIDENT_HISTORY.format(counts=", ".join(counts), join="", group="")
    _create_view("incident_history", query, INCIDENT_COMMENT)
    reject_history = REJECT_HISTORY.format(join="CROSS JOIN", on="WHERE")
    _create_view("reject_history", reject_history, REJECT_COMMENT)


def downgrade() -> None:
    _create_view("reject_history", REJECT_HISTORY.format(join="JOIN", on="ON"), REJECT_COMMENT)
    counts = (f"COUNT(d.id) FILTER (WHERE d.state = '{state}') AS {name}" for state, name in COUNTS)
    join, group = " LEFT JOIN deliveries d ON d.incident_id = i.id", " GROUP BY i.id"
    query = INCIDENT_HISTORY.format(counts=", ".join(counts), join=join, group=group)
    _create_view("incident_history", query, INCIDENT_COMMENT)
    _create_view("model_history", MODEL_HISTORY_BEFORE, MODEL_COMMENT)
    for name, (table, _, _) in INDEXES.items():
        op.drop_index(name, table)


def _create_view(name: str, query: str, comment: str) -> None:
    op.execute(f"DROP VIEW {name}")
    op.execute(query)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW {name} IS '{comment}'")
