"""`redistill replay`: what rules say, or would have said, of a history."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from db import history
from db.records import CyclePoint, RuleOutcome
from db.states import OutcomeReason
from redistill import show
from redistill.commands.options import Config, Json, Since, command, config_file, configured, examples
from redistill.database import reading_from
from redistill.settings import Settings, load_rules
from redistill.show import Column
from redistill.times import moment, utc_now
from triggers import rules as rule_engine
from triggers.history_file import read_history
from triggers.observed import details_for
from triggers.settings import DEFAULT_RULES, Condition, Rule

_RulesFile = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        metavar="FILE",
        help="Rules to try: a TOML file with [[rules]].",
        show_default="those of the configuration",
    ),
]
_HistoryFile = Annotated[
    Path | None,
    typer.Option(
        "--history",
        metavar="FILE",
        help="Cycles to run them over: JSON Lines.",
        show_default="those in the database",
    ),
]
_COLUMNS = (
    Column(title="window end (UTC)"),
    Column(title="rule"),
    Column(title="metric", spare=2),
    Column(title="value", align="right"),
    Column(title="threshold", align="right", spare=1),
    Column(title="streak", align="right"),
    Column(title="outcome"),
)
_QUIET = (OutcomeReason.WITHIN, OutcomeReason.NOT_EVALUATED)

app = command()


@app.command(
    epilog=examples(
        "redistill replay --rules stricter.toml --since 30d",
        "redistill replay --history series.jsonl --json",
    )
)
def replay(
    ctx: typer.Context,
    *,
    rules_file: _RulesFile = None,
    history_file: _HistoryFile = None,
    since: Since = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Run rules over past cycles, with the functions that the monitor uses; nothing is written."""
    rules = _rules(ctx, config, rules_file, history_file)
    points = read_history(history_file) if history_file else _stored(configured(ctx, config), rules)
    start = moment("--since", since, utc_now()) if since else None
    outcomes = [each for each in _outcomes(rules, points) if start is None or each.window_end >= start]
    if as_json:
        for outcome in outcomes:
            show.print_json(_document(outcome))
    elif outcomes:
        _print(rules, outcomes)
    else:
        show.say("No cycle to run the rules over.")


def _rules(
    ctx: typer.Context, config: Path | None, rules_file: Path | None, history_file: Path | None
) -> tuple[Rule, ...]:
    """The rules of the file, else of the configuration; for a file of cycles these may be the defaults."""
    if rules_file is not None:
        return load_rules(rules_file)
    if history_file is not None and not config_file(ctx, config).exists():
        typer.echo(f"There is no {config_file(ctx, config)}: the default rules are run.", err=True)
        return DEFAULT_RULES
    return configured(ctx, config).rules


def _stored(settings: Settings, rules: Sequence[Rule]) -> tuple[CyclePoint, ...]:
    with reading_from(settings) as connection:
        return history.points(connection, settings.monitor.name, details=details_for(rules))


def _outcomes(rules: Sequence[Rule], points: Sequence[CyclePoint]) -> Iterator[RuleOutcome]:
    """Every rule's outcome at every cycle, the cycles in the order of their windows."""
    for at_one_cycle in zip(*(rule_engine.replay(rule, points) for rule in rules), strict=True):
        yield from at_one_cycle


def _document(outcome: RuleOutcome) -> Mapping[str, object]:
    return {
        "window_end": outcome.window_end,
        "rule": outcome.rule,
        "metric": outcome.metric,
        "value": outcome.value,
        "threshold": outcome.threshold,
        "breached": outcome.breached,
        "streak": outcome.streak,
        "statistic": outcome.statistic,
        "fired": outcome.fired,
        "reason": outcome.reason,
    }


def _print(rules: Sequence[Rule], outcomes: Sequence[RuleOutcome]) -> None:
    remarkable = [outcome for outcome in outcomes if outcome.reason not in _QUIET]
    if remarkable:
        show.listing(_COLUMNS, [_cells(outcome) for outcome in remarkable])
        show.say("")
    show.facts([(rule.name, _summary(rule, outcomes)) for rule in rules])


def _cells(outcome: RuleOutcome) -> list[show.Cell]:
    return [
        show.time(outcome.window_end),
        outcome.rule,
        outcome.metric,
        Text(show.number(outcome.value), style=show.BAD if outcome.breached else ""),
        show.decimal(outcome.threshold),
        show.word(outcome.streak),
        Text(outcome.reason, style=show.BAD if outcome.fired else ""),
    ]


def _summary(rule: Rule, outcomes: Sequence[RuleOutcome]) -> str:
    own = [outcome for outcome in outcomes if outcome.rule == rule.name]
    fired = [outcome.window_end for outcome in own if outcome.fired]
    return (
        f"{_wanted(rule)}: of {len(own)} cycles "
        f"{sum(outcome.value is not None for outcome in own)} evaluated, "
        f"{sum(outcome.breached for outcome in own)} breached, {len(fired)} fired"
        + (f", first at {show.time(min(fired))}" if fired else "")
    )


def _wanted(rule: Rule) -> str:
    bounds = ", ".join(_bound(each) for each in rule.conditions)
    what = f"{rule.watches} of {bounds}" if bounds else _bound(rule)
    if rule.mode == "sequential":
        return f"{what} by the evidence, {rule.false_alarm_rate:g} false alarms in 1,000 cycles"
    if rule.of_cycles:
        return f"{what} for {rule.for_cycles} of {rule.of_cycles} cycles"
    return f"{what} for {rule.for_cycles} {'cycle' if rule.for_cycles == 1 else 'cycles in a row'}"


def _bound(condition: Condition) -> str:
    interval = " (interval)" if condition.mode == "interval" else ""
    return f"{condition.metric} {condition.side} {condition.threshold}{interval}"
