"""Options and constructors that the commands share."""

from pathlib import Path
from typing import Annotated, Final

import typer

from redistill.commands import COMMANDS, CONFIG_HELP
from redistill.configuration.settings import Settings, load

#: The largest id that a database can assign.
LARGEST_ID: Final = 2**63 - 1

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help=CONFIG_HELP,
        show_default="redistill.toml, or $REDISTILL_CONFIG",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Since = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="TIME", help="Start of the range: a time, or a duration back from now (24h, 7d)."
    ),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="End of the range, exclusive: a time, or a duration back from now (24h, 7d).",
    ),
]


def command() -> typer.Typer:
    """Return the app of a command that is one function."""
    return _app(help_line=None)


def group(name: str) -> typer.Typer:
    """Return the app of a command that has subcommands."""
    app = _app(help_line=COMMANDS[name])
    app.callback()(lambda: None)  # a single subcommand keeps its name
    return app


def _app(*, help_line: str | None) -> typer.Typer:
    return typer.Typer(
        help=help_line,
        no_args_is_help=help_line is not None,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def examples(*lines: str) -> str:
    """Return an epilog with one example per line."""
    return "\n\n".join(("Examples:", *lines))


def config_file(ctx: typer.Context, config: Path | None) -> Path:
    """Return the file named after the command, before it or by $REDISTILL_CONFIG, else the default."""
    before: Path = ctx.find_root().params["config"]
    return config or before


def configured(ctx: typer.Context, config: Path | None) -> Settings:
    """Return the settings of a command.

    Raises:
        ConfigMissingError, ConfigError: see redistill.configuration.settings.load.
    """
    return load(config_file(ctx, config))
