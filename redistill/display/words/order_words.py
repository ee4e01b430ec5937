"""The order decision of a cycle in words: the reason why a fired rule ordered a job, or none."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from sqlalchemy import Connection, select

from db.states import OrderReason, Verdict, VerdictReason
from db.views import view
from redistill.display import show
from redistill.display.show import Row

_BY_HAND: Final = "`redistill jobs enqueue --reason TEXT` orders one by hand"
_WHAT_TO_DO: Final[Mapping[str, str]] = {
    OrderReason.JOB_OPEN: "the first cycle after the end of the job decides again",
    OrderReason.COOLDOWN: _BY_HAND,
    OrderReason.NOT_LATEST: f"the next cycle decides again, and {_BY_HAND}",
    OrderReason.TEACHER_CHANGED: _BY_HAND,
    OrderReason.AT_FLOOR: f"retrain the teacher, or lower alpha_floor; {_BY_HAND}",
    OrderReason.ATTEMPTS_EXHAUSTED: f"retrain the teacher; {_BY_HAND}",
    OrderReason.NOT_WANTED: f"set action = 'redistill' if the rule should order one; {_BY_HAND}",
}


def standing_order(connection: Connection, monitor: str) -> Row | None:
    """Return the newest cycle at which a rule fired, unless a healthy cycle was judged since."""
    source = view("cycle_history")
    fired = connection.execute(
        select(source)
        .where(source.c.monitor == monitor, source.c.verdict_reason == VerdictReason.RULE_FIRED)
        .order_by(source.c.window_end.desc())
        .limit(1)
    ).mappings()
    cycle = fired.one_or_none()
    if cycle is None or cycle["order_reason"] is None:
        return None
    # The newest first: those that were finished since are at one end of an index.
    healthy = (
        select(source.c.cycle_id)
        .where(
            source.c.monitor == monitor,
            source.c.verdict == Verdict.HEALTHY,
            source.c.finished_at > cycle["finished_at"],
        )
        .order_by(source.c.finished_at.desc())
    )
    return dict(cycle) if connection.execute(healthy.limit(1)).first() is None else None


def reason(cycle: Row) -> str:
    """Return the reason of a cycle's verdict, why no job was ordered if a rule fired without one, and the
    number of slots if there are several.
    """
    verdict_reason, n_slots = show.word(cycle["verdict_reason"]), cycle["n_slots"]
    words = f"{verdict_reason} ({cycle['order_reason']})" if _ordered_nothing(cycle) else verdict_reason
    return words if n_slots == 1 else f"{words}, {n_slots} slots"


def decision(cycle: Row) -> str:
    """Return the decision of a cycle at which a rule fired, its reason, and what a person can do about it."""
    if not _ordered_nothing(cycle):
        return f"ordered: {cycle['order_detail']}"
    return f"nothing ordered: {cycle['order_reason']}: {_explained(cycle)}"


def print_unordered(cycles: Sequence[Row]) -> None:
    """Print why fired rules ordered no job, one line per run of cycles with the same reason."""
    lines = list(_lines([cycle for cycle in cycles if _ordered_nothing(cycle)]))
    if lines:
        show.say("\nA rule fired, but no job was ordered:")
        show.facts(lines)


def _lines(unordered: Sequence[Row]) -> Iterator[tuple[str, show.Cell]]:
    for reason, group in groupby(unordered, key=lambda cycle: cycle["order_reason"]):
        cycles = list(group)
        first, last = (show.time(cycles[end]["window_end"]) for end in (0, -1))
        windows = first if len(cycles) == 1 else f"{first} to {last} ({len(cycles)} cycles)"
        yield show.word(reason), f"{windows}: {_explained(cycles[-1])}"


def _explained(cycle: Row) -> str:
    to_do = _WHAT_TO_DO.get(str(cycle["order_reason"]))
    return f"{cycle['order_detail']}; {to_do}" if to_do else str(cycle["order_detail"])


def _ordered_nothing(cycle: Row) -> bool:
    is_decided = cycle["order_reason"] not in {None, OrderReason.ORDERED}
    return is_decided and cycle["verdict_reason"] == VerdictReason.RULE_FIRED
