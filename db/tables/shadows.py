"""The shadows of candidates: scored beside the student in service before they are promoted."""

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, Table, Text, text

from db.tables.columns import BigId, UTCDateTime, metadata, row_id, version_column

shadows = Table(
    "shadows",
    metadata,
    row_id("A row number"),
    Column("monitor", Text, nullable=False, comment="The monitor"),
    Column("job_id", BigId, ForeignKey("jobs.id"), nullable=False, comment="The job that made the candidate"),
    version_column("candidate_version", "The student in shadow", nullable=False),
    version_column("incumbent_version", "The student in service, as its shadow began", nullable=False),
    Column("state", Text, nullable=False, comment="running, promoted, stopped or superseded"),
    Column("reason", Text, comment="Reason for its end (see docs/states.md); NULL while it runs"),
    Column("detail", Text, comment="The reason in one line, with the numbers"),
    Column("started_at", UTCDateTime, nullable=False, comment="UTC"),
    Column("ended_at", UTCDateTime, comment="UTC; NULL while it runs"),
    comment="Candidates that were scored beside the student in service before they were promoted",
)

Index(
    "uq_shadows_running",
    shadows.c.monitor,
    unique=True,
    sqlite_where=text("state = 'running'"),
    postgresql_where=text("state = 'running'"),
)
Index("ix_shadows_job_id", shadows.c.job_id)
Index("ix_shadows_monitor_id", shadows.c.monitor, shadows.c.id)

shadow_cycles = Table(
    "shadow_cycles",
    metadata,
    Column("shadow_id", BigId, ForeignKey("shadows.id"), primary_key=True, comment="The shadow"),
    Column("cycle_id", BigId, ForeignKey("cycles.id"), primary_key=True, comment="An evaluated cycle"),
    Column("n", Integer, comment="Distinct texts of its sample; NULL if the candidate could not be scored"),
    Column(
        "n_candidate_only",
        Integer,
        comment="Of these, the texts on which only the candidate agrees with the teacher",
    ),
    Column("n_incumbent_only", Integer, comment="The same of the incumbent"),
    Column("e_better", Float, comment="E-value that the candidate is better, over the cycles so far"),
    Column("e_worse", Float, comment="E-value that the candidate is worse, over the cycles so far"),
    Column("agreement", Float, comment="Share of requests with the teacher's label; of the candidate"),
    Column("kl", Float, comment="Mean KL(teacher || candidate) at the cycle's temperature; nats"),
    Column("error", Text, comment="Reason in one line why the candidate could not be scored"),
    Index("ix_shadow_cycles_cycle_id", "cycle_id"),
    comment="Comparison of a candidate in shadow with the student in service, cycle by cycle",
)
