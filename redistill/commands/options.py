"""Options and constructors that the commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from redistill.commands import COMMANDS, CONFIG_HELP
from redistill.configuration.settings import Settings, load
from redistill.configuration.source import Source

#: The largest id that a database can assign.
LARGEST_ID: Final = 2**63 - 1

Config = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help=CONFIG_HELP,
        show_default="$REDISTILL_CONFIG, else the content of $REDISTILL_TOML, else redistill.toml",
    ),
]
Configs = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help=f"{CONFIG_HELP} Give it once for each of several monitors.",
        show_default="$REDISTILL_CONFIG, else the content of $REDISTILL_TOML, else redistill.toml",
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

TextField = Annotated[
    str | None,
    typer.Option(
        "--text-field",
        metavar="NAME",
        help="Field or column of the texts.",
        show_default="the configured one, or text",
    ),
]
LabelField = Annotated[
    str | None,
    typer.Option(
        "--label-field",
        metavar="NAME",
        help="Field or column of the labels.",
        show_default="the configured one, or label",
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


def config_sources(ctx: typer.Context, config: Sequence[Path] | None) -> tuple[Source, ...]:
    """Return the configurations of a command.

    They are the files named after the command, else before it, else by $REDISTILL_CONFIG, else those of
    `Source.chosen`.
    """
    before: Sequence[Path] | None = ctx.find_root().params["config"]
    return Source.chosen(config or before or ())


def config_source(ctx: typer.Context, config: Sequence[Path] | None) -> Source:
    """Return the one configuration of a command, chosen as by `config_sources`."""
    sources = config_sources(ctx, config)
    if len(sources) > 1:
        names = ", ".join(map(str, sources))
        raise typer.BadParameter(f"--config: this command takes one configuration, not {names}: name one")
    return sources[0]


def configured(ctx: typer.Context, config: Sequence[Path] | None) -> Settings:
    """Return the settings of a command.

    Raises:
        ConfigMissingError, ConfigError: see `redistill.configuration.settings.load`.
    """
    return load(config_source(ctx, config))
