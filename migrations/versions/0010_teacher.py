"""The measurements of the teacher by itself in each cycle."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

VIEW = """
    CREATE VIEW teacher_history AS
    SELECT c.monitor, t.cycle_id, c.window_end, c.teacher_version,
        t.confidence AS teacher_confidence, t.confidence_low AS teacher_confidence_low,
        t.confidence_high AS teacher_confidence_high, t.entropy AS teacher_entropy,
        t.entropy_low AS teacher_entropy_low, t.entropy_high AS teacher_entropy_high,
        t.accuracy AS teacher_accuracy, t.accuracy_low AS teacher_accuracy_low,
        t.accuracy_high AS teacher_accuracy_high,
        t.label_shift, t.label_gap, t.reference_version, t.health, t.reason, t.detail
    FROM teacher_metrics t JOIN cycles c ON c.id = t.cycle_id
"""
COMMENT = "The health of the teacher, one row a cycle in which something was scored"


def upgrade() -> None:
    op.create_table(
        "teacher_metrics",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        _number("confidence", "Mean probability of the first label at T = 1"),
        _number("confidence_low", "Lower end of its 95% bootstrap interval"),
        _number("confidence_high", "Upper end of its 95% bootstrap interval"),
        _number("entropy", "Mean entropy over the labels at T = 1, nats"),
        _number("entropy_low", "Lower end of its 95% bootstrap interval, nats"),
        _number("entropy_high", "Upper end of its 95% bootstrap interval, nats"),
        _number("n_effective", "Size of a uniform sample as sure of a share"),
        _number("label_gap", "Jensen-Shannon divergence of its mix of labels from the student's, nats"),
        sa.Column(
            "accuracy",
            sa.Float(),
            comment="Share right of the window's traffic, by true labels; NULL without",
        ),
        sa.Column("accuracy_low", sa.Float(), comment="Lower end of its interval, which covers 95% or more"),
        sa.Column("accuracy_high", sa.Float(), comment="Upper end of that interval"),
        sa.Column(
            "label_shift",
            sa.Float(),
            comment="Jensen-Shannon divergence of its mix of labels from its reference's, nats; NULL "
            "without one",
        ),
        sa.Column(
            "reference_version",
            sa.Text(),
            comment="The teacher whose first cycles are the reference; SHA-256 of its files",
        ),
        sa.Column("health", sa.Text(), nullable=False, comment="healthy, unhealthy, changed or unknown"),
        sa.Column("reason", sa.Text(), nullable=False, comment="Why the health is what it is"),
        sa.Column("detail", sa.Text(), nullable=False, comment="The same in one line, with the numbers"),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.id"], name=op.f("fk_teacher_metrics_cycle_id_cycles")),
        sa.PrimaryKeyConstraint("cycle_id", name=op.f("pk_teacher_metrics")),
        comment="What a cycle says about the teacher by itself",
    )
    _comment_on_kinds("What it is about, such as drift or blind", before="drift, retrain-teacher or blind")
    op.execute(VIEW)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW teacher_history IS '{COMMENT}'")


def downgrade() -> None:
    op.execute("DROP VIEW teacher_history")
    _comment_on_kinds("drift, retrain-teacher or blind", before="What it is about, such as drift or blind")
    op.drop_table("teacher_metrics")


def _number(name: str, comment: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float(), nullable=False, comment=comment)


def _comment_on_kinds(comment: str, *, before: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("incidents", "kind", comment=comment, existing_comment=before)
