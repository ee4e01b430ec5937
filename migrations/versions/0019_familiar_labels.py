"""The shift of the mix of familiar labels: the teacher's labels that the student is known to give."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

VIEW = """
    CREATE VIEW teacher_history AS
    SELECT c.monitor, t.cycle_id, c.window_end, c.teacher_version,
        t.confidence AS teacher_confidence, t.confidence_low AS teacher_confidence_low,
        t.confidence_high AS teacher_confidence_high, t.entropy AS teacher_entropy,
        t.entropy_low AS teacher_entropy_low, t.entropy_high AS teacher_entropy_high,
        t.accuracy AS teacher_accuracy, t.accuracy_low AS teacher_accuracy_low,
        t.accuracy_high AS teacher_accuracy_high,
        t.label_shift, t.label_gap, t.reference_version, t.health, t.reason, t.detail{more}
    FROM teacher_metrics t JOIN cycles c ON c.id = t.cycle_id
"""
COMMENT = "The health of the teacher, one row a cycle in which something was scored"
COLUMNS = (
    (
        "familiar_share",
        "Share in [0, 1] of the window's requests whose label the student gave in the reference cycles; "  # noqa: ISC004
        "NULL without a reference",
    ),
    ("familiar_shift", "label_shift among those labels, nats; NULL without such requests"),
    (
        "familiar_gap",
        "Jensen-Shannon divergence of those labels from the student's on the same requests, nats",
    ),
)


def upgrade() -> None:
    op.execute("DROP VIEW teacher_history")
    for name, comment in COLUMNS:
        op.add_column("teacher_metrics", sa.Column(name, sa.Float(), comment=comment))
    _create_view(more="".join(f", t.{name}" for name, _ in COLUMNS))


def downgrade() -> None:
    op.execute("DROP VIEW teacher_history")
    for name, _ in COLUMNS:
        op.drop_column("teacher_metrics", name)
    _create_view(more="")


def _create_view(*, more: str) -> None:
    op.execute(VIEW.format(more=more))
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW teacher_history IS '{COMMENT}'")
