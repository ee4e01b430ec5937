"""What the commands share: their options, and how they are made."""

from pathlib import Path
from typing import Annotated, Final

import typer

from redistill.commands import COMMANDS
from redistill.configuration.settings import Settings, load

#: A larger number is none that a database gives.
LARGEST_ID: Final = 2**63 - 1

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="The configuration.",
        show_default="redistill.toml, or $REDISTILL_CONFIG",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="From this time on, or from so long ago: 24h, 7d."),
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="TIME", help="Before this time, or before so long ago: 24h, 7d."),
]


def command() -> typer.Typer:
    """Return the app of a command that is one function."""
    return _app(help_line=None)


def group(name: str) -> typer.Typer:
    """Return the app of a command that has subcommands."""
    return _app(help_line=COMMANDS[name])


def _app(*, help_line: str | None) -> typer.Typer:
    return typer.Typer(
        help=help_line,
        no_args_is_help=help_line is not None,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def examples(*lines: str) -> str:
    """An epilog, an example a line."""
    return "\n\n".join(("Examples:", *lines))


def config_file(ctx: typer.Context, config: Path | None) -> Path:
    """The file named after the command, else before it, else by $REDISTILL_CONFIG, else the default."""
    before: Path = ctx.find_root().params["config"]
    return config or before


def configured(ctx: typer.Context, config: Path | None) -> Settings:
    """The settings that a command runs with.

    Raises:
        ConfigMissingError, ConfigError: see redistill.configuration.settings.load.
    """
    return load(config_file(ctx, config))
