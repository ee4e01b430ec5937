"""The names of monitors."""

from sqlalchemy import Column, Table, Text

from db.tables.columns import UTCDateTime, metadata

renames = Table(
    "renames",
    metadata,
    Column("old_name", Text, primary_key=True, comment="A name that the monitor had"),
    Column("new_name", Text, nullable=False, comment="The monitor's name now"),
    Column("renamed_at", UTCDateTime, nullable=False, comment="UTC; when it lost the old name"),
    comment="Earlier names of monitors, under which no process may work any more",
)
