"""Orders, what their models measured, and which model was current when."""

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, text

from db.tables.columns import BigId, ExactAlpha, UTCDateTime, metadata, row_id, version_column

jobs = Table(
    "jobs",
    metadata,
    row_id("The job's number"),
    Column("monitor", Text, nullable=False, comment="The monitor whose student is re-distilled"),
    Column("cycle_id", BigId, ForeignKey("cycles.id"), comment="The cycle that ordered it"),
    Column("rule", Text, comment="The rule that fired; NULL if a person ordered it"),
    Column("reason", Text, nullable=False, comment="Why, in one line, with the numbers"),
    version_column("teacher_version", "The teacher to distil from", nullable=False),
    version_column("student_version", "The incumbent student", nullable=False),
    Column("alpha_from", ExactAlpha, nullable=False, comment="The ladder's alpha before this job"),
    Column(
        "alpha_to",
        ExactAlpha,
        nullable=False,
        comment="Weight of the KL term in this job's loss; 1 - alpha is that of the hard labels",
    ),
    Column("temperature", Float, nullable=False, comment="The softmax temperature T of the loss"),
    Column("soft_labels", Text, nullable=False, comment="online: the teacher runs while training"),
    Column(
        "status",
        Text,
        nullable=False,
        comment="queued, running, succeeded, rejected, failed or cancelled",
    ),
    Column("attempt", Integer, nullable=False, comment="How often a worker has taken it"),
    Column("error", Text, comment="What ended the last failed attempt, in one line"),
    Column("enqueued_at", UTCDateTime, nullable=False, comment="UTC"),
    Column(
        "announced_at",
        UTCDateTime,
        comment="UTC; when workers were called to it; NULL: not since it was queued or last taken",
    ),
    Column("started_at", UTCDateTime, comment="UTC; when the last attempt began"),
    Column("finished_at", UTCDateTime, comment="UTC; when it reached a final status"),
    version_column("candidate_version", "The student that it made"),
    Column("decision", Text, comment="promoted, held or rejected"),
    Column("decision_reason", Text, comment="Why, in one line, with the numbers"),
    Column(
        "evidence", Text, comment="JSON: what true labels said when it was ordered; NULL: there were none"
    ),
    Column(
        "recovery",
        Text,
        comment="recovered or not_recovered: what the watch found once its candidate served; NULL so far",
    ),
    comment="Orders for a re-distillation: the queue and its history",
)

Index(
    "uq_jobs_open",
    jobs.c.monitor,
    unique=True,
    sqlite_where=text("status IN ('queued', 'running')"),
    postgresql_where=text("status IN ('queued', 'running')"),
)
Index("ix_jobs_monitor_id", jobs.c.monitor, jobs.c.id)


worker_tasks = Table(
    "worker_tasks",
    metadata,
    row_id("A row number"),
    Column("job_id", BigId, ForeignKey("jobs.id"), nullable=False, comment="The job that wants a worker"),
    Column(
        "token",
        Text,
        nullable=False,
        comment="With it ECS starts one task, however often it is asked (clientToken of RunTask)",
    ),
    Column(
        "turn",
        BigId,
        nullable=False,
        comment="The fencing token of the job's lease then; once that is higher a worker has had the job",
    ),
    Column("state", Text, nullable=False, comment="asked, started or ended"),
    Column("arn", Text, comment="What ECS calls it; NULL: it did not say"),
    Column("cluster", Text, comment="The cluster that it runs in, as ECS calls it"),
    Column("last_status", Text, comment="What ECS last said of it: PROVISIONING, PENDING, RUNNING, ..."),
    Column("asked_at", UTCDateTime, nullable=False, comment="UTC; when ECS was asked for it"),
    Column("started_at", UTCDateTime, comment="UTC; when ECS took it on"),
    Column("looked_at", UTCDateTime, comment="UTC; when ECS was last asked how it does"),
    Column("ended_at", UTCDateTime, comment="UTC; from here on nothing is expected of it"),
    Column("reason", Text, comment="Why it ended (see docs/states.md)"),
    Column("detail", Text, comment="The same in the words of ECS, in one line"),
    comment="The tasks that the daemon has started in ECS, or tried to, each to run a job's worker",
)

Index("ix_worker_tasks_job_id", worker_tasks.c.job_id)
Index(
    "uq_worker_tasks_open",
    worker_tasks.c.job_id,
    unique=True,
    sqlite_where=text("state IN ('asked', 'started')"),
    postgresql_where=text("state IN ('asked', 'started')"),
)


gate_outcomes = Table(
    "gate_outcomes",
    metadata,
    Column("job_id", BigId, ForeignKey("jobs.id"), primary_key=True, comment="The job"),
    Column("gate", Text, primary_key=True, comment="The gate's metric"),
    Column("dataset", Text, primary_key=True, comment="test or condemned (see evaluations)"),
    Column("value", Float, comment="The candidate's value; NULL if it could not be measured"),
    Column("threshold", Float, nullable=False, comment="The gate's threshold, in the same unit"),
    Column("result", Text, nullable=False, comment="pass, waived or fail"),
    Column(
        "metric",
        Text,
        comment="The metric in evaluations that the gate judged; NULL: that of the gate's name",
    ),
    Column(
        "incumbent_value",
        Float,
        comment="The incumbent's value of the same metric; NULL if it was not measured",
    ),
    Column("detail", Text, comment="How the value was measured, where that matters"),
    comment="What each gate said of a job's candidate",
)


models = Table(
    "models",
    metadata,
    row_id("A row number"),
    Column("monitor", Text, nullable=False, comment="The monitor that uses or made it"),
    Column("version", Text, nullable=False, comment="SHA-256 of weights, config and tokenizer"),
    Column("role", Text, nullable=False, comment="teacher or student"),
    Column("uri", Text, nullable=False, comment="The directory in save_pretrained layout"),
    version_column("parent_version", "The version from which training started"),
    Column("job_id", BigId, ForeignKey("jobs.id"), comment="The job that made it"),
    Column("alpha", ExactAlpha, comment="Weight of the KL term in its distillation, if known"),
    Column("temperature", Float, comment="The temperature T of its distillation, if known"),
    Column("created_at", UTCDateTime, nullable=False, comment="UTC; when it was first recorded"),
    UniqueConstraint("monitor", "role", "version"),
    comment="Model versions that were seen or made",
)


promotions = Table(
    "promotions",
    metadata,
    row_id("A row number"),
    Column("monitor", Text, nullable=False, comment="The monitor"),
    Column("role", Text, nullable=False, comment="teacher or student"),
    Column("version", Text, nullable=False, comment="The version that became current"),
    Column("reason", Text, nullable=False, comment="configured, gates_passed, manual or rollback"),
    Column("promoted_at", UTCDateTime, nullable=False, comment="UTC; current from here on"),
    Column("retired_at", UTCDateTime, comment="UTC; current until here; NULL: it is the current one"),
    comment="Which version was the current one, and when",
)

Index(
    "uq_promotions_current",
    promotions.c.monitor,
    promotions.c.role,
    unique=True,
    sqlite_where=text("retired_at IS NULL"),
    postgresql_where=text("retired_at IS NULL"),
)


evaluations = Table(
    "evaluations",
    metadata,
    Column("monitor", Text, primary_key=True, comment="The monitor"),
    Column("version", Text, primary_key=True, comment="The evaluated model version"),
    Column("job_id", BigId, ForeignKey("jobs.id"), primary_key=True, comment="The job that asked"),
    Column(
        "dataset",
        Text,
        primary_key=True,
        comment="test: the labelled test set; condemned: the held-out part of the archived sample",
    ),
    Column("metric", Text, primary_key=True, comment="The metric's name (see docs/metrics.md)"),
    Column("value", Float, comment="Its value; ms for latency, nats for kl; NULL if undefined"),
    Column("low", Float, comment="Lower end of its 95% interval"),
    Column("high", Float, comment="Upper end of its 95% interval"),
    Column("n", Integer, nullable=False, comment="Rows that it was computed from"),
    Column("spread", Float, comment="How far apart a bound lies by different seeds; 0 if none is drawn"),
    comment="What a job measured on its incumbent and its candidate",
)


calibrations = Table(
    "calibrations",
    metadata,
    row_id("A row number; a version's newest row has its temperature"),
    Column("monitor", Text, nullable=False, comment="The monitor whose student it is"),
    Column("version", Text, nullable=False, comment="The calibrated student; SHA-256 of its files"),
    Column(
        "temperature",
        Float,
        nullable=False,
        comment="By what its logits are divided for it to be as sure as it is right; in [0.05, 20]",
    ),
    Column("n", Integer, nullable=False, comment="Labelled rows that it was fitted on, and the rest is of"),
    Column("dataset", Text, nullable=False, comment="validation or test: the configured file"),
    Column("sha256", Text, nullable=False, comment="Of that file"),
    Column("nll_before", Float, nullable=False, comment="Mean -ln p(true label) at T = 1, nats"),
    Column("nll_after", Float, nullable=False, comment="The same at that temperature"),
    Column("ece_before", Float, nullable=False, comment="Expected calibration error at T = 1, in [0, 1]"),
    Column("ece_after", Float, nullable=False, comment="The same at that temperature"),
    Column("ece_debiased_before", Float, nullable=False, comment="Its debiased estimate at T = 1"),
    Column("ece_debiased_after", Float, nullable=False, comment="The same at that temperature"),
    Column("reason", Text, nullable=False, comment="job, due or manual"),
    Column("job_id", BigId, ForeignKey("jobs.id"), comment="The job whose candidate it is, if that is why"),
    Column("calibrated_at", UTCDateTime, nullable=False, comment="UTC"),
    comment="How sure students should be: the temperatures that were fitted",
)

Index("ix_calibrations_monitor_version_id", calibrations.c.monitor, calibrations.c.version, calibrations.c.id)
