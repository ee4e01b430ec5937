"""The ECS tasks that the daemon starts to run the workers of jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
OPEN = sa.text("state IN ('asked', 'started')")

VIEW = """
    CREATE VIEW worker_task_history AS
    SELECT t.id AS task_id, t.job_id, j.monitor, t.state, t.reason, t.detail, t.arn, t.cluster,
        t.last_status, t.asked_at, t.started_at, t.ended_at
    FROM worker_tasks t JOIN jobs j ON j.id = t.job_id
"""
COMMENT = "One row a task that the daemon has started in ECS, or tried to, for the worker of a job"


def upgrade() -> None:
    op.create_table(
        "worker_tasks",
        sa.Column("id", BIG_ID, nullable=False, comment="A row number"),
        sa.Column("job_id", BIG_ID, nullable=False, comment="The job that wants a worker"),
        sa.Column(
            "token",
            sa.Text(),
            nullable=False,
            comment="With it ECS starts one task, however often it is asked (clientToken of RunTask)",
        ),
        sa.Column(
            "turn",
            BIG_ID,
            nullable=False,
            comment="The fencing token of the job's lease then; once that is higher a worker has had the job",
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="asked, started or ended"),
        sa.Column("arn", sa.Text(), comment="What ECS calls it; NULL: it did not say"),
        sa.Column("cluster", sa.Text(), comment="The cluster that it runs in, as ECS calls it"),
        sa.Column(
            "last_status",
            sa.Text(),
            comment="What ECS last said of it: PROVISIONING, PENDING, RUNNING, ...",
        ),
        sa.Column("asked_at", UTC_TIME, nullable=False, comment="UTC; when ECS was asked for it"),
        sa.Column("started_at", UTC_TIME, comment="UTC; when ECS took it on"),
        sa.Column("looked_at", UTC_TIME, comment="UTC; when ECS was last asked how it does"),
        sa.Column("ended_at", UTC_TIME, comment="UTC; from here on nothing is expected of it"),
        sa.Column("reason", sa.Text(), comment="Why it ended (see docs/states.md)"),
        sa.Column("detail", sa.Text(), comment="The same in the words of ECS, in one line"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_worker_tasks_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker_tasks")),
        comment="The tasks that the daemon has started in ECS, or tried to, each to run a job's worker",
    )
    op.create_index("ix_worker_tasks_job_id", "worker_tasks", ["job_id"])
    op.create_index(
        "uq_worker_tasks_open",
        "worker_tasks",
        ["job_id"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.execute(VIEW)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"COMMENT ON VIEW worker_task_history IS '{COMMENT}'")


def downgrade() -> None:
    op.execute("DROP VIEW worker_task_history")
    op.drop_table("worker_tasks")
