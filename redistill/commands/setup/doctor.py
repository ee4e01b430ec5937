"""`redistill doctor`: is everything there that a cycle and a re-distillation need."""

import typer
from rich.text import Text

from redistill.checks.result import Finding, Level
from redistill.commands.options import Config, Json, command, config_file, examples
from redistill.display import show
from redistill.display.progress import bars
from redistill.display.times import utc_now

_COLOURS = {Level.OK: show.GOOD, Level.WARNING: show.WARNING, Level.PROBLEM: show.BAD}

app = command()


@app.command(epilog=examples("redistill doctor", "redistill doctor --json"))
def doctor(ctx: typer.Context, *, config: Config = None, as_json: Json = False) -> None:
    """Check everything that a cycle and a re-distillation need; exit 1 if there is a problem.

    A warning is not a problem: everything runs, but not as its owner may think.
    """
    from redistill.checks.all import all_findings  # noqa: PLC0415 - torch takes seconds to load

    with bars() as progress:
        findings = list(all_findings(config_file(ctx, config), utc_now(), progress))
    if as_json:
        show.print_json(findings)
    else:
        show.facts([_cells(finding) for finding in findings])
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _cells(finding: Finding) -> list[show.Cell]:
    state = Text(finding.level, style=_COLOURS[finding.level])
    mend = f"\nto do: {finding.mend}" if finding.mend else ""
    return [finding.check, state, f"{finding.found}{mend}"]
