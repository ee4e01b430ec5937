"""The command line: `redistill COMMAND`, also `python -m redistill COMMAND`."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from db.errors import RedistillError
from monitor.storage.disk import NO_ROOM
from redistill.commands import PANELS, module_of

INTERRUPTED: Final = 130


class _Commands(TyperGroup):
    """Loads a command when it is asked for, and tells its expected failures in one line."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:  # noqa: ANN401 - Typer keeps the names of these types to itself
        """The command that is asked for, in place of the line that stands for it in the help."""
        name, _, rest = super().resolve_command(ctx, args)
        return name, get_command(import_module(module_of(str(name))).app), rest

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401 - as above
        """Run the command that is asked for."""
        try:
            return super().invoke(ctx)
        except RedistillError as error:
            _fail(str(error), error.exit_code)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            _fail(_no_room(error), 1)
        except KeyboardInterrupt:
            _fail("interrupted", INTERRUPTED)


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"redistill: {message}", err=True)
    raise typer.Exit(code)


def _no_room(error: OSError) -> str:
    what = error.filename or "the output"
    return f"{what} cannot be written: {error.strerror}; make room, or mend the mount"


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Begin with `redistill demo`; or, on models of your own, with `redistill init`, "
    "`redistill db upgrade`, `redistill doctor` and `redistill cycle`.",
)
for _panel, _commands in PANELS.items():
    for _name, _line in _commands.items():
        app.command(_name, help=_line, rich_help_panel=_panel)(lambda: None)


@app.callback()
def root(
    *,
    config: Annotated[
        Path,
        typer.Option("--config", metavar="FILE", envvar="REDISTILL_CONFIG", help="The configuration."),
    ] = Path("redistill.toml"),
) -> None:
    """Watch a distilled text classifier in production; re-distil it when it drifts from its teacher."""


def main() -> None:
    """Run the command line, and exit."""
    try:
        app(prog_name="redistill")
    finally:
        _flush()


def _flush() -> None:
    """Write out what is left. That a reader has gone away, such as `head`, is no error; a full disk is."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno in NO_ROOM:
            sys.exit(f"redistill: {_no_room(error)}")
