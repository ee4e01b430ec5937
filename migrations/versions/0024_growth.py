"""Long histories: indexes and views that find the newest rows without the others, and what is deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

FILES = (
    (
        "files_deleting_since",
        "UTC; when a worker began to delete its files (see keep_versions); NULL: it did not",
    ),
    ("files_deleted_at", "UTC; when its files were deleted; NULL: they were not"),
)
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
        m.created_at, p.promoted_at, p.retired_at, m.monitor, m.files_deleted_at
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
#: The columns, the table and the comment of views whose rows belong to cycles. SQLite joins in the order of
#: a CROSS JOIN, so that the cycles are read in the order of an index, the newest first. In the views of
#: rejects and of worker tasks these come first instead.
OF_CYCLES = {
    "class_history": (
        """c.monitor, {cycle} AS cycle_id, c.window_end, t.label, t.n, t.share, t.agreement, t.agreement_low,
        t.agreement_high, t.kl""",
        "class_metrics",
        "Agreement and KL (nats) of each cycle by the teacher''s label",
    ),
    "rule_history": (
        """c.monitor, {cycle} AS cycle_id, c.window_end, t.rule, t.metric, t.value, t.threshold, t.breached,
        t.streak, t.fired, t.reason, t.statistic, t.rule_version""",
        "rule_outcomes",
        "Outcome of each rule at each cycle, with its reason",
    ),
    "strata_history": (
        """c.monitor, {cycle} AS cycle_id, c.window_end, t.student_label, t.n_seen, t.n, t.n_disagreements,
        CAST(t.n_seen AS DOUBLE PRECISION) / c.n_seen * c.n_sampled / NULLIF(t.n, 0) AS weight""",
        "strata",
        "Strata of each cycle''s sample; weight is that of one request, 1 on average",
    ),
    "correctness_history": (
        """c.monitor, {cycle} AS cycle_id, c.window_end, t.n_labelled, t.n_disagreements, t.n_out_of_scope,
        t.teacher_right, t.teacher_right_low, t.teacher_right_high, t.student_right, t.student_right_low,
        t.student_right_high, t.both_wrong, t.both_wrong_low, t.both_wrong_high, t.teacher_accuracy,
        t.teacher_accuracy_low, t.teacher_accuracy_high, t.student_accuracy, t.student_accuracy_low,
        t.student_accuracy_high""",
        "correctness",
        "Correctness of both models in each cycle whose sample has true labels",
    ),
    "teacher_history": (
        """c.monitor, {cycle} AS cycle_id, c.window_end, c.teacher_version,
        t.confidence AS teacher_confidence, t.confidence_low AS teacher_confidence_low,
        t.confidence_high AS teacher_confidence_high, t.entropy AS teacher_entropy,
        t.entropy_low AS teacher_entropy_low, t.entropy_high AS teacher_entropy_high,
        t.accuracy AS teacher_accuracy, t.accuracy_low AS teacher_accuracy_low,
        t.accuracy_high AS teacher_accuracy_high, t.label_shift, t.label_gap, t.reference_version,
        t.health, t.reason, t.detail, t.familiar_share, t.familiar_shift, t.familiar_gap""",
        "teacher_metrics",
        "Health of the teacher; one row per cycle in which requests were scored",
    ),
}
INPUT_COLUMNS = """c.monitor, {cycle} AS cycle_id, c.window_end, t.reference_cycle_id,
        r.window_end AS reference_window_end, t.n, t.n_reference, t.accuracy AS input_drift, t.p_value,
        t.psi, t.psi_low, t.psi_high, t.js, t.js_low, t.js_high"""
INPUT_COMMENT = (
    "Drift of the requests since an earlier, healthy cycle; one row per cycle that has such a reference"
)
REJECT_COLUMNS = "c.monitor, r.cycle_id, r.reason, r.n, r.example_object"
REJECT_COMMENT = "Unusable records of each cycle''s window, by reason"
TASK_COLUMNS = """t.id AS task_id, t.job_id, j.monitor, t.state, t.reason, t.detail, t.arn, t.cluster,
        t.last_status, t.asked_at, t.started_at, t.ended_at"""
TASK_COMMENT = "One row per ECS task that the daemon started, or tried to start, for the worker of a job"
COUNTS = (("delivered", "deliveries_ok"), ("pending", "deliveries_pending"), ("dead", "deliveries_dead"))
INCIDENT_COMMENT = (
    "One row per incident, with the numbers of its messages that are delivered, pending or dead"
)


def upgrade() -> None:
    for name, comment in FILES:
        op.add_column("models", sa.Column(name, sa.DateTime(timezone=True), comment=comment))
    op.create_table(
        "rule_bases",
        sa.Column("monitor", sa.Text(), nullable=False, comment="The monitor"),
        sa.Column(
            "rule_version",
            sa.Text(),
            nullable=False,
            comment="SHA-256 of the rule's text (see rule_texts)",
        ),
        sa.Column(
            "window_end",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="UTC; end of the last window that the state includes; its cycle may have been deleted",
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="JSON, as in rule_states"),
        sa.PrimaryKeyConstraint("monitor", "rule_version", name="pk_rule_bases"),
        comment="State of each rule after the windows that may be deleted; it stands for their cycles",
    )
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
    for name, (columns, table, comment) in OF_CYCLES.items():
        tables = f"cycles c CROSS JOIN {table} t WHERE t.cycle_id = c.id"
        _create_view(name, _query(name, columns.format(cycle="c.id"), tables), comment)
    tables = "cycles c CROSS JOIN input_drift t CROSS JOIN cycles r"
    tables += " WHERE t.cycle_id = c.id AND r.id = t.reference_cycle_id"
    query = _query("input_history", INPUT_COLUMNS.format(cycle="c.id"), tables)
    _create_view("input_history", query, INPUT_COMMENT)
    tables = "rejects r CROSS JOIN cycles c WHERE c.id = r.cycle_id"
    _create_view("reject_history", _query("reject_history", REJECT_COLUMNS, tables), REJECT_COMMENT)
    tables = "worker_tasks t CROSS JOIN jobs j WHERE j.id = t.job_id"
    _create_view("worker_task_history", _query("worker_task_history", TASK_COLUMNS, tables), TASK_COMMENT)


def downgrade() -> None:
    tables = "worker_tasks t JOIN jobs j ON j.id = t.job_id"
    _create_view("worker_task_history", _query("worker_task_history", TASK_COLUMNS, tables), TASK_COMMENT)
    tables = "rejects r JOIN cycles c ON c.id = r.cycle_id"
    _create_view("reject_history", _query("reject_history", REJECT_COLUMNS, tables), REJECT_COMMENT)
    tables = "input_drift t JOIN cycles c ON c.id = t.cycle_id JOIN cycles r ON r.id = t.reference_cycle_id"
    query = _query("input_history", INPUT_COLUMNS.format(cycle="t.cycle_id"), tables)
    _create_view("input_history", query, INPUT_COMMENT)
    for name, (columns, table, comment) in OF_CYCLES.items():
        tables = f"{table} t JOIN cycles c ON c.id = t.cycle_id"
        _create_view(name, _query(name, columns.format(cycle="t.cycle_id"), tables), comment)
    counts = (f"COUNT(d.id) FILTER (WHERE d.state = '{state}') AS {name}" for state, name in COUNTS)
    join, group = " LEFT JOIN deliveries d ON d.incident_id = i.id", " GROUP BY i.id"
    query = INCIDENT_HISTORY.format(counts=", ".join(counts), join=join, group=group)
    _create_view("incident_history", query, INCIDENT_COMMENT)
    _create_view("model_history", MODEL_HISTORY_BEFORE, MODEL_COMMENT)
    for name, (table, _, _) in INDEXES.items():
        op.drop_index(name, table)
    op.drop_table("rule_bases")
    for name, _ in FILES:
        op.drop_column("models", name)


def _query(name: str, columns: str, tables: str) -> str:
    return f"CREATE VIEW {name} AS SELECT {columns} FROM {tables}"  # noqa: S608 - constants


def _create_view(name: str, query: str, comment: str) -> None:
    op.execute(f"DROP VIEW {name}")
    op.execute(query)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW {name} IS '{comment}'")
