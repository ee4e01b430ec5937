"""The time of views, commands, ticks and decisions, with a history of 1,000, 10,000 and 100,000 cycles.

    make bench-history
    PYTHONPATH=. python bench/history.py --sizes 1000 4000

Each size has its own database on SQLite and on PostgreSQL, with what so many hourly cycles leave there
(tests/support/records/long_history.py). Times are medians of five runs after a first one; those of decisions
are medians of three cycles. With the largest history, a daemon with two channels and a worker run for a
minute each, without work; SQLite's trace and the log of the PostgreSQL server have their statements.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

from history_measures import Value, idle, times
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, event

from db.connection.migrate import upgrade
from db.connection.session import connect
from monitor.clock import utc_now
from redistill.configuration.settings import load
from tests.support.records.long_history import MONITOR, write_history
from tests.support.servers.postgres import Postgres, Stoppable, stoppable

SIZES: Final = (1_000, 10_000, 100_000)
DATABASES: Final = ("SQLite", "PostgreSQL")
#: Flat: at most twice the time of the smallest history; 5 ms more are noise.
FLAT, NOISE_MS = 2.0, 5.0
#: The newest window is due in a day, so that nothing falls due meanwhile.
CONFIG: Final = """
[monitor]
name = "{monitor}"
lateness = "24h"
catch_up = "48h"
[traffic]
uri = "logs"
[teacher]
uri = "models/teacher"
[student]
uri = "models/student"
[redistill]
train = "train.jsonl"
test = "test.jsonl"
[database]
url = "{url}"
[[alerts]]
kind = "log"
name = "log"
[[alerts]]
kind = "log"
name = "pager"
"""


@dataclass(kw_only=True)
class Measure:
    """The values of one measure."""

    goal: float
    values: dict[tuple[str, int], float] = field(default_factory=dict)  #: by database and size

    @property
    def growth(self) -> float:
        """The greatest growth from the smallest history to the largest."""
        ratios = []
        for name in DATABASES:
            sizes = sorted(size for each, size in self.values if each == name)
            first, last = (self.values[name, sizes[end]] for end in (0, -1))
            ratios.append(last / first if last - first > NOISE_MS else 1.0)
        return max(ratios)

    @property
    def verdict(self) -> str:
        missed = ["over the goal"] if max(self.values.values()) >= self.goal else []
        return ", ".join(missed + (["grows"] if self.growth > FLAT else [])) or "ok"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    sizes = sorted(parser.parse_args().sizes)
    found: dict[str, Measure] = {}
    with tempfile.TemporaryDirectory() as folder, stoppable() as server:
        for size in sizes:
            for database in DATABASES:
                place = Path(folder) / f"{database}-{size}"
                for each in _measured(place, server, database, size, is_last=size == sizes[-1]):
                    found.setdefault(each.name, Measure(goal=each.goal)).values[database, size] = each.value
    _show(found, sizes)


def _measured(place: Path, server: Stoppable, database: str, size: int, *, is_last: bool) -> Iterator[Value]:
    began = monotonic()
    place.mkdir()
    with ExitStack() as stack:
        url = f"sqlite:///{place}/redistill.db"
        if database == "PostgreSQL":
            url = stack.enter_context(Postgres(url=server.url).database())
        upgrade(url)
        engine = connect(url)
        stack.callback(engine.dispose)
        newest = utc_now().replace(minute=0, second=0, microsecond=0)
        write_history(engine, size, newest=newest)
        config = place / "redistill.toml"
        config.write_text(CONFIG.format(monitor=MONITOR, url=url), encoding="utf-8")
        built = monotonic() - began
        yield from times(load(config), engine, str(config), newest)
        if is_last:
            counted = _traced(engine) if database == "SQLite" else _logged(engine, server)
            yield from idle(load(config), engine, counted)
        taken = monotonic() - began
        print(f"{database}, {size:,} cycles: written in {built:.0f} s, in all {taken:.0f} s", flush=True)


def _traced(engine: Engine) -> Callable[[], int]:
    """Return a function that counts the statements of SQLite from now on."""
    seen: list[str] = []
    engine.dispose()  # the connections so far are not traced
    event.listen(engine, "connect", lambda connection, _record: connection.set_trace_callback(seen.append))
    return lambda: len(seen)


def _logged(engine: Engine, server: Stoppable) -> Callable[[], int]:
    """Return a function that counts the statements of PostgreSQL from now on."""
    server.execute(f"ALTER DATABASE {engine.url.database} SET log_statement = 'all'")
    engine.dispose()
    log = server.folder / "log"

    def count() -> int:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        return sum("LOG:  statement: " in line or "LOG:  execute " in line for line in lines)

    return count


def _show(found: dict[str, Measure], sizes: Sequence[int]) -> None:
    columns = (f"{name[:6]} {size:,}" for name in DATABASES for size in sizes)
    table = Table("ms, or statements", "goal", *columns, "growth", "verdict")
    for name, measure in found.items():
        values = (measure.values.get((database, size)) for database in DATABASES for size in sizes)
        shown = ["" if each is None else f"{each:,.1f}" for each in values]
        table.add_row(name, f"{measure.goal:,.0f}", *shown, f"{measure.growth:.1f}", measure.verdict)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
