"""The source and the age of the rows of a calibration."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"

COLUMNS = (
    (
        "source",
        sa.Text(),
        "file, teacher or traffic-labels, see docs/states.md; NULL, before revision 0029: file",
    ),
    (
        "rows_until",
        sa.DateTime(timezone=True),
        "End of the newest window of the rows; for a file when it was first used; UTC",
    ),
)
#: Column → its comment before, and now.
COMMENTS = {
    "n": (
        "Labelled rows on which it was fitted and the errors were measured",
        "Rows on which it was fitted and the errors were measured",
    ),
    "dataset": (
        "validation or test: the configured file",
        "validation or test: the configured file; traffic: archived requests",
    ),
    "sha256": ("SHA-256 of that file", "SHA-256 of that file, or of the hashes of the archives"),
    "nll_before": (
        "Mean -ln p(true label) at T = 1, nats",
        "Mean -ln p(label) at T = 1, nats; by the teacher's probabilities: the cross-entropy",
    ),
    "nll_after": (
        "Mean -ln p(true label) at the fitted temperature, nats",
        "The same at the fitted temperature",
    ),
}
AGES = """
    UPDATE calibrations SET source = 'file', rows_until = (
        SELECT MIN(c.calibrated_at) FROM calibrations c
        WHERE c.monitor = calibrations.monitor AND c.sha256 = calibrations.sha256
    )
"""
VIEW = """
    CREATE VIEW calibration_history AS
    SELECT monitor, version, temperature, n, dataset, nll_before, nll_after, ece_before, ece_after,
        ece_debiased_before, ece_debiased_after, reason, job_id, calibrated_at{more}
    FROM calibrations
"""
COMMENT = "Temperatures fitted to students; one row per calibration, of which a version's newest is in force"


def upgrade() -> None:
    op.execute("DROP VIEW calibration_history")
    for name, kind, comment in COLUMNS:
        op.add_column("calibrations", sa.Column(name, kind, comment=comment))
    for name, (_, comment) in COMMENTS.items():
        _comment(f"COLUMN calibrations.{name}", comment)
    op.execute(AGES)
    _create(more=", source, rows_until")


def downgrade() -> None:
    op.execute("DROP VIEW calibration_history")
    for name, _, _ in COLUMNS:
        op.drop_column("calibrations", name)
    for name, (comment, _) in COMMENTS.items():
        _comment(f"COLUMN calibrations.{name}", comment)
    _create(more="")


def _create(*, more: str) -> None:
    op.execute(VIEW.format(more=more))
    _comment("VIEW calibration_history", COMMENT)


def _comment(what: str, comment: str) -> None:
    if op.get_context().dialect.name == "postgresql":
        quoted = comment.replace("'", "''")
        op.execute(f"COMMENT ON {what} IS '{quoted}'")
