"""True labels, the correctness of both models by them, and the evidence that they give for a job."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SHARES = {
    "teacher_right": "of the disagreements",
    "student_right": "of the disagreements",
    "both_wrong": "of the disagreements",
    "teacher_accuracy": "of all labelled requests",
    "student_accuracy": "of all labelled requests",
}
CORRECTNESS_HISTORY = """
    CREATE VIEW correctness_history AS
    SELECT c.monitor, r.cycle_id, c.window_end, r.n_labelled, r.n_disagreements, r.n_out_of_scope,
        r.teacher_right, r.teacher_right_low, r.teacher_right_high,
        r.student_right, r.student_right_low, r.student_right_high,
        r.both_wrong, r.both_wrong_low, r.both_wrong_high,
        r.teacher_accuracy, r.teacher_accuracy_low, r.teacher_accuracy_high,
        r.student_accuracy, r.student_accuracy_low, r.student_accuracy_high
    FROM correctness r JOIN cycles c ON c.id = r.cycle_id
"""
JOB_HISTORY = """
    CREATE VIEW job_history AS
    SELECT j.id AS job_id, j.monitor, j.cycle_id, j.rule, j.reason, j.alpha_from, j.alpha_to,
        j.temperature, j.soft_labels, j.status, j.attempt,
        j.enqueued_at, j.started_at, j.finished_at, j.candidate_version, j.decision, j.decision_reason,
        (SELECT MAX(p.promoted_at) FROM promotions p
            WHERE p.monitor = j.monitor AND p.role = 'student' AND p.version = j.candidate_version)
            AS promoted_at{more}
    FROM jobs j
"""
COMMENTS = {
    "correctness_history": "Who is right in each cycle whose sample has true labels",
    "job_history": "One row a re-distillation job; promoted_at is its candidate's latest promotion",
}


def upgrade() -> None:
    op.create_table(
        "labels",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column("request_hash", sa.Text(), nullable=False, comment="SHA-256 of the request's id"),
        sa.Column("label", sa.Text(), comment="The true label; NULL: it is none of the models' labels"),
        sa.Column("teacher_label", sa.Text(), nullable=False, comment="The teacher's top-1 label"),
        sa.Column("student_label", sa.Text(), nullable=False, comment="The student's top-1 label"),
        sa.Column(
            "weight", sa.Float(), nullable=False, comment="How much it counts in the cycle, 1 in the mean"
        ),
        sa.Column(
            "imported_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="UTC; when that label came",
        ),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_labels_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("cycle_id", "request_hash", name=op.f("pk_labels")),
        comment="True labels of sampled requests that `redistill labels import` brought; those that the "
        "request log had are in the archive",
    )
    op.create_table(
        "correctness",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column(
            "n_labelled", sa.Integer(), nullable=False, comment="Scored requests whose true label is known"
        ),
        sa.Column(
            "n_disagreements", sa.Integer(), nullable=False, comment="Of them with different top-1 labels"
        ),
        sa.Column(
            "n_out_of_scope",
            sa.Integer(),
            nullable=False,
            comment="Of these whose true label is none of the models' labels; both are wrong about them",
        ),
        *_shares(),
        sa.Column(
            "tallies",
            sa.Text(),
            nullable=False,
            comment="JSON: count, weight and squared weight of each outcome, of which all was computed",
        ),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_correctness_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("cycle_id", name=op.f("pk_correctness")),
        comment="Who is right in a cycle, of the requests whose true label is known, the log's and imported "
        "ones",
    )
    op.add_column(
        "jobs",
        sa.Column(
            "evidence",
            sa.Text(),
            comment="JSON: what true labels said when it was ordered; NULL: there were none",
        ),
    )
    _create("correctness_history", CORRECTNESS_HISTORY)
    op.execute("DROP VIEW job_history")
    _create("job_history", JOB_HISTORY.format(more=", j.evidence"))


def downgrade() -> None:
    op.execute("DROP VIEW job_history")
    op.execute("DROP VIEW correctness_history")
    op.drop_column("jobs", "evidence")
    op.drop_table("correctness")
    op.drop_table("labels")
    _create("job_history", JOB_HISTORY.format(more=""))


def _shares() -> list[sa.Column[float]]:
    columns = []
    for name, of in SHARES.items():
        columns += [
            sa.Column(name, sa.Float(), comment=f"Share in [0, 1] {of}; NULL without any"),
            sa.Column(f"{name}_low", sa.Float(), comment="Lower end of its 95% Wilson interval"),
            sa.Column(f"{name}_high", sa.Float(), comment="Upper end of its 95% Wilson interval"),
        ]
    return columns


def _create(view: str, query: str) -> None:
    op.execute(query)
    if op.get_context().dialect.name == "postgresql":
        comment = COMMENTS[view].replace("'", "''")
        op.execute(f"COMMENT ON VIEW {view} IS '{comment}'")
