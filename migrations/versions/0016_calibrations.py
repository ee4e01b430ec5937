"""The temperatures fitted to students, so that their confidence matches their accuracy."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

NUMBERS = (
    ("nll_before", "Mean -ln p(true label) at T = 1, nats"),
    ("nll_after", "The same at that temperature"),
    ("ece_before", "Expected calibration error at T = 1, in [0, 1]"),
    ("ece_after", "The same at that temperature"),
    ("ece_debiased_before", "Its debiased estimate at T = 1"),
    ("ece_debiased_after", "The same at that temperature"),
)
VIEW = """
    CREATE VIEW calibration_history AS
    SELECT monitor, version, temperature, n, dataset, nll_before, nll_after, ece_before, ece_after,
        ece_debiased_before, ece_debiased_after, reason, job_id, calibrated_at
    FROM calibrations
"""
COMMENT = "How sure students should be; one row a calibration, of which a version''s newest one holds"


def upgrade() -> None:
    op.create_table(
        "calibrations",
        sa.Column(
            "id", BIG_ID, nullable=False, comment="A row number; a version's newest row has its temperature"
        ),
        sa.Column("monitor", sa.Text(), nullable=False, comment="The monitor whose student it is"),
        sa.Column(
            "version", sa.Text(), nullable=False, comment="The calibrated student; SHA-256 of its files"
        ),
        sa.Column(
            "temperature",
            sa.Float(),
            nullable=False,
            comment="By what its logits are divided for it to be as sure as it is right; in [0.05, 20]",
        ),
        sa.Column(
            "n",
            sa.Integer(),
            nullable=False,
            comment="Labelled rows that it was fitted on, and the rest is of",
        ),
        sa.Column("dataset", sa.Text(), nullable=False, comment="validation or test: the configured file"),
        sa.Column("sha256", sa.Text(), nullable=False, comment="Of that file"),
        *(sa.Column(name, sa.Float(), nullable=False, comment=comment) for name, comment in NUMBERS),
        sa.Column("reason", sa.Text(), nullable=False, comment="job, due or manual"),
        sa.Column("job_id", BIG_ID, comment="The job whose candidate it is, if that is why"),
        sa.Column("calibrated_at", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_calibrations_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibrations")),
        comment="How sure students should be: the temperatures that were fitted",
    )
    op.create_index("ix_calibrations_monitor_version_id", "calibrations", ["monitor", "version", "id"])
    op.execute(VIEW)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW calibration_history IS '{COMMENT}'")


def downgrade() -> None:
    op.execute("DROP VIEW calibration_history")
    op.drop_table("calibrations")
