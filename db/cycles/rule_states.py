"""The state of each rule after the last judged cycle, so that the next one need not read all others.

The base of a rule is its state at the end of the windows that may be deleted, which stands for their cycles.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from db.records import Claim, Slot
from db.tables import cycles, rule_bases, rule_states


@dataclass(frozen=True, kw_only=True)
class RuleStates:
    """The states of rules after one cycle."""

    window_end: datetime  #: of that cycle
    texts: Mapping[str, str]  #: the states as text, by the rule's version


def read(connection: Connection, slot: Slot, versions: Collection[str]) -> RuleStates | None:
    """Return the stored states of these rules after the last judged cycle before the slot, or None."""
    rows = connection.execute(
        select(rule_states, cycles.c.window_end)
        .join(cycles, cycles.c.id == rule_states.c.cycle_id)
        .where(
            rule_states.c.monitor == slot.monitor,
            rule_states.c.rule_version.in_(versions),
            cycles.c.window_end < slot.window_end,
        )
    ).all()
    if not rows:
        return None
    texts = {row.rule_version: row.state for row in rows}
    return RuleStates(window_end=rows[0].window_end, texts=texts)


def write(connection: Connection, claim: Claim, texts: Mapping[str, str]) -> None:
    """Store the states of the rules after this cycle, by rule version, replacing all earlier states."""
    monitor = claim.slot.monitor
    connection.execute(delete(rule_states).where(rule_states.c.monitor == monitor))
    rows = [
        {"monitor": monitor, "rule_version": version, "cycle_id": claim.cycle_id, "state": text}
        for version, text in texts.items()
    ]
    if rows:
        connection.execute(insert(rule_states), rows)


def forget_from(connection: Connection, monitor: str, window_end: datetime) -> None:
    """Delete the states after cycles of that window or later: a cycle that they depend on is changing."""
    # The subquery starts at the few states: the later cycles of an old window may be many.
    after = select(cycles.c.window_end).where(cycles.c.id == rule_states.c.cycle_id).scalar_subquery()
    connection.execute(delete(rule_states).where(rule_states.c.monitor == monitor, after >= window_end))


def read_base(connection: Connection, monitor: str) -> RuleStates | None:
    """Return the states of the monitor's rules, or None if no window has been included yet."""
    rows = connection.execute(select(rule_bases).where(rule_bases.c.monitor == monitor)).all()
    if not rows:
        return None
    texts = {row.rule_version: row.state for row in rows}
    return RuleStates(window_end=rows[0].window_end, texts=texts)


def base_end(connection: Connection, monitor: str) -> datetime | None:
    """Return the end of the last window that the bases of the monitor's rules include, or None."""
    query = select(rule_bases.c.window_end).where(rule_bases.c.monitor == monitor)
    return connection.scalar(query.limit(1))


def write_base(connection: Connection, monitor: str, window_end: datetime, texts: Mapping[str, str]) -> None:
    """Store the states after the cycle of that window, replacing those of all rules."""
    connection.execute(delete(rule_bases).where(rule_bases.c.monitor == monitor))
    rows = [
        {"monitor": monitor, "rule_version": version, "window_end": window_end, "state": text}
        for version, text in texts.items()
    ]
    connection.execute(insert(rule_bases), rows)
