"""Running counts, kept in the transactions of what they count."""

from sqlalchemy import Column, Float, Table, Text

from db.tables.columns import metadata

running_counts = Table(
    "running_counts",
    metadata,
    Column("monitor", Text, primary_key=True, comment="The monitor"),
    Column(
        "name",
        Text,
        primary_key=True,
        comment="The metric, without redistill_",
    ),
    Column("labels", Text, primary_key=True, comment="JSON: the metric's labels, in alphabetical order"),
    Column("value", Float, nullable=False, comment="The count, or a sum in the metric's unit"),
    comment="Counts of what has ended, which also cover rows that were deleted since",
)
