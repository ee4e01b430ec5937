"""The alarms of rules at past cycles: how often they alert and order, and two sets of rules compared."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Final

from db.records import RuleOutcome
from db.states import OutcomeReason
from redistill.display import show
from redistill.display.show import Column
from triggers.settings import Rule

_YEAR: Final = timedelta(days=365.25)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """The outcomes of one set of rules at past cycles, oldest first."""

    name: str
    rules: Sequence[Rule]
    outcomes: Sequence[RuleOutcome]

    def alarms(self, action: str) -> int:
        """Return how often the rules with this action began to fire, taken together."""
        chosen = {rule.name for rule in self.rules if rule.action == action}
        return count_alarms([each for each in self.outcomes if each.rule in chosen])


def count_alarms(outcomes: Sequence[RuleOutcome]) -> int:
    """Return how often any of the rules began to fire; a cycle that is not evaluated ends no alarm.

    The outcomes of several rules at one window count as one.
    """
    evaluated = [each for each in outcomes if each.reason is not OutcomeReason.NOT_EVALUATED]
    windows = sorted({each.window_end for each in evaluated})
    fired = {each.window_end for each in evaluated if each.fired}
    return sum(
        now in fired and before not in fired for before, now in zip([None, *windows], windows, strict=False)
    )


def alarmed_windows(outcomes: Sequence[RuleOutcome]) -> Iterator[datetime]:
    """Yield the ends of the windows in which one rule fires, and of breached ones next to them.

    The outcomes are those of one rule, oldest first.
    """
    for is_breached, run in groupby(outcomes, key=attrgetter("breached")):
        cycles = [*run]
        if is_breached and any(each.fired for each in cycles):
            yield from (each.window_end for each in cycles)


def print_comparison(compared: Sequence[Replayed], *, cost_per_run: float | None) -> None:
    """Print the alarms and orders of each set; with the cost of a training also that of a month."""
    past = _span({each.window_end for one in compared for each in one.outcomes})
    columns = [
        Column(title="rules"),
        Column(title="alerts", align="right"),
        Column(title="orders", align="right"),
        Column(title="orders a year", align="right"),
    ]
    if cost_per_run is not None:
        columns.append(Column(title="training a month", align="right"))
    rows: list[list[show.Cell]] = []
    for each in compared:
        orders = each.alarms("redistill")
        yearly = orders * (_YEAR / past) if past else None
        row = [each.name, str(each.alarms("alert")), str(orders), "-" if yearly is None else f"{yearly:.3g}"]
        if cost_per_run is not None:
            row.append("-" if yearly is None else f"{yearly / 12 * cost_per_run:.2f}")
        rows.append([*row])
    show.listing(columns, rows)
    show.say("")


def _span(windows: Collection[datetime]) -> timedelta | None:
    """Return the time that the cycles cover, if it is at least a day."""
    if not windows:
        return None
    covered = max(windows) - min(windows)
    return covered if covered >= _DAY else None
