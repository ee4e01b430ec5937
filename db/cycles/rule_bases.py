"""The state of each rule at the end of the windows that may be deleted, which stands for their cycles."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from db.cycles.rule_states import RuleStates
from db.tables import rule_bases


def read(connection: Connection, monitor: str) -> RuleStates | None:
    """Return the states of the monitor's rules, or None if no window has been included yet."""
    rows = connection.execute(select(rule_bases).where(rule_bases.c.monitor == monitor)).all()
    if not rows:
        return None
    texts = {row.rule_version: row.state for row in rows}
    return RuleStates(window_end=rows[0].window_end, texts=texts)


def end(connection: Connection, monitor: str) -> datetime | None:
    """Return the end of the last window that the bases of the monitor's rules include, or None."""
    query = select(rule_bases.c.window_end).where(rule_bases.c.monitor == monitor)
    return connection.scalar(query.limit(1))


def write(connection: Connection, monitor: str, window_end: datetime, texts: Mapping[str, str]) -> None:
    """Store the states after the cycle of that window, replacing those of all rules."""
    connection.execute(delete(rule_bases).where(rule_bases.c.monitor == monitor))
    rows = [
        {"monitor": monitor, "rule_version": version, "window_end": window_end, "state": text}
        for version, text in texts.items()
    ]
    connection.execute(insert(rule_bases), rows)
