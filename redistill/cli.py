"""The command line: `redistill COMMAND`, also `python -m redistill COMMAND`."""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

from db.errors import RedistillError
from monitor.storage.disk import NO_ROOM
from redistill.commands import CONFIG_HELP, PANELS, module_of
from redistill.display.plain import plain, tolerate_any_encoding
from redistill.process.stop_signals import INTERRUPTED, interrupt_by_exception


class _Commands(TyperGroup):
    """The commands: each is imported when it runs, and its expected failures are reported in one line."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:  # noqa: ANN401 - Typer keeps the names of these types to itself
        """Return the command itself, in place of the stub that lists it in the help."""
        name, _, rest = super().resolve_command(ctx, args)
        command = get_command(import_module(module_of(str(name))).app)
        interrupt_by_exception()
        return name, command, rest

    def invoke(self, ctx: Any) -> object:  # noqa: ANN401 - as above
        """Run the requested command."""
        try:
            return super().invoke(ctx)
        except RedistillError as error:
            _fail(str(error), error.exit_code)
        except OSError as error:
            if error.errno in NO_ROOM:
                _fail(_no_room(error), 1)
            if error.filename is None:
                raise
            _fail(f"{error.filename} cannot be used ({error.strerror}): fix the path or its permissions", 1)
        except KeyboardInterrupt:
            _fail("interrupted", INTERRUPTED)


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"redistill: {plain(message)}\n")  # Typer writes UTF-8 where the encoding is ASCII
    raise typer.Exit(code)


def _no_room(error: OSError) -> str:
    target = error.filename or "the output"
    return f"{target} cannot be written ({error.strerror}): free space or fix the mount"


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with `redistill demo`. For your own models, run `redistill init`, `redistill db upgrade`, "
    "`redistill doctor` and `redistill cycle`.",
)
for _panel, _commands in PANELS.items():
    for _name, _line in _commands.items():
        app.command(_name, help=_line, rich_help_panel=_panel)(lambda: None)


@app.callback()
def root(
    *,
    config: Annotated[  # noqa: ARG001 - the commands read it
        list[Path] | None,
        typer.Option(
            "--config",
            metavar="FILE",
            envvar="REDISTILL_CONFIG",
            help=CONFIG_HELP,
            show_default="$REDISTILL_TOML, else redistill.toml",
        ),
    ] = None,
) -> None:
    """Watch a distilled text classifier in production, and re-distill it when it drifts from its teacher."""
    from redistill.process import logs  # noqa: PLC0415 - the help needs no logs

    logs.quiet()  # commands that run for long configure their logs themselves


def main() -> None:
    """Run the command line and exit."""
    tolerate_any_encoding()
    try:
        app(prog_name="redistill")
    finally:
        _flush()


def _flush() -> None:
    """Flush the output. A reader that has left, such as `head`, is not an error; a full disk is."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno in NO_ROOM:
            sys.exit(f"redistill: {_no_room(error)}")
