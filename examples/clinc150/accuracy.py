"""The accuracy of both models by day, from true labels of some requests, as a table and a picture."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import Engine
from tale import DayRecord, days_of, tell_jobs
from world import MONITOR, Day

from db.connection.session import reading
from db.views import rows
from redistill.configuration.settings import Settings
from redistill.display import show
from redistill.display.show import Cell, Column, Row

_COLUMNS: Final = (
    Column(title="day"),
    Column(title="share", align="right"),
    Column(title="agreement", align="right"),
    Column(title="labels", align="right"),
    Column(title="teacher right", align="right"),
    Column(title="95% interval"),
    Column(title="student right", align="right"),
    Column(title="95% interval"),
    Column(title="student"),
    Column(title="what followed"),
)


def tell(title: str, picture: Path, settings: Settings, engine: Engine, days: Sequence[Day]) -> None:
    """Print the table, what the labels said of each job, and draw the picture."""
    from accuracy_picture import draw  # noqa: PLC0415 - matplotlib is an extra that --help does not need

    found = days_of(engine, days)
    with reading(engine) as connection:
        shares = rows(connection, "correctness_history", monitor=MONITOR, order_by="window_end")
    by_cycle = {row["cycle_id"]: row for row in shares}
    show.listing(_COLUMNS, [list(_cells(each, by_cycle)) for each in found])
    tell_jobs(engine, found)
    draw(picture, found, by_cycle, settings, title)


def _cells(each: DayRecord, by_cycle: Mapping[object, Row]) -> Iterator[Cell]:
    cycle = each.cycle
    row = by_cycle.get(cycle["cycle_id"])
    yield f"{each.day.slot.window_start:%d %b}"
    yield f"{each.day.share:.0%}"
    yield show.number(cycle["agreement"])
    yield show.word(row["n_labelled"]) if row else "-"
    for model in ("teacher", "student"):
        yield show.number(row[f"{model}_accuracy"]) if row else "-"
        yield show.interval(row, f"{model}_accuracy") if row else ""
    yield show.version(cycle["student_version"])[:8]
    yield each.followed
