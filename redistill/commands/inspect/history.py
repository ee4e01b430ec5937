"""`redistill history`: the cycles and their results."""

import csv
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final

import typer
from rich.text import Text
from sqlalchemy import Connection, select

from db.states import VerdictReason
from db.views import VIEWS, rows, view
from monitor.clock import utc_now
from redistill.commands.options import Config, Json, Since, Until, command, configured, examples
from redistill.database import reading_from
from redistill.display import show
from redistill.display.failures import print_failures
from redistill.display.plain import plain
from redistill.display.show import Column, Row
from redistill.display.times import moment
from redistill.display.words import order_words

COLUMNS = (
    Column(title="window end (UTC)"),
    Column(title="verdict"),
    Column(title="reason", spare=5),
    Column(title="requests", align="right", spare=2),
    Column(title="agreement [95%]"),
    Column(title="streak", align="right", spare=1),
    Column(title="KL in nats [95%]"),
    Column(title="streak", align="right", spare=1),
    Column(title="teacher", spare=4),
    Column(title="student", spare=3),
    Column(title="alpha", align="right", spare=4),
    Column(title="took", align="right", spare=6),
    Column(title="cycle", align="right", spare=7),
)

_ACCURACY: Final = (
    "estimated_accuracy",
    "estimated_accuracy_low",
    "estimated_accuracy_high",
    "estimated_accuracy_method",
    "estimated_accuracy_reason",
    "n_labels",
)

Csv = Annotated[bool, typer.Option("--csv", help="Print CSV.")]

app = command()


@app.command(epilog=examples("redistill history --since 7d", "redistill history --csv > cycles.csv"))
def history(
    ctx: typer.Context,
    *,
    since: Since = None,
    until: Until = None,
    as_csv: Csv = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """List the cycles with their verdicts and numbers, oldest first."""
    if as_csv and as_json:
        raise typer.BadParameter("give at most one of --csv and --json")
    settings, now = configured(ctx, config), utc_now()
    with reading_from(settings) as connection:
        cycles = rows(
            connection,
            "cycle_history",
            monitor=settings.monitor.name,
            order_by="window_end",
            since=moment("--since", since, now) if since is not None else None,
            until=moment("--until", until, now) if until is not None else None,
        )
        health = teacher_health(connection, cycles)
        documents = with_accuracy(connection, cycles) if as_json or as_csv else []
    if as_json:
        show.print_json(documents)
    elif as_csv:
        _print_csv(documents)
    elif cycles:
        print_table(cycles, health)
    else:
        show.say(_no_cycles(in_range=bool(since or until)))


def teacher_health(connection: Connection, cycles: Sequence[Row]) -> Mapping[object, object]:
    """Return the teacher's health by cycle id; the cycles are of one monitor, oldest first."""
    found = _of_cycles(connection, cycles, "teacher_history", ("health",))
    return {cycle_id: row["health"] for cycle_id, row in found.items()}


def with_accuracy(connection: Connection, cycles: Sequence[Row]) -> list[Row]:
    """Return the cycles, of one monitor and oldest first, with their estimated accuracy or None."""
    found = _of_cycles(connection, cycles, "accuracy_history", _ACCURACY)
    nothing: Row = dict.fromkeys(_ACCURACY)
    return [{**cycle, **found.get(cycle["cycle_id"], nothing)} for cycle in cycles]


def _of_cycles(
    connection: Connection, cycles: Sequence[Row], name: str, columns: Sequence[str]
) -> Mapping[object, Row]:
    """Return the rows of a view by cycle id; the cycles are of one monitor, oldest first."""
    if not cycles:
        return {}
    source = view(name)
    ends = source.c.window_end.between(cycles[0]["window_end"], cycles[-1]["window_end"])
    query = select(source.c.cycle_id, *(source.c[each] for each in columns))
    rows_of = connection.execute(query.where(source.c.monitor == cycles[0]["monitor"], ends))
    return {row.cycle_id: {each: getattr(row, each) for each in columns} for row in rows_of}


def print_table(cycles: Sequence[Row], health: Mapping[object, object]) -> None:
    """Print one line per cycle; below them why cycles failed, and why fired rules ordered no job."""
    show.listing(COLUMNS, [cells(cycle, health) for cycle in cycles])
    print_failures(cycles)
    order_words.print_unordered(cycles)


def cells(cycle: Row, health: Mapping[object, object]) -> list[show.Cell]:
    """Return one line of the table; numbers that breach a rule are highlighted."""
    return [
        show.time(cycle["window_end"]),
        show.verdict(cycle["verdict"] or cycle["status"]),
        order_words.reason(cycle),
        show.count(cycle["n_seen" if cycle["verdict_reason"] == VerdictReason.QUIET else "n_scored"]),
        _measured(cycle, "agreement"),
        show.word(cycle["agreement_streak"]),
        _measured(cycle, "kl"),
        show.word(cycle["kl_streak"]),
        show.health(health.get(cycle["cycle_id"])),
        show.version(cycle["student_version"]),
        show.decimal(cycle["alpha"]),
        f"{show.number(cycle['seconds'], decimals=1)} s" if cycle["seconds"] is not None else "-",
        show.word(cycle["cycle_id"]),
    ]


def _measured(cycle: Row, metric: str) -> Text:
    breached = cycle["verdict"] == "breached" and bool(cycle[f"{metric}_streak"])
    return Text(show.estimate(cycle, metric), style=show.BAD if breached else "")


def _print_csv(cycles: Sequence[Row]) -> None:
    table = csv.DictWriter(sys.stdout, [*VIEWS["cycle_history"].split(), *_ACCURACY], lineterminator="\n")
    table.writeheader()
    table.writerows({name: _csv(value) for name, value in cycle.items()} for cycle in cycles)


def _csv(value: object) -> object:
    if isinstance(value, str):
        return plain(value)
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _no_cycles(*, in_range: bool) -> str:
    if in_range:
        return "No cycle in this range. `redistill history` lists all cycles."
    return (
        "No cycles yet. `redistill cycle` runs the newest complete window now; `redistill monitor` runs each "
        "window as it falls due."
    )
