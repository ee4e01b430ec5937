"""`redistill status`: the current state on one screen."""

import typer

from monitor.clock import utc_now
from redistill.commands.options import Config, Json, command, configured, examples
from redistill.database import reading_from
from redistill.display import show
from redistill.display.cleared_windows import advice_on_cleared
from redistill.status.facts import facts
from redistill.status.state import read_state

app = command()


@app.command(epilog=examples("redistill status", "redistill status --json"))
def status(ctx: typer.Context, *, config: Config = None, as_json: Json = False) -> None:
    """Show the last cycle, the rules, the open job and incidents, both models and the next slot."""
    settings, now = configured(ctx, config), utc_now()
    with reading_from(settings) as connection:
        state = read_state(connection, settings.monitor, now, shadow_cycles=settings.redistill.shadow_cycles)
        cleared = advice_on_cleared(connection, settings.monitor.name, settings.teacher)
    if as_json:
        show.print_json(state.document)
    else:
        show.facts([*facts(state, settings.rules, now), *([("to do", cleared)] if cleared else [])])
