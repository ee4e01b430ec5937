"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ALPHA = sa.Numeric(precision=4, scale=3, asdecimal=False)
BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "cycles",
        sa.Column("id", BIG_ID, nullable=False, comment="The cycle's number"),
        sa.Column("monitor", sa.Text(), nullable=False, comment="The monitor's name"),
        sa.Column("window_start", UTC_TIME, nullable=False, comment="UTC; first instant in the window"),
        sa.Column("window_end", UTC_TIME, nullable=False, comment="UTC; first instant after the window"),
        sa.Column(
            "status", sa.Text(), nullable=False, comment="running, evaluated, inconclusive, failed or skipped"
        ),
        sa.Column(
            "verdict", sa.Text(), comment="healthy, breached, inconclusive or failed; NULL while running"
        ),
        sa.Column("verdict_reason", sa.Text(), comment="Why the verdict is what it is"),
        sa.Column("attempt", sa.Integer(), nullable=False, comment="1 for the first try of the slot"),
        sa.Column("error", sa.Text(), comment="What ended a failed attempt, in one line"),
        sa.Column("started_at", UTC_TIME, comment="UTC; start of the last attempt"),
        sa.Column("finished_at", UTC_TIME, comment="UTC; when the result was committed"),
        sa.Column("n_seen", sa.BigInteger(), comment="Distinct usable requests in the window"),
        sa.Column("n_sampled", sa.Integer(), comment="Requests in the sample"),
        sa.Column("n_scored", sa.Integer(), comment="Sampled requests scored by both models"),
        sa.Column("n_rejected", sa.BigInteger(), comment="Unusable records of the window"),
        sa.Column("n_disagreements", sa.Integer(), comment="Scored requests with different top-1 labels"),
        sa.Column("agreement", sa.Float(), comment="Share in [0, 1] with the same top-1 label"),
        sa.Column("agreement_low", sa.Float(), comment="Lower end of its 95% Wilson interval"),
        sa.Column("agreement_high", sa.Float(), comment="Upper end of its 95% Wilson interval"),
        sa.Column(
            "kl",
            sa.Float(),
            comment="Mean KL(teacher || student) at `temperature`, nats, without the T^2 factor",
        ),
        sa.Column("kl_low", sa.Float(), comment="Lower end of its 95% bootstrap interval, nats"),
        sa.Column("kl_high", sa.Float(), comment="Upper end of its 95% bootstrap interval, nats"),
        sa.Column("kl_p50", sa.Float(), comment="Median of KL over requests, nats"),
        sa.Column("kl_p95", sa.Float(), comment="95th percentile of KL over requests, nats"),
        sa.Column("kl_p99", sa.Float(), comment="99th percentile of KL over requests, nats"),
        sa.Column("kl_t1", sa.Float(), comment="Mean KL(teacher || student) at temperature 1, nats"),
        sa.Column("js", sa.Float(), comment="Mean Jensen-Shannon divergence at `temperature`, nats"),
        sa.Column("temperature", sa.Float(), comment="The softmax temperature T of kl and js"),
        sa.Column(
            "teacher_version", sa.Text(), comment="The teacher that scored the sample; SHA-256 of its files"
        ),
        sa.Column(
            "student_version", sa.Text(), comment="The student that scored the sample; SHA-256 of its files"
        ),
        sa.Column(
            "alpha",
            ALPHA,
            comment="Weight of the KL term with which that student was distilled; "
            "lower alpha = more weight on hard labels; NULL if unknown",
        ),
        sa.Column("archive", sa.Text(), comment="Where the sample lies (texts are there, never in SQL)"),
        sa.Column("archive_sha256", sa.Text(), comment="SHA-256 of the archive's bytes"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cycles")),
        sa.UniqueConstraint("monitor", "window_end", name=op.f("uq_cycles_monitor_window_end")),
        comment="One row a slot: what was measured and judged",
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False, comment="What is leased: monitor:NAME or job:ID"),
        sa.Column("owner", sa.Text(), nullable=False, comment="Host, process and start of the holder"),
        sa.Column(
            "token", sa.BigInteger(), nullable=False, comment="Fencing token; grows at each new holder"
        ),
        sa.Column(
            "expires_at",
            UTC_TIME,
            nullable=False,
            comment="UTC, by the database's clock; after it anyone may take the lease",
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
        comment="Who may write for a monitor or a job",
    )
    op.create_table(
        "promotions",
        sa.Column("id", BIG_ID, nullable=False, comment="A row number"),
        sa.Column("monitor", sa.Text(), nullable=False, comment="The monitor"),
        sa.Column("role", sa.Text(), nullable=False, comment="teacher or student"),
        sa.Column("version", sa.Text(), nullable=False, comment="The version that became current"),
        sa.Column(
            "reason", sa.Text(), nullable=False, comment="configured, gates_passed, manual or rollback"
        ),
        sa.Column("promoted_at", UTC_TIME, nullable=False, comment="UTC; current from here on"),
        sa.Column("retired_at", UTC_TIME, comment="UTC; current until here; NULL: it is the current one"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
        comment="Which version was the current one, and when",
    )
    with op.batch_alter_table("promotions", schema=None) as batch_op:
        batch_op.create_index(
            "uq_promotions_current",
            ["monitor", "role"],
            unique=True,
            sqlite_where=sa.text("retired_at IS NULL"),
            postgresql_where=sa.text("retired_at IS NULL"),
        )

    op.create_table(
        "class_metrics",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column("label", sa.Text(), nullable=False, comment="The teacher's top-1 label"),
        sa.Column("n", sa.Integer(), nullable=False, comment="Scored requests with that label"),
        sa.Column(
            "share", sa.Float(), nullable=False, comment="Their share in [0, 1] of the scored requests"
        ),
        sa.Column("agreement", sa.Float(), nullable=False, comment="Share of them with the same top-1 label"),
        sa.Column(
            "agreement_low", sa.Float(), nullable=False, comment="Lower end of its 95% Wilson interval"
        ),
        sa.Column(
            "agreement_high", sa.Float(), nullable=False, comment="Upper end of its 95% Wilson interval"
        ),
        sa.Column("kl", sa.Float(), nullable=False, comment="Their mean KL(teacher || student), nats"),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_class_metrics_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("cycle_id", "label", name=op.f("pk_class_metrics")),
        comment="Agreement and KL of a cycle by the teacher's label",
    )
    op.create_table(
        "jobs",
        sa.Column("id", BIG_ID, nullable=False, comment="The job's number"),
        sa.Column("monitor", sa.Text(), nullable=False, comment="The monitor whose student is re-distilled"),
        sa.Column("cycle_id", BIG_ID, comment="The cycle that ordered it"),
        sa.Column("rule", sa.Text(), comment="The rule that fired; NULL if a person ordered it"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why, in one line, with the numbers"),
        sa.Column(
            "teacher_version",
            sa.Text(),
            nullable=False,
            comment="The teacher to distil from; SHA-256 of its files",
        ),
        sa.Column(
            "student_version",
            sa.Text(),
            nullable=False,
            comment="The incumbent student; SHA-256 of its files",
        ),
        sa.Column("alpha_from", ALPHA, nullable=False, comment="The ladder's alpha before this job"),
        sa.Column(
            "alpha_to",
            ALPHA,
            nullable=False,
            comment="Weight of the KL term in this job's loss; 1 - alpha is that of the hard labels",
        ),
        sa.Column("temperature", sa.Float(), nullable=False, comment="The softmax temperature T of the loss"),
        sa.Column(
            "soft_labels", sa.Text(), nullable=False, comment="online: the teacher runs while training"
        ),
        sa.Column(
            "status",
            sa.Text(),
            nullable=False,
            comment="queued, running, succeeded, rejected, failed or cancelled",
        ),
        sa.Column("attempt", sa.Integer(), nullable=False, comment="How often a worker has taken it"),
        sa.Column("error", sa.Text(), comment="What ended the last failed attempt, in one line"),
        sa.Column("enqueued_at", UTC_TIME, nullable=False, comment="UTC"),
        sa.Column("started_at", UTC_TIME, comment="UTC; when the last attempt began"),
        sa.Column("finished_at", UTC_TIME, comment="UTC; when it reached a final status"),
        sa.Column("candidate_version", sa.Text(), comment="The student that it made; SHA-256 of its files"),
        sa.Column("decision", sa.Text(), comment="promoted, held or rejected"),
        sa.Column("decision_reason", sa.Text(), comment="Why, in one line, with the numbers"),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_jobs_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        comment="Orders for a re-distillation: the queue and its history",
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            "uq_jobs_open",
            ["monitor"],
            unique=True,
            sqlite_where=sa.text("status IN ('queued', 'running')"),
            postgresql_where=sa.text("status IN ('queued', 'running')"),
        )

    op.create_table(
        "rejects",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why the records could not be used"),
        sa.Column("n", sa.BigInteger(), nullable=False, comment="How many records"),
        sa.Column("example_hash", sa.Text(), nullable=False, comment="SHA-256 of the first example's bytes"),
        sa.Column("example_object", sa.Text(), nullable=False, comment="The object (file) of that example"),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_rejects_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("cycle_id", "reason", name=op.f("pk_rejects")),
        comment="Records of a window that could not be used, by reason",
    )
    op.create_table(
        "rule_outcomes",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column("rule", sa.Text(), nullable=False, comment="The rule's name"),
        sa.Column("metric", sa.Text(), nullable=False, comment="The metric that the rule watches"),
        sa.Column("value", sa.Float(), comment="The metric's value; NULL if the cycle was not evaluated"),
        sa.Column(
            "threshold", sa.Float(), nullable=False, comment="The rule's threshold, in the metric's unit"
        ),
        sa.Column(
            "breached", sa.Boolean(), nullable=False, comment="Strictly on the wrong side at this cycle"
        ),
        sa.Column(
            "streak", sa.Integer(), nullable=False, comment="Breached evaluated cycles in a row to here"
        ),
        sa.Column(
            "fired", sa.Boolean(), nullable=False, comment="The streak has reached the rule's for_cycles"
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why it fired or did not"),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_rule_outcomes_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("cycle_id", "rule", name=op.f("pk_rule_outcomes")),
        comment="What each rule said at each cycle",
    )
    op.create_table(
        "evaluations",
        sa.Column("monitor", sa.Text(), nullable=False, comment="The monitor"),
        sa.Column("version", sa.Text(), nullable=False, comment="The evaluated model version"),
        sa.Column("job_id", BIG_ID, nullable=False, comment="The job that asked"),
        sa.Column(
            "dataset",
            sa.Text(),
            nullable=False,
            comment="test: the labelled test set; condemned: the held-out part of the archived sample",
        ),
        sa.Column("metric", sa.Text(), nullable=False, comment="The metric's name (see docs/metrics.md)"),
        sa.Column("value", sa.Float(), comment="Its value; ms for latency, nats for kl; NULL if undefined"),
        sa.Column("low", sa.Float(), comment="Lower end of its 95% interval"),
        sa.Column("high", sa.Float(), comment="Upper end of its 95% interval"),
        sa.Column("n", sa.Integer(), nullable=False, comment="Rows that it was computed from"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_evaluations_job_id_jobs")),
        sa.PrimaryKeyConstraint(
            "monitor", "version", "job_id", "dataset", "metric", name=op.f("pk_evaluations")
        ),
        comment="What a job measured on its incumbent and its candidate",
    )
    op.create_table(
        "gate_outcomes",
        sa.Column("job_id", BIG_ID, nullable=False, comment="The job"),
        sa.Column("gate", sa.Text(), nullable=False, comment="The gate's metric"),
        sa.Column("dataset", sa.Text(), nullable=False, comment="test or condemned (see evaluations)"),
        sa.Column("value", sa.Float(), comment="The candidate's value; NULL if it could not be measured"),
        sa.Column("threshold", sa.Float(), nullable=False, comment="The gate's threshold, in the same unit"),
        sa.Column("result", sa.Text(), nullable=False, comment="pass or fail"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_gate_outcomes_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", "gate", "dataset", name=op.f("pk_gate_outcomes")),
        comment="What each gate said of a job's candidate",
    )
    op.create_table(
        "incidents",
        sa.Column("id", BIG_ID, nullable=False, comment="The incident's number"),
        sa.Column("monitor", sa.Text(), nullable=False, comment="The monitor"),
        sa.Column("kind", sa.Text(), nullable=False, comment="drift, retrain-teacher or blind"),
        sa.Column("severity", sa.Text(), nullable=False, comment="info, warning, error or critical"),
        sa.Column("state", sa.Text(), nullable=False, comment="firing or resolved"),
        sa.Column(
            "summary", sa.Text(), nullable=False, comment="What is wrong, in one line, with the numbers"
        ),
        sa.Column("opened_at", UTC_TIME, nullable=False, comment="UTC"),
        sa.Column("acknowledged_at", UTC_TIME, comment="UTC; when a person took it; NULL so far"),
        sa.Column("resolved_at", UTC_TIME, comment="UTC"),
        sa.Column("cycle_id", BIG_ID, comment="The cycle that opened it"),
        sa.Column("job_id", BIG_ID, comment="The job that was ordered with it"),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_incidents_cycle_id_cycles")),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_incidents_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
        comment="What the on-call was told",
    )
    with op.batch_alter_table("incidents", schema=None) as batch_op:
        batch_op.create_index(
            "uq_incidents_firing",
            ["monitor", "kind"],
            unique=True,
            sqlite_where=sa.text("state = 'firing'"),
            postgresql_where=sa.text("state = 'firing'"),
        )

    op.create_table(
        "models",
        sa.Column("id", BIG_ID, nullable=False, comment="A row number"),
        sa.Column("monitor", sa.Text(), nullable=False, comment="The monitor that uses or made it"),
        sa.Column("version", sa.Text(), nullable=False, comment="SHA-256 of weights, config and tokenizer"),
        sa.Column("role", sa.Text(), nullable=False, comment="teacher or student"),
        sa.Column("uri", sa.Text(), nullable=False, comment="The directory in save_pretrained layout"),
        sa.Column(
            "parent_version",
            sa.Text(),
            comment="The version from which training started; SHA-256 of its files",
        ),
        sa.Column("job_id", BIG_ID, comment="The job that made it"),
        sa.Column("alpha", ALPHA, comment="Weight of the KL term in its distillation, if known"),
        sa.Column("temperature", sa.Float(), comment="The temperature T of its distillation, if known"),
        sa.Column("created_at", UTC_TIME, nullable=False, comment="UTC; when it was first recorded"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_models_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("monitor", "role", "version", name=op.f("uq_models_monitor_role_version")),
        comment="Model versions that were seen or made",
    )
    op.create_table(
        "deliveries",
        sa.Column("id", BIG_ID, nullable=False, comment="The message's number"),
        sa.Column("incident_id", BIG_ID, nullable=False, comment="Its incident"),
        sa.Column("channel", sa.Text(), nullable=False, comment="The channel's name in the configuration"),
        sa.Column("event", sa.Text(), nullable=False, comment="firing or resolved"),
        sa.Column("dedup_key", sa.Text(), nullable=False, comment="The same for all messages of an incident"),
        sa.Column("payload", sa.Text(), nullable=False, comment="JSON, schema redistill.incident/1"),
        sa.Column("state", sa.Text(), nullable=False, comment="pending, delivered or dead"),
        sa.Column("attempts", sa.Integer(), nullable=False, comment="How often it was sent"),
        sa.Column("next_attempt_at", UTC_TIME, nullable=False, comment="UTC; not sent before"),
        sa.Column("delivered_at", UTC_TIME, comment="UTC; when the channel accepted it"),
        sa.Column("last_error", sa.Text(), comment="What the last failed attempt met"),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incidents.id"], name=op.f("fk_deliveries_incident_id_incidents")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "incident_id", "channel", "event", name=op.f("uq_deliveries_incident_id_channel_event")
        ),
        comment="The outbox: messages written with the decision, sent after it",
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(
            "ix_deliveries_state_next_attempt_at", ["state", "next_attempt_at"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.drop_index("ix_deliveries_state_next_attempt_at")

    op.drop_table("deliveries")
    op.drop_table("models")
    with op.batch_alter_table("incidents", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_incidents_firing",
            sqlite_where=sa.text("state = 'firing'"),
            postgresql_where=sa.text("state = 'firing'"),
        )

    op.drop_table("incidents")
    op.drop_table("gate_outcomes")
    op.drop_table("evaluations")
    op.drop_table("rule_outcomes")
    op.drop_table("rejects")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_jobs_open",
            sqlite_where=sa.text("status IN ('queued', 'running')"),
            postgresql_where=sa.text("status IN ('queued', 'running')"),
        )

    op.drop_table("jobs")
    op.drop_table("class_metrics")
    with op.batch_alter_table("promotions", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_promotions_current",
            sqlite_where=sa.text("retired_at IS NULL"),
            postgresql_where=sa.text("retired_at IS NULL"),
        )

    op.drop_table("promotions")
    op.drop_table("leases")
    op.drop_table("cycles")
