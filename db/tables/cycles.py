"""Leases, cycles, and the tables of what a cycle measured and read."""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from db.tables.columns import ArtifactPath, BigId, ExactAlpha, UTCDateTime, metadata, row_id, version_column

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True, comment="The lease's name: monitor:NAME, job:ID or erasure:NAME"),
    Column("owner", Text, nullable=False, comment="Host, process and start of the holder"),
    Column("token", BigInteger, nullable=False, comment="Fencing token; it grows with each new holder"),
    Column(
        "expires_at",
        UTCDateTime,
        nullable=False,
        comment="UTC, by the database's clock; after it any process may take the lease",
    ),
    comment="The right to write for a monitor or a job",
)


cycles = Table(
    "cycles",
    metadata,
    row_id("The cycle's number"),
    Column("monitor", Text, nullable=False, comment="The monitor's name"),
    Column("window_start", UTCDateTime, nullable=False, comment="UTC; first instant in the window"),
    Column("window_end", UTCDateTime, nullable=False, comment="UTC; first instant after the window"),
    Column(
        "status",
        Text,
        nullable=False,
        comment="running, evaluated, inconclusive, failed or skipped",
    ),
    Column("verdict", Text, comment="healthy, breached, inconclusive or failed; NULL while running"),
    Column("verdict_reason", Text, comment="Reason for the verdict (see docs/states.md)"),
    Column(
        "attempt",
        Integer,
        nullable=False,
        comment="Number of the last attempt at the slot, from 1; 0 without an attempt",
    ),
    Column("error", Text, comment="Error that ended a failed attempt, in one line"),
    Column("started_at", UTCDateTime, comment="UTC; start of the last attempt"),
    Column("finished_at", UTCDateTime, comment="UTC; when the result was committed"),
    Column("n_seen", BigInteger, comment="Distinct usable requests in the window"),
    Column("n_sampled", Integer, comment="Requests in the sample"),
    Column("n_scored", Integer, comment="Sampled requests scored by both models"),
    Column("n_rejected", BigInteger, comment="Unusable records of the window"),
    Column("n_disagreements", Integer, comment="Scored requests with different top-1 labels"),
    Column("agreement", Float, comment="Share in [0, 1] with the same top-1 label"),
    Column("agreement_exact", Text, comment="The agreement as a fraction of integers"),
    Column("agreement_low", Float, comment="Lower end of its 95% Wilson interval"),
    Column("agreement_high", Float, comment="Upper end of its 95% Wilson interval"),
    Column(
        "kl",
        Float,
        comment="Mean KL(teacher || student) at `temperature`, nats, without the T^2 factor",
    ),
    Column("kl_low", Float, comment="Lower end of its 95% bootstrap interval, nats"),
    Column("kl_high", Float, comment="Upper end of its 95% bootstrap interval, nats"),
    Column("kl_p50", Float, comment="Median of KL over requests, nats"),
    Column("kl_p95", Float, comment="95th percentile of KL over requests, nats"),
    Column("kl_p99", Float, comment="99th percentile of KL over requests, nats"),
    Column("kl_t1", Float, comment="Mean KL(teacher || student) at temperature 1, nats"),
    Column("js", Float, comment="Mean Jensen-Shannon divergence at `temperature`, nats"),
    Column("n_recorded", Integer, comment="Scored requests whose student logits are in the log"),
    Column("n_rescored", Integer, comment="Those of them that the student scored too"),
    Column(
        "serving_skew",
        Float,
        comment="Share in [0, 1] of requests for which the student's label differs from the one served",
    ),
    Column("serving_skew_low", Float, comment="Lower end of its 95% Wilson interval"),
    Column("serving_skew_high", Float, comment="Upper end of its 95% Wilson interval"),
    Column("temperature", Float, comment="The softmax temperature T of kl and js"),
    version_column("teacher_version", "The teacher that scored the sample"),
    version_column("student_version", "The student that scored the sample"),
    Column(
        "alpha",
        ExactAlpha,
        comment="Weight of the KL term in the distillation of that student; a lower alpha puts more weight "
        "on hard labels; NULL if unknown",
    ),
    Column(
        "archive",
        ArtifactPath,
        comment="Location of the archived sample, whose texts are never in SQL; relative to the "
        "configuration's folder, or s3://",
    ),
    Column("archive_sha256", Text, comment="SHA-256 of the archive's bytes"),
    Column(
        "order_reason",
        Text,
        comment="Reason for ordering a re-distillation or not (see docs/states.md); NULL without a decision",
    ),
    Column("order_detail", Text, comment="The reason in one line, with the numbers"),
    Column(
        "n_slots", Integer, nullable=False, server_default="1", comment="Slots of the schedule in the window"
    ),
    Column(
        "n_empty",
        Integer,
        nullable=False,
        server_default="0",
        comment="Slots without a record at the end of the window while it was quiet",
    ),
    Column(
        "quiet_at",
        UTCDateTime,
        comment="UTC; when the window last had too few requests to be judged yet; NULL if it never had",
    ),
    UniqueConstraint("monitor", "window_end"),
    Index("ix_cycles_window_end", "window_end"),
    Index("ix_cycles_monitor_teacher_version_window_end", "monitor", "teacher_version", "window_end"),
    Index("ix_cycles_monitor_student_version_started_at", "monitor", "student_version", "started_at"),
    Index("ix_cycles_monitor_verdict_reason_window_end", "monitor", "verdict_reason", "window_end"),
    Index("ix_cycles_monitor_finished_at", "monitor", "finished_at"),
    comment="One row per window, of one slot or of several: its measurements and its verdict",
)
for _name, _columns, _condition in (
    ("ix_cycles_unfinished", (cycles.c.monitor, cycles.c.window_end), "status IN ('running', 'failed')"),
    ("ix_cycles_quiet", (cycles.c.monitor, cycles.c.window_end), "quiet_at IS NOT NULL"),
    ("ix_cycles_recorded", (cycles.c.window_end,), "n_recorded IS NOT NULL"),
    ("ix_cycles_recorded_of_monitor", (cycles.c.monitor, cycles.c.window_end), "n_recorded IS NOT NULL"),
):
    Index(_name, *_columns, sqlite_where=text(_condition), postgresql_where=text(_condition))


class_metrics = Table(
    "class_metrics",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("label", Text, primary_key=True, comment="The teacher's top-1 label"),
    Column("n", Integer, nullable=False, comment="Scored requests with that label"),
    Column("share", Float, nullable=False, comment="Their share in [0, 1] of the window's requests"),
    Column("agreement", Float, nullable=False, comment="Share of them with the same top-1 label"),
    Column("agreement_low", Float, nullable=False, comment="Lower end of its 95% Wilson interval"),
    Column("agreement_high", Float, nullable=False, comment="Upper end of its 95% Wilson interval"),
    Column("kl", Float, nullable=False, comment="Their mean KL(teacher || student), nats"),
    comment="Agreement and KL of a cycle by the teacher's label",
)


strata = Table(
    "strata",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column(
        "student_label",
        Text,
        primary_key=True,
        comment="The label recorded in the log; empty if none was recorded or the sample is uniform",
    ),
    Column("n_seen", BigInteger, nullable=False, comment="Distinct usable requests of the window"),
    Column("n", Integer, nullable=False, comment="Those of them in the sample"),
    Column(
        "n_disagreements", Integer, nullable=False, comment="Sampled requests with different top-1 labels"
    ),
    comment="Strata of a cycle's sample: agreement is the sum of n_seen * (n - n_disagreements) / n, divided "
    "by the sum of n_seen",
)


rejects = Table(
    "rejects",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column(
        "reason",
        Text,
        primary_key=True,
        comment="Reason for the rejection (see docs/states.md)",
    ),
    Column("n", BigInteger, nullable=False, comment="Number of records"),
    Column("example_hash", Text, nullable=False, comment="SHA-256 of the first example's bytes"),
    Column("example_object", Text, nullable=False, comment="The object (file) of that example"),
    comment="Unusable records of a window, by reason",
)


objects = Table(
    "objects",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column("name", Text, primary_key=True, comment="The object's key in its bucket"),
    Column("version", Text, nullable=False, comment="The object's ETag, which changes with its contents"),
    comment="Objects of a request log in S3 that a cycle has read; kept for 30 days",
)


erasures = Table(
    "erasures",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column(
        "sha256_after", Text, primary_key=True, comment="SHA-256 of the archive's bytes after the erasure"
    ),
    Column(
        "sha256_before", Text, nullable=False, comment="SHA-256 of the archive's bytes before the erasure"
    ),
    Column("n", Integer, nullable=False, comment="Number of erased requests"),
    Column("begun_at", UTCDateTime, nullable=False, comment="UTC; when the erasure began"),
    Column("finished_at", UTCDateTime, comment="UTC; when the new file was in place; NULL while unfinished"),
    comment="Requests erased from a cycle's archive by `redistill archive erase`; the cycle's numbers stay",
)


input_drift = Table(
    "input_drift",
    metadata,
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="The cycle"),
    Column(
        "reference_cycle_id",
        BigId,
        ForeignKey("cycles.id"),
        nullable=False,
        comment="The earlier, healthy cycle that it is compared with",
    ),
    Column("n", Integer, nullable=False, comment="Texts of the cycle that were compared"),
    Column("n_reference", Integer, nullable=False, comment="Texts of the reference"),
    Column(
        "accuracy",
        Float,
        nullable=False,
        comment="Share in [0, 1] of texts that a classifier assigns to the right cycle; 0.5 is chance",
    ),
    Column(
        "p_value", Float, nullable=False, comment="Probability of at least this accuracy by chance, in (0, 1]"
    ),
    Column("psi", Float, nullable=False, comment="Population stability index of the teacher's labels, nats"),
    Column("psi_low", Float, nullable=False, comment="Lower end of its 95% interval, nats"),
    Column("psi_high", Float, nullable=False, comment="Upper end of its 95% interval, nats"),
    Column("js", Float, nullable=False, comment="Jensen-Shannon divergence of the teacher's labels, nats"),
    Column("js_low", Float, nullable=False, comment="Lower end of its 95% interval, nats"),
    Column("js_high", Float, nullable=False, comment="Upper end of its 95% interval, nats"),
    Index("ix_input_drift_reference_cycle_id", "reference_cycle_id"),
    comment="Difference between a cycle's requests and those of an earlier, healthy cycle",
)
