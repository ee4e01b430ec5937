"""`redistill demo`: the whole loop in minutes."""

from pathlib import Path
from typing import Annotated

import typer

from redistill.commands.options import command, examples

app = command()

_Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where everything of it is written.")]
_Seed = Annotated[int, typer.Option("--seed", help="Of its traffic and its training.")]


@app.command(epilog=examples("redistill demo", "redistill demo somewhere --seed 7"))
def demo(folder: _Folder = Path("demo"), *, seed: _Seed = 2025) -> None:
    """Run the whole loop on a small simulated service, in minutes, on SQLite, with nothing to configure."""
    from redistill.demo.story import run  # noqa: PLC0415 - torch takes seconds to load

    run(folder, seed)
