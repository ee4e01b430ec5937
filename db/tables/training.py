"""The trainings of jobs."""

from sqlalchemy import Column, Float, ForeignKey, Integer, Table

from db.tables.columns import BigId, metadata

training_epochs = Table(
    "training_epochs",
    metadata,
    Column("job_id", BigId, ForeignKey("jobs.id"), primary_key=True, comment="The job"),
    Column("epoch", Integer, primary_key=True, autoincrement=False, comment="The epoch, counted from 1"),
    Column("n_steps", Integer, nullable=False, comment="Steps of the epoch"),
    Column("n_labelled", Integer, nullable=False, comment="Rows with a label in its batches"),
    Column("learning_rate", Float, nullable=False, comment="Learning rate of its last step"),
    Column("loss", Float, comment="Mean of the steps: alpha T^2 kl + (1 - alpha) ce, before each step"),
    Column(
        "kl",
        Float,
        comment="Mean KL(teacher || student) at T of the steps, nats, without the factor T^2",
    ),
    Column("ce", Float, comment="Mean cross-entropy with the labels, nats"),
    Column(
        "kl_gradient_share",
        Float,
        comment="Mean share of the KL term in both terms' gradient norms at the logits, in [0, 1]",
    ),
    Column(
        "kl_gradient_share_weights",
        Float,
        comment="The same over the weights, of every 50th step; NULL if the epoch has none",
    ),
    Column(
        "gradient_norm",
        Float,
        comment="Mean norm of the gradient over all weights, before it is clipped",
    ),
    Column(
        "clipped_share",
        Float,
        nullable=False,
        comment="Share of the steps whose gradient was clipped, in [0, 1]",
    ),
    Column(
        "validation_accuracy",
        Float,
        comment="Share of validation rows with the right label after the epoch",
    ),
    Column(
        "validation_agreement",
        Float,
        comment="Share of validation rows with the teacher's label after the epoch",
    ),
    comment="The log of a job's training, epoch by epoch; the steps are beside its candidate",
)
