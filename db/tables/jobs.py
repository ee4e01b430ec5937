"""Jobs, their worker tasks and evaluations, and model versions with their promotions and calibrations."""

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, Table, Text, UniqueConstraint, text

from db.tables.columns import ArtifactPath, BigId, ExactAlpha, UTCDateTime, metadata, row_id, version_column

jobs = Table(
    "jobs",
    metadata,
    row_id("The job's number"),
    Column("monitor", Text, nullable=False, comment="The monitor whose student is re-distilled"),
    Column("cycle_id", BigId, ForeignKey("cycles.id"), comment="The cycle that ordered it"),
    Column("rule", Text, comment="The rule that fired; NULL if a person ordered it"),
    Column("reason", Text, nullable=False, comment="Reason for the job in one line, with the numbers"),
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
    Column(
        "soft_labels",
        Text,
        nullable=False,
        comment="online: the teacher runs while training; offline: its logits were kept. online until a "
        "candidate is made",
    ),
    Column(
        "status",
        Text,
        nullable=False,
        comment="queued, running, succeeded, rejected, failed or cancelled",
    ),
    Column("attempt", Integer, nullable=False, comment="Number of attempts by workers"),
    Column("error", Text, comment="Error that ended the last failed attempt, in one line"),
    Column("enqueued_at", UTCDateTime, nullable=False, comment="UTC"),
    Column(
        "announced_at",
        UTCDateTime,
        comment="UTC; when workers were notified of it; NULL if not since it was queued or last claimed",
    ),
    Column("started_at", UTCDateTime, comment="UTC; when the last attempt began"),
    Column("finished_at", UTCDateTime, comment="UTC; when it reached a final status"),
    version_column("candidate_version", "The student that it made"),
    Column("decision", Text, comment="promoted, held, rejected or shadowed"),
    Column("decision_reason", Text, comment="Reason for the decision in one line, with the numbers"),
    Column(
        "evidence",
        Text,
        comment="JSON: the evidence from true labels when it was ordered; NULL without labels",
    ),
    Column(
        "recovery",
        Text,
        comment="recovered or not_recovered, as measured once its candidate served; NULL until then",
    ),
    Column(
        "n_labelled_traffic",
        Integer,
        comment="Archived requests with a true label that its candidate was trained on; NULL without a "
        "candidate, or if an earlier version made it",
    ),
    comment="Re-distillation jobs: the queue and its history",
)

Index(
    "uq_jobs_open",
    jobs.c.monitor,
    unique=True,
    sqlite_where=text("status IN ('queued', 'running')"),
    postgresql_where=text("status IN ('queued', 'running')"),
)
Index("ix_jobs_monitor_id", jobs.c.monitor, jobs.c.id)
Index("ix_jobs_cycle_id", jobs.c.cycle_id)


worker_tasks = Table(
    "worker_tasks",
    metadata,
    row_id("A row number"),
    Column(
        "job_id",
        BigId,
        ForeignKey("jobs.id"),
        nullable=False,
        comment="The job for which a worker is started",
    ),
    Column(
        "token",
        Text,
        nullable=False,
        comment="Client token of RunTask: ECS starts one task per token, however often it is called",
    ),
    Column(
        "turn",
        BigId,
        nullable=False,
        comment="Fencing token of the job's lease at the request; once it grows, a worker has had the job",
    ),
    Column("state", Text, nullable=False, comment="asked, started or ended"),
    Column("arn", Text, comment="The task's ARN; NULL if ECS has not reported it"),
    Column("cluster", Text, comment="The cluster in which it runs, as reported by ECS"),
    Column("last_status", Text, comment="Last status reported by ECS: PROVISIONING, PENDING, RUNNING, ..."),
    Column("asked_at", UTCDateTime, nullable=False, comment="UTC; when ECS was asked to start it"),
    Column("started_at", UTCDateTime, comment="UTC; when ECS accepted it"),
    Column("looked_at", UTCDateTime, comment="UTC; when its status was last requested from ECS"),
    Column("ended_at", UTCDateTime, comment="UTC; when the daemon stopped expecting anything of it"),
    Column("reason", Text, comment="Reason for its end (see docs/states.md)"),
    Column("detail", Text, comment="The reason as reported by ECS, in one line"),
    comment="ECS tasks that the daemon started, or tried to start, each to run a job's worker",
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
    Column(
        "result",
        Text,
        nullable=False,
        comment="pass, waived, inconclusive, improves, worse, reported or fail",
    ),
    Column(
        "metric",
        Text,
        comment="The metric in evaluations that the gate checked; NULL: the metric of the gate's name",
    ),
    Column(
        "incumbent_value",
        Float,
        comment="The incumbent's value of the same metric; NULL if it was not measured",
    ),
    Column("detail", Text, comment="How the value was measured, if relevant"),
    comment="Result of each gate for a job's candidate",
)


models = Table(
    "models",
    metadata,
    row_id("A row number"),
    Column("monitor", Text, nullable=False, comment="The monitor that uses or made it"),
    Column("version", Text, nullable=False, comment="SHA-256 of weights, config and tokenizer"),
    Column("role", Text, nullable=False, comment="teacher or student"),
    Column(
        "uri",
        ArtifactPath,
        nullable=False,
        comment="The directory in save_pretrained layout; relative to the configuration's folder, or s3://",
    ),
    version_column("parent_version", "The version from which training started"),
    Column("job_id", BigId, ForeignKey("jobs.id"), comment="The job that made it"),
    Column("alpha", ExactAlpha, comment="Weight of the KL term in its distillation, if known"),
    Column("temperature", Float, comment="The temperature T of its distillation, if known"),
    Column("created_at", UTCDateTime, nullable=False, comment="UTC; when it was first recorded"),
    Column(
        "files_deleting_since",
        UTCDateTime,
        comment="UTC; when a worker began to delete its files (see keep_versions); NULL: it did not",
    ),
    Column("files_deleted_at", UTCDateTime, comment="UTC; when its files were deleted; NULL: they were not"),
    UniqueConstraint("monitor", "role", "version"),
    Index("ix_models_created_at", "created_at"),
    Index("ix_models_monitor_created_at", "monitor", "created_at"),
    comment="Model versions that were seen or made",
)


registries = Table(
    "registries",
    metadata,
    Column("monitor", Text, primary_key=True, comment="The monitor"),
    Column("registry_id", Text, nullable=False, comment="The id in registry.json of its registry; a UUID"),
    Column("link", Text, nullable=False, comment="The registry's pointer to the student in service"),
    Column("recorded_at", UTCDateTime, nullable=False, comment="UTC; when a worker recorded it"),
    UniqueConstraint("registry_id", "link"),
    comment="The registry of each monitor, by which workers recognise it",
)


archive_owners = Table(
    "archive_owners",
    metadata,
    Column("monitor", Text, primary_key=True, comment="The monitor"),
    Column("owner_id", Text, nullable=False, comment="The id in owner.json beside its archives; a UUID"),
    Column("recorded_at", UTCDateTime, nullable=False, comment="UTC; when a cycle recorded it"),
    comment="The id of the archives of each monitor, so that no other database replaces them",
)


promotions = Table(
    "promotions",
    metadata,
    row_id("A row number"),
    Column("monitor", Text, nullable=False, comment="The monitor"),
    Column("role", Text, nullable=False, comment="teacher or student"),
    Column("version", Text, nullable=False, comment="The version that became current"),
    Column(
        "reason",
        Text,
        nullable=False,
        comment="configured, gates_passed, shadow_passed, manual, rollback or not_recovered",
    ),
    Column("promoted_at", UTCDateTime, nullable=False, comment="UTC; when it became the current version"),
    Column("retired_at", UTCDateTime, comment="UTC; when it was replaced; NULL for the current version"),
    comment="Periods in which a version was the current one",
)

Index(
    "uq_promotions_current",
    promotions.c.monitor,
    promotions.c.role,
    unique=True,
    sqlite_where=text("retired_at IS NULL"),
    postgresql_where=text("retired_at IS NULL"),
)
Index(
    "ix_promotions_monitor_role_version_id",
    promotions.c.monitor,
    promotions.c.role,
    promotions.c.version,
    promotions.c.id,
)


evaluations = Table(
    "evaluations",
    metadata,
    Column("monitor", Text, primary_key=True, comment="The monitor"),
    Column("version", Text, primary_key=True, comment="The evaluated model version"),
    Column(
        "job_id", BigId, ForeignKey("jobs.id"), primary_key=True, comment="The job that ran the evaluation"
    ),
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
    Column("spread", Float, comment="Range of a bound over seeds; 0 if no seed is used"),
    comment="Metrics that a job measured on its incumbent and its candidate",
)


calibrations = Table(
    "calibrations",
    metadata,
    row_id("A row number; a version's newest row holds its temperature"),
    Column("monitor", Text, nullable=False, comment="The monitor whose student it is"),
    Column("version", Text, nullable=False, comment="The calibrated student; SHA-256 of its files"),
    Column(
        "temperature",
        Float,
        nullable=False,
        comment="Divisor of the logits that makes confidence match accuracy; in [0.05, 20]",
    ),
    Column(
        "n",
        Integer,
        nullable=False,
        comment="Rows on which it was fitted and the errors were measured",
    ),
    Column(
        "dataset",
        Text,
        nullable=False,
        comment="validation or test: the configured file; traffic: archived requests",
    ),
    Column("sha256", Text, nullable=False, comment="SHA-256 of that file, or of the hashes of the archives"),
    Column(
        "source",
        Text,
        comment="file, teacher or traffic-labels, see docs/states.md; NULL, before revision 0029: file",
    ),
    Column(
        "rows_until",
        UTCDateTime,
        comment="End of the newest window of the rows; for a file when it was first used; UTC",
    ),
    Column(
        "nll_before",
        Float,
        nullable=False,
        comment="Mean -ln p(label) at T = 1, nats; by the teacher's probabilities: the cross-entropy",
    ),
    Column("nll_after", Float, nullable=False, comment="The same at the fitted temperature"),
    Column("ece_before", Float, nullable=False, comment="Expected calibration error at T = 1, in [0, 1]"),
    Column(
        "ece_after",
        Float,
        nullable=False,
        comment="Expected calibration error at the fitted temperature, in [0, 1]",
    ),
    Column(
        "ece_debiased_before",
        Float,
        nullable=False,
        comment="Debiased estimate of the expected calibration error at T = 1",
    ),
    Column(
        "ece_debiased_after",
        Float,
        nullable=False,
        comment="Debiased estimate of the expected calibration error at the fitted temperature",
    ),
    Column("reason", Text, nullable=False, comment="job, due or manual"),
    Column(
        "job_id",
        BigId,
        ForeignKey("jobs.id"),
        comment="The job whose candidate it is, if a job calibrated it",
    ),
    Column("calibrated_at", UTCDateTime, nullable=False, comment="UTC"),
    comment="Temperatures fitted to students, so that their confidence matches their accuracy",
)

Index("ix_calibrations_monitor_version_id", calibrations.c.monitor, calibrations.c.version, calibrations.c.id)
Index("ix_calibrations_calibrated_at", calibrations.c.calibrated_at)
Index("ix_calibrations_monitor_calibrated_at", calibrations.c.monitor, calibrations.c.calibrated_at)
