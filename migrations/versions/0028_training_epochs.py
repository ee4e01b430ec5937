"""The epochs of trainings, and the view training_history."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

NUMBERS = (
    ("n_steps", sa.Integer(), False, "Steps of the epoch"),
    ("n_labelled", sa.Integer(), False, "Rows with a label in its batches"),
    ("learning_rate", sa.Float(), False, "Learning rate of its last step"),
    ("loss", sa.Float(), True, "Mean of the steps: alpha T^2 kl + (1 - alpha) ce, before each step"),
    ("kl", sa.Float(), True, "Mean KL(teacher || student) at T of the steps, nats, without the factor T^2"),
    ("ce", sa.Float(), True, "Mean cross-entropy with the labels, nats"),
    (
        "kl_gradient_share",
        sa.Float(),
        True,
        "Mean share of the KL term in both terms' gradient norms at the logits, in [0, 1]",
    ),
    (
        "kl_gradient_share_weights",
        sa.Float(),
        True,
        "The same over the weights, of every 50th step; NULL if the epoch has none",
    ),
    ("gradient_norm", sa.Float(), True, "Mean norm of the gradient over all weights, before it is clipped"),
    ("clipped_share", sa.Float(), False, "Share of the steps whose gradient was clipped, in [0, 1]"),
    (
        "validation_accuracy",
        sa.Float(),
        True,
        "Share of validation rows with the right label after the epoch",
    ),
    (
        "validation_agreement",
        sa.Float(),
        True,
        "Share of validation rows with the teacher's label after the epoch",
    ),
)
#: SQLite keeps the order of the tables in a CROSS JOIN, so that the jobs are read in the order of an index.
VIEW = """
    CREATE VIEW training_history AS
    SELECT j.monitor, j.id AS job_id, j.candidate_version AS version, t.epoch, t.n_steps, t.n_labelled,
        t.learning_rate, t.loss, t.kl, t.ce, t.kl_gradient_share, t.kl_gradient_share_weights,
        t.gradient_norm, t.clipped_share, t.validation_accuracy, t.validation_agreement
    FROM jobs j CROSS JOIN training_epochs t WHERE t.job_id = j.id
"""
COMMENT = "One row per epoch of a job''s training: loss, terms, gradients and validation; kl and ce in nats"


def upgrade() -> None:
    op.create_table(
        "training_epochs",
        sa.Column("job_id", BIG_ID, nullable=False, comment="The job"),
        sa.Column("epoch", sa.Integer(), nullable=False, comment="The epoch, counted from 1"),
        *(
            sa.Column(name, kind, nullable=nullable, comment=comment)
            for name, kind, nullable, comment in NUMBERS
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_training_epochs_job_id_jobs")),
        sa.PrimaryKeyConstraint("job_id", "epoch", name=op.f("pk_training_epochs")),
        comment="The log of a job's training, epoch by epoch; the steps are beside its candidate",
    )
    op.execute(VIEW)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW training_history IS '{COMMENT}'")


def downgrade() -> None:
    op.execute("DROP VIEW training_history")
    op.drop_table("training_epochs")
