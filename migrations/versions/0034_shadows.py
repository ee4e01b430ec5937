"""The shadows of candidates, and the view shadow_history."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
COMMENTS = (
    ("jobs", "decision", True, "promoted, held or rejected", "promoted, held, rejected or shadowed"),
    (
        "promotions",
        "reason",
        False,
        "configured, gates_passed, manual, rollback or not_recovered",
        "configured, gates_passed, shadow_passed, manual, rollback or not_recovered",
    ),
)
VIEW = """
    CREATE VIEW shadow_history AS
    SELECT s.monitor, s.id AS shadow_id, s.job_id, s.candidate_version, s.incumbent_version, s.state,
        s.reason, s.detail, s.started_at, s.ended_at, x.cycle_id, c.window_end, x.n, x.n_candidate_only,
        x.n_incumbent_only, x.e_better, x.e_worse, x.agreement AS candidate_agreement,
        c.agreement AS incumbent_agreement, x.kl AS candidate_kl, c.kl AS incumbent_kl, x.error
    FROM shadows s
    LEFT JOIN shadow_cycles x ON x.shadow_id = s.id
    LEFT JOIN cycles c ON c.id = x.cycle_id
"""
COMMENT = (
    "One row per cycle of a candidate''s shadow, and one for a shadow without cycles; e-values over the "
    "cycles so far, kl in nats"
)


def upgrade() -> None:
    op.create_table(
        "shadows",
        sa.Column("id", BIG_ID, nullable=False, comment="A row number"),
        sa.Column("monitor", sa.Text(), nullable=False, comment="The monitor"),
        sa.Column("job_id", BIG_ID, nullable=False, comment="The job that made the candidate"),
        sa.Column(
            "candidate_version",
            sa.Text(),
            nullable=False,
            comment="The student in shadow; SHA-256 of its files",
        ),
        sa.Column(
            "incumbent_version",
            sa.Text(),
            nullable=False,
            comment="The student in service, as its shadow began; SHA-256 of its files",
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="running, promoted, stopped or superseded"),
        sa.Column(
            "reason",
            sa.Text(),
            comment="Reason for its end (see docs/states.md); NULL while it runs",
        ),
        sa.Column("detail", sa.Text(), comment="The reason in one line, with the numbers"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("ended_at", sa.DateTime(timezone=True), comment="UTC; NULL while it runs"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_shadows_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shadows")),
        comment="Candidates that were scored beside the student in service before they were promoted",
    )
    op.create_index(
        "uq_shadows_running",
        "shadows",
        ["monitor"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index("ix_shadows_job_id", "shadows", ["job_id"])
    op.create_index("ix_shadows_monitor_id", "shadows", ["monitor", "id"])
    op.create_table(
        "shadow_cycles",
        sa.Column("shadow_id", BIG_ID, nullable=False, comment="The shadow"),
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="An evaluated cycle"),
        sa.Column(
            "n",
            sa.Integer(),
            comment="Distinct texts of its sample; NULL if the candidate could not be scored",
        ),
        sa.Column(
            "n_candidate_only",
            sa.Integer(),
            comment="Of these, the texts on which only the candidate agrees with the teacher",
        ),
        sa.Column("n_incumbent_only", sa.Integer(), comment="The same of the incumbent"),
        sa.Column(
            "e_better",
            sa.Float(),
            comment="E-value that the candidate is better, over the cycles so far",
        ),
        sa.Column(
            "e_worse", sa.Float(), comment="E-value that the candidate is worse, over the cycles so far"
        ),
        sa.Column(
            "agreement",
            sa.Float(),
            comment="Share of requests with the teacher's label; of the candidate",
        ),
        sa.Column("kl", sa.Float(), comment="Mean KL(teacher || candidate) at the cycle's temperature; nats"),
        sa.Column("error", sa.Text(), comment="Reason in one line why the candidate could not be scored"),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_shadow_cycles_cycle_id_cycles")),
        sa.ForeignKeyConstraint(
            ["shadow_id"], ["shadows.id"], name=op.f("fk_shadow_cycles_shadow_id_shadows")
        ),
        sa.PrimaryKeyConstraint("shadow_id", "cycle_id", name=op.f("pk_shadow_cycles")),
        comment="Comparison of a candidate in shadow with the student in service, cycle by cycle",
    )
    op.create_index("ix_shadow_cycles_cycle_id", "shadow_cycles", ["cycle_id"])
    op.execute(VIEW)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW shadow_history IS '{COMMENT}'")
    for table, column, nullable, before, after in COMMENTS:
        _comment(table, column, nullable=nullable, before=before, after=after)


def downgrade() -> None:
    op.execute("DROP VIEW shadow_history")
    op.drop_table("shadow_cycles")
    op.drop_table("shadows")
    for table, column, nullable, before, after in COMMENTS:
        _comment(table, column, nullable=nullable, before=after, after=before)


def _comment(table: str, column: str, *, nullable: bool, before: str, after: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.alter_column(
            table,
            column,
            existing_type=sa.Text(),
            existing_nullable=nullable,
            existing_comment=before,
            comment=after,
        )
