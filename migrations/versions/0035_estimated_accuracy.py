"""The student's accuracy estimated without labels, the calibrations of teachers, and accuracy_history."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

VIEW = """
    CREATE VIEW accuracy_history AS
    SELECT c.monitor, e.cycle_id, c.window_end, e.estimated_accuracy, e.estimated_accuracy_low,
        e.estimated_accuracy_high, e.method AS estimated_accuracy_method,
        e.reason AS estimated_accuracy_reason, e.n_labels, e.rectifier, e.contradicted,
        e.teacher_temperature, c.teacher_version, c.student_version
    FROM estimated_accuracy e JOIN cycles c ON c.id = e.cycle_id
"""
COMMENT = (
    "The student''s estimated accuracy on traffic, one row a cycle in which something was scored; NULL where "
    "no estimate can be believed"
)


def upgrade() -> None:
    op.create_table(
        "estimated_accuracy",
        sa.Column("cycle_id", BIG_ID, nullable=False, comment="The cycle"),
        sa.Column(
            "estimated_accuracy",
            sa.Float(),
            comment="Estimated share in [0, 1] of the window's traffic that the student answers right; NULL "
            "if no estimate can be believed",
        ),
        sa.Column("estimated_accuracy_low", sa.Float(), comment="Lower end of its 95% interval"),
        sa.Column("estimated_accuracy_high", sa.Float(), comment="Upper end of its 95% interval"),
        sa.Column(
            "method",
            sa.Text(),
            comment="teacher_confidence or prediction_powered; NULL without an estimate",
        ),
        sa.Column(
            "reason",
            sa.Text(),
            nullable=False,
            comment="Reason for showing or withholding it (see docs/states.md)",
        ),
        sa.Column(
            "n_labels",
            sa.Integer(),
            nullable=False,
            comment="Requests of the sample whose true label counts; 0 if the labelled ones were selected",
        ),
        sa.Column(
            "teacher_temperature",
            sa.Float(),
            comment="The teacher's calibration temperature; NULL without one",
        ),
        sa.Column(
            "by_confidence",
            sa.Float(),
            comment="Mean probability of the student's labels by the calibrated teacher, even if it is not "
            "shown",
        ),
        sa.Column("by_confidence_low", sa.Float(), comment="Lower end of its 95% interval"),
        sa.Column("by_confidence_high", sa.Float(), comment="Upper end of its 95% interval"),
        sa.Column(
            "rectifier",
            sa.Float(),
            comment="On the labelled requests, the student's accuracy minus the one that the teacher expects",
        ),
        sa.Column(
            "contradicted",
            sa.Boolean(),
            comment="Whether these labels contradict the calibrated teacher; NULL if they are too few to "
            "decide",
        ),
        sa.Column(
            "teacher_contradicted",
            sa.Boolean(),
            nullable=False,
            comment="The same by the newest labels so far of this teacher that were enough to decide",
        ),
        sa.ForeignKeyConstraint(
            ["cycle_id"], ["cycles.id"], name=op.f("fk_estimated_accuracy_cycle_id_cycles")
        ),
        sa.PrimaryKeyConstraint("cycle_id", name=op.f("pk_estimated_accuracy")),
        comment="The student's accuracy in a cycle, estimated from the teacher's confidence and true labels",
    )
    op.create_table(
        "teacher_calibrations",
        sa.Column(
            "id", BIG_ID, nullable=False, comment="A row number; a version's newest row holds its temperature"
        ),
        sa.Column("monitor", sa.Text(), nullable=False, comment="The monitor whose teacher it is"),
        sa.Column(
            "version", sa.Text(), nullable=False, comment="The calibrated teacher; SHA-256 of its files"
        ),
        sa.Column("sha256", sa.Text(), nullable=False, comment="SHA-256 of the labelled file"),
        sa.Column(
            "temperature",
            sa.Float(),
            nullable=False,
            comment="Divisor of the logits that makes confidence match accuracy; in [0.05, 20]",
        ),
        sa.Column("n", sa.Integer(), nullable=False, comment="Rows of the file"),
        sa.Column(
            "ece_before",
            sa.Float(),
            nullable=False,
            comment="Expected calibration error at T = 1, in [0, 1]",
        ),
        sa.Column(
            "ece_after",
            sa.Float(),
            nullable=False,
            comment="Expected calibration error at the fitted temperature, in [0, 1]",
        ),
        sa.Column("calibrated_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_teacher_calibrations")),
        comment="Temperatures fitted to teachers on the labelled file (validation, or else test)",
    )
    op.create_index(
        "ix_teacher_calibrations_monitor_version_id",
        "teacher_calibrations",
        ["monitor", "version", "id"],
    )
    op.execute(VIEW)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW accuracy_history IS '{COMMENT}'")


def downgrade() -> None:
    op.execute("DROP VIEW accuracy_history")
    op.drop_table("teacher_calibrations")
    op.drop_table("estimated_accuracy")
