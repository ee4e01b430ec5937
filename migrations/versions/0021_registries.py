"""The registry of each monitor; paths relative to the configuration's folder."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

COMMENTS = {
    ("models", "uri"): (
        "The directory in save_pretrained layout",
        "The directory in save_pretrained layout; relative to the configuration's folder, or s3://",
    ),
    ("cycles", "archive"): (
        "Location of the archived sample (its texts are never stored in SQL)",
        (
            "Location of the archived sample, whose texts are never in SQL; relative to the configuration's "
            "folder, or s3://"
        ),
    ),
}


def upgrade() -> None:
    op.create_table(
        "registries",
        sa.Column("monitor", sa.Text(), primary_key=True, comment="The monitor"),
        sa.Column(
            "registry_id",
            sa.Text(),
            nullable=False,
            comment="The id in registry.json of its registry; a UUID",
        ),
        sa.Column(
            "link", sa.Text(), nullable=False, comment="The registry's pointer to the student in service"
        ),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="UTC; when a worker recorded it",
        ),
        sa.UniqueConstraint("registry_id", "link", name="uq_registries_registry_id_link"),
        comment="The registry of each monitor, by which workers recognise it",
    )
    _comment(new=1)


def downgrade() -> None:
    op.drop_table("registries")
    _comment(new=0)


def _comment(*, new: int) -> None:
    if op.get_context().dialect.name == "postgresql":
        for (table, column), comments in COMMENTS.items():
            quoted = comments[new].replace("'", "''")
            op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{quoted}'")
