"""Output of commands: tables and prose for people, JSON for programs."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

import orjson
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from redistill.display.plain import escaped, in_encoding, plain

#: Width of a table in a pipe, so that its lines are not wrapped.
_PIPE_WIDTH = 1_000
_SHORT = 12

GOOD, WARNING, BAD, QUIET = "green", "yellow", "bold red", "dim"

Cell = str | Text
Row = Mapping[str, object]


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a table."""

    title: str
    align: Literal["left", "right"] = "left"
    spare: int = 0  #: 0: always shown; else dropped on narrow screens, the highest number first


def console() -> Console:
    """Return the standard output with the terminal's width and colours; plain in a pipe or with NO_COLOR."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)


def print_json(value: object) -> None:
    """Print a JSON document on one line; decimals as numbers, NaN as null, times in UTC with a Z."""
    content = orjson.dumps(value, default=_plain, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)
    sys.stdout.write(in_encoding(escaped(content.decode()), sys.stdout.encoding))


def say(line: Cell) -> None:
    """Print one or more lines of prose."""
    console().print(_plain_cell(line))


def warn(line: str) -> None:
    """Print a line of prose to standard error."""
    sys.stderr.write(f"redistill: {plain(line)}\n")


def listing(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table as wide as its contents, without the spare columns that do not fit.

    If the other columns do not fit either, their cells are wrapped.
    """
    screen = console()
    for least_needed in sorted({column.spare for column in columns}, reverse=True):
        shown = [index for index, column in enumerate(columns) if column.spare <= least_needed]
        table = _table(columns, rows, shown)
        if _width(screen, table) <= screen.width:
            break
    _print(screen, table)


def facts(rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows of a name and its values; the last cell is wrapped at the edge of the screen."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    for row in rows:
        table.add_row(*map(_plain_cell, row))
    _print(console(), table)


def version(value: object) -> str:
    """Return the first 12 hexadecimal digits of a version; '-' for none."""
    return str(value)[:_SHORT] if value else "-"


def number(value: object, *, decimals: int = 4) -> str:
    """Return a number with fixed decimals; '-' for none or NaN."""
    if not isinstance(value, int | float | Decimal) or math.isnan(value):
        return "-"
    return f"{value:.{decimals}f}"


def estimate(row: Row, name: str, *, decimals: int = 4) -> str:
    """Return a metric of the row with its interval: '0.9740 [0.9700, 0.9780]'; '-' for none."""
    return f"{number(row[name], decimals=decimals)} {interval(row, name, decimals=decimals)}".rstrip()


def interval(row: Row, name: str, *, decimals: int = 4) -> str:
    """Return the interval of a metric of the row: '[0.9700, 0.9780]'; empty for none."""
    low, high = (number(row[f"{name}_{end}"], decimals=decimals) for end in ("low", "high"))
    return "" if low == "-" else f"[{low}, {high}]"


def count(value: object) -> str:
    """Return a whole number with thousands separators; '-' for none."""
    return f"{value:,}" if isinstance(value, int) else "-"


def counted(n: int, what: str) -> str:
    """Return a number with its noun: '1 request', '1,024 requests'."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def decimal(value: object) -> str:
    """Return a number without trailing zeros: 0.6, 3; '-' for none."""
    return f"{float(value):g}" if isinstance(value, int | float | Decimal) else "-"


def word(value: object) -> str:
    """Return a value as text; '-' for none."""
    return str(value) if value is not None else "-"


def time(value: object) -> str:
    """Return a time in UTC to the minute, or to the second if it has seconds; '-' for none."""
    if not isinstance(value, datetime):
        return "-"
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S" if value.second else "%Y-%m-%d %H:%M")


def verdict(value: object) -> Text:
    """Return a cycle's verdict in its colour."""
    colours = {"healthy": GOOD, "breached": BAD, "failed": BAD, "inconclusive": "yellow"}
    return Text(word(value), style=colours.get(str(value), QUIET))


def gate_result(value: object) -> Text:
    """Return a gate's result in its colour."""
    colours = {
        "pass": GOOD,
        "waived": WARNING,
        "inconclusive": WARNING,
        "improves": WARNING,
        "worse": BAD,
        "fail": BAD,
    }
    return Text(word(value), style=colours.get(str(value), QUIET))


def health(value: object) -> Text:
    """Return a teacher's health in its colour."""
    colours = {"healthy": GOOD, "unhealthy": BAD, "changed": "yellow"}
    return Text(word(value), style=colours.get(str(value), QUIET))


def _print(screen: Console, table: Table) -> None:
    """Print a table without trailing blanks."""
    with screen.capture() as printed:
        screen.print(table, soft_wrap=False)
    sys.stdout.writelines(f"{line.rstrip()}\n" for line in printed.get().splitlines())


def _table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], shown: Sequence[int]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index in shown:
        table.add_column(columns[index].title, justify=columns[index].align)
    for row in rows:
        table.add_row(*(_plain_cell(row[index]) for index in shown))
    return table


def _plain_cell(cell: Cell) -> Cell:
    if isinstance(cell, str):
        return plain(cell)
    shown = cell.copy()
    shown.plain = plain(cell.plain)
    return shown


def _width(screen: Console, table: Table) -> int:
    return Measurement.get(screen, screen.options.update(max_width=_PIPE_WIDTH), table).maximum


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return float(value)
    return str(value)
