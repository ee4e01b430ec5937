"""`redistill demo`: the whole loop on a simulated service."""

from pathlib import Path
from typing import Annotated

import typer

from redistill.commands.options import command, examples
from redistill.process.stop_signals import loading

app = command()

_Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder that the demo writes to.")]
_Seed = Annotated[int, typer.Option("--seed", help="Seed of the traffic and of the training.")]


@app.command(epilog=examples("redistill demo", "redistill demo somewhere --seed 7"))
def demo(folder: _Folder = Path("demo"), *, seed: _Seed = 2025) -> None:
    """Run the whole loop on a small simulated service, in minutes, on SQLite and without configuration."""
    with loading():
        from redistill.demo.story import run  # noqa: PLC0415 - torch takes seconds to load

    run(folder, seed)
