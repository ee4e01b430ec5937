"""`redistill monitors`: the monitors of the database, and their names."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer
from sqlalchemy import Engine

from db import monitors
from db.connection import migrate
from db.connection.session import reading, writing
from db.errors import RedistillError
from monitor.settings import MONITOR_NAME
from redistill.commands.options import Config, Json, configured, examples, group
from redistill.configuration.settings import Settings
from redistill.database import existing, time_in, translated_errors
from redistill.display import show
from redistill.display.show import Column

_COLUMNS: Final = (
    Column(title="monitor"),
    Column(title="cycles", align="right"),
    Column(title="last window until (UTC)"),
    Column(title="jobs", align="right"),
    Column(title="earlier names", spare=1),
)

_Old = Annotated[str, typer.Argument(metavar="OLD", help="Name of a monitor in the database.")]
_New = Annotated[str, typer.Argument(metavar="NEW", help="Name that no monitor has had.")]

app = group("monitors")


class BadNameError(RedistillError):
    """{name!r} is not a name of a monitor: use at most 200 letters, digits, '.', '_' and '-', a letter or
    digit first.
    """

    exit_code = 2


@app.command("list", epilog=examples("redistill monitors list"))
def list_monitors(ctx: typer.Context, *, config: Config = None, as_json: Json = False) -> None:
    """List the monitors whose cycles are in the database, by name."""
    with _migrated(configured(ctx, config)) as engine, reading(engine) as connection:
        found = monitors.summaries(connection)
    if as_json:
        show.print_json(found)
    elif found:
        show.listing(_COLUMNS, [_cells(each) for each in found])
    else:
        show.say("No monitors yet. The first cycle records the configured one.")


@app.command(epilog=examples("redistill monitors rename default mangaassist"))
def rename(ctx: typer.Context, old: _Old, new: _New, *, config: Config = None) -> None:
    """Rename a monitor, with all its cycles, jobs, models and incidents.

    Stop its daemon and its workers first, and change `name` in their configuration before they start again.
    """
    if not re.fullmatch(MONITOR_NAME, new):
        raise BadNameError(name=new)
    settings = configured(ctx, config)
    with _migrated(settings) as engine:
        with reading(engine) as connection:
            monitors.refuse_rename(connection, old, new)
        _wait_for_a_daemon(engine, old)
        with writing(engine) as connection:
            monitors.rename(connection, old, new, time_in(connection))
    show.say(f"The monitor {old} is now called {new}.")
    show.say(
        f'Set name = "{new}" in [monitor] of every configuration that names {old}; processes with the old '
        "name refuse to start. Archives stay where they are, and expire as before."
    )


def _wait_for_a_daemon(engine: Engine, name: str) -> None:
    """Wait until a daemon that still runs must have shown itself, so that the change would be refused."""
    with reading(engine) as connection:
        wait = monitors.quiet_in(connection, name)
    if wait:
        show.say(f"A daemon of {name} was running until a moment ago: waiting {wait.total_seconds():.0f} s.")
        time.sleep(wait.total_seconds())


@contextmanager
def _migrated(settings: Settings) -> Iterator[Engine]:
    """Yield the engine, whatever the name in the configuration: it may be the one that was changed."""
    with existing(settings) as engine, translated_errors(engine):
        migrate.check(engine)
        yield engine


def _cells(found: monitors.MonitorSummary) -> list[show.Cell]:
    return [
        found.monitor,
        show.word(found.n_cycles),
        show.time(found.last_window_end),
        show.word(found.n_jobs),
        ", ".join(found.earlier_names),
    ]
