"""Jobs that use the true labels of requests: the number of these, and gates that are only reported."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"

VIEW = """
    CREATE VIEW job_history AS
    SELECT j.id AS job_id, j.monitor, j.cycle_id, j.rule, j.reason, j.alpha_from, j.alpha_to,
        j.temperature, j.soft_labels, j.status, j.attempt,
        j.enqueued_at, j.started_at, j.finished_at, j.candidate_version, j.decision, j.decision_reason,
        (SELECT MAX(p.promoted_at) FROM promotions p
            WHERE p.monitor = j.monitor AND p.role = 'student' AND p.version = j.candidate_version)
            AS promoted_at, j.evidence, j.recovery{more}
    FROM jobs j
"""
RESULT_BEFORE = "pass, waived or fail"
RESULT = "pass, waived, reported or fail"
COMMENT = "One row per re-distillation job; promoted_at is its candidate''s latest promotion"


def upgrade() -> None:
    op.execute("DROP VIEW job_history")
    op.add_column(
        "jobs",
        sa.Column(
            "n_labelled_traffic",
            sa.Integer(),
            comment="Archived requests with a true label that its candidate was trained on; NULL without a "
            "candidate, or if an earlier version made it",
        ),
    )
    _create(more=", j.n_labelled_traffic")
    _comment_on_result(RESULT_BEFORE, RESULT)


def downgrade() -> None:
    _comment_on_result(RESULT, RESULT_BEFORE)
    op.execute("DROP VIEW job_history")
    op.drop_column("jobs", "n_labelled_traffic")
    _create(more="")


def _create(*, more: str) -> None:
    op.execute(VIEW.format(more=more))
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW job_history IS '{COMMENT}'")


def _comment_on_result(before: str, after: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.alter_column(
            "gate_outcomes",
            "result",
            existing_type=sa.Text(),
            existing_nullable=False,
            existing_comment=before,
            comment=after,
        )
