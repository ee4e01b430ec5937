"""`redistill doctor`: the checks of everything that a cycle and a re-distillation need."""

import typer
from rich.text import Text

from monitor.clock import utc_now
from redistill.checks.result import CheckResult, Level
from redistill.commands.options import Config, Json, command, config_source, examples
from redistill.display import show
from redistill.display.progress import bars
from redistill.process.stop_signals import loading

_COLOURS = {Level.OK: show.GOOD, Level.WARNING: show.WARNING, Level.PROBLEM: show.BAD}

app = command()


@app.command(epilog=examples("redistill doctor", "redistill doctor --json"))
def doctor(ctx: typer.Context, *, config: Config = None, as_json: Json = False) -> None:
    """Check everything that a cycle and a re-distillation need; exit 1 if there is a problem.

    A warning is not a problem: everything runs, but perhaps not as intended.
    """
    with loading():
        from redistill.checks.all import all_results  # noqa: PLC0415 - torch takes seconds to load

    with bars() as progress:
        results = list(all_results(config_source(ctx, config), utc_now(), progress))
    if as_json:
        show.print_json([result.document for result in results])
    else:
        show.facts([_cells(result) for result in results])
    if not all(result.ok for result in results):
        raise typer.Exit(1)


def _cells(result: CheckResult) -> list[show.Cell]:
    state = Text(result.level, style=_COLOURS[result.level])
    fix = f"\nfix: {result.fix}" if result.fix else ""
    return [result.check, state, f"{result.found}{fix}"]
