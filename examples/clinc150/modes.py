"""Agreement, KL, the outcomes of the rules and the correct model by day, as a table and a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from world import MONITOR, Day

from db.connection.session import reading
from db.views import rows
from redistill.configuration.settings import Settings
from redistill.display import show
from redistill.display.show import Column, Row

#: The state of a rule on a day: within, breached, fired.
SIGNS: Final = ("·", "○", "●")
RIGHT: Final = ("teacher_right", "student_right", "both_wrong")


@dataclass(frozen=True, kw_only=True)
class Watched:
    """One day with its rows from the database."""

    day: Day
    cycle: Row
    said: Mapping[str, Row]  #: the outcome of each rule
    right: Row  #: the correctness among the disagreements
    drift: Row | None  #: the input drift since the first day; None on that day


def tell(title: str, picture: Path, settings: Settings, engine: Engine, days: Sequence[Day]) -> None:
    """Print the table and draw the picture."""
    from modes_picture import draw  # noqa: PLC0415 - matplotlib is an extra that --help does not need

    watched = _watched(engine, days)
    names = [rule.name for rule in settings.rules]
    columns = (
        Column(title="share", align="right"),
        Column(title="agreement", align="right"),
        Column(title="95% interval"),
        Column(title="KL (nats)", align="right"),
        Column(title="95% interval"),
        *(Column(title=name) for name in names),
        Column(title="disagree", align="right"),
        *(Column(title=name.replace("_", " "), align="right") for name in RIGHT),
        Column(title="input drift", align="right"),
        Column(title="p", align="right"),
    )
    show.listing(columns, [_cells(each, names) for each in watched])
    show.say(
        f"\n{SIGNS[1]} on the wrong side, {SIGNS[2]} the rule fires; shares are those of the disagreements."
    )
    draw(picture, watched, settings, title)


def _watched(engine: Engine, days: Sequence[Day]) -> list[Watched]:
    with reading(engine) as connection:
        cycles, outcomes, right, drift = (
            rows(connection, view, monitor=MONITOR, order_by="window_end")
            for view in ("cycle_history", "rule_history", "correctness_history", "input_history")
        )
    by_end = {cycle["window_end"]: cycle for cycle in cycles}
    of_right, of_drift = ({row["cycle_id"]: row for row in found} for found in (right, drift))
    return [
        Watched(
            day=day,
            cycle=(cycle := by_end[day.slot.window_end]),
            said={str(row["rule"]): row for row in outcomes if row["cycle_id"] == cycle["cycle_id"]},
            right=of_right[cycle["cycle_id"]],
            drift=of_drift.get(cycle["cycle_id"]),
        )
        for day in days
    ]


def state(outcome: Row) -> int:
    """Return the index in SIGNS of a rule's outcome."""
    return 2 if outcome["fired"] else 1 if outcome["breached"] else 0


def _cells(each: Watched, rules: Sequence[str]) -> list[show.Cell]:
    cycle = each.cycle
    return [
        f"{each.day.share:.0%}",
        show.number(cycle["agreement"]),
        show.interval(cycle, "agreement"),
        show.number(cycle["kl"]),
        show.interval(cycle, "kl"),
        *(SIGNS[state(each.said[rule])] for rule in rules),
        show.count(each.right["n_disagreements"]),
        *(show.number(each.right[name], decimals=2) for name in RIGHT),
        *(show.number((each.drift or {}).get(name), decimals=3) for name in ("input_drift", "p_value")),
    ]
