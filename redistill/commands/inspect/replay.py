"""`redistill replay`: the outcomes of rules at past cycles, and their expected alarms and delays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from db.cycles import cycle_points
from db.records import CyclePoint, RuleOutcome
from db.states import OutcomeReason
from monitor.clock import utc_now
from monitor.intervals import wilson
from redistill.commands.inspect.alarms import (
    Replayed,
    alarmed_windows,
    count_alarms,
    print_comparison,
)
from redistill.commands.inspect.forecast import (
    Assumption,
    assume,
    documents,
    forecast,
    mode_of,
    print_forecasts,
)
from redistill.commands.inspect.replay_file import read_history
from redistill.commands.options import Config, Json, Since, command, config_source, configured, examples
from redistill.configuration.settings import Settings, load_rules
from redistill.database import reading_from
from redistill.display import show
from redistill.display.show import Column
from redistill.display.times import moment
from redistill.display.words.rule_words import condition_in_words
from triggers.rule_sets import RULE_SETS
from triggers.rules import evaluation as rule_engine
from triggers.rules.observation import details_for
from triggers.settings import DEFAULT_RULES, Rule

_Rules = Annotated[
    str | None,
    typer.Option(
        "--rules",
        metavar="FILE|literal|sustained",
        help="TOML file with other rules, in the format of the configuration, or a rule set.",
        show_default="the configured rules",
    ),
]
_HistoryFile = Annotated[
    Path | None,
    typer.Option(
        "--history",
        metavar="FILE",
        help="JSON Lines file of cycles to apply them to.",
        show_default="the cycles in the database",
    ),
]
_Healthy = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="AGREEMENT",
        help="Agreement at which no rule should fire.",
        show_default="the median of the cycles outside alarms",
    ),
]
_Drifts = Annotated[
    list[float] | None,
    typer.Option(
        "--drift",
        min=0,
        max=1,
        metavar="AGREEMENT",
        help="Agreement at which a rule should fire; can be repeated.",
        show_default="0.01, 0.02 and 0.05 below the highest threshold",
    ),
]
_Expect = Annotated[bool, typer.Option("--expect", help="Show only the expected alarms and delays.")]
_COLUMNS = (
    Column(title="window end (UTC)"),
    Column(title="rule"),
    Column(title="metric", spare=2),
    Column(title="value", align="right"),
    Column(title="threshold", align="right", spare=1),
    Column(title="streak", align="right"),
    Column(title="outcome"),
)
_SUMMARY = (
    Column(title="rule"),
    Column(title="mode", spare=1),
    Column(title="condition", spare=2),
    Column(title="cycles", align="right"),
    Column(title="judged", align="right"),
    Column(title="breached", align="right"),
    Column(title="fired", align="right"),
    Column(title="alarms", align="right"),
    Column(title="first at (UTC)"),
    Column(title="last at (UTC)"),
)
_QUIET = (OutcomeReason.WITHIN, OutcomeReason.NOT_EVALUATED)

app = command()


@app.command(
    epilog=examples(
        "redistill replay --rules sustained --since 30d",
        "redistill replay --rules stricter.toml --expect --healthy 0.96 --drift 0.945 --drift 0.93",
        "redistill replay --history series.jsonl --json",
    )
)
def replay(
    ctx: typer.Context,
    *,
    other_rules: _Rules = None,
    history_file: _HistoryFile = None,
    since: Since = None,
    expect: _Expect = False,
    healthy: _Healthy = None,
    drifts: _Drifts = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Apply rules to past cycles, with the functions that the monitor uses; nothing is written.

    Then show the expected false alarms and detection delays of rules on agreement, for samples as large as
    those of the past cycles.
    """
    if as_json and not expect and (healthy is not None or drifts):
        raise typer.BadParameter("--healthy and --drift need --expect when --json is given")
    rules = _rules(ctx, config, other_rules, history_file)
    start = moment("--since", since, utc_now()) if since is not None else datetime.min.replace(tzinfo=UTC)
    points = _read(history_file) if history_file else _stored(configured(ctx, config), rules)
    outcomes = [each for each in _outcomes(rules, points) if each.window_end >= start]
    if not outcomes and not as_json:
        show.say("No cycle to apply the rules to.")
        return
    if not expect:
        _show(rules, outcomes, as_json=as_json)
    if other_rules and not expect and not as_json and config_source(ctx, config).exists:
        _compare(other_rules, rules, outcomes, configured(ctx, config), points)
    if expect or not as_json:
        shown = [point for point in points if point.window_end >= start]
        by_rule = ([each for each in outcomes if each.rule == rule.name] for rule in rules)
        alarmed = {end for own in by_rule for end in alarmed_windows(own)}
        assumed = assume(rules, shown, alarmed, healthy=healthy, drifts=drifts or ())
        _show_forecasts(rules, assumed, as_json=as_json)


def _rules(
    ctx: typer.Context, config: Sequence[Path] | None, other: str | None, history_file: Path | None
) -> tuple[Rule, ...]:
    """Return the named rules, else those of the configuration; for a file of cycles, else the defaults."""
    if other is not None:
        named = [rules for name, rules in RULE_SETS.items() if name == other]
        return named[0] if named else load_rules(Path(other))
    if history_file is not None and not config_source(ctx, config).exists:
        show.warn(f"{config_source(ctx, config)} does not exist: the default rules are applied.")
        return DEFAULT_RULES
    return configured(ctx, config).rules


def _stored(settings: Settings, rules: Sequence[Rule]) -> tuple[CyclePoint, ...]:
    details = replace(details_for((*rules, *settings.rules)), strata=True)
    with reading_from(settings) as connection:
        return cycle_points.read(connection, settings.monitor.name, details=details)


def _read(history_file: Path) -> tuple[CyclePoint, ...]:
    """Return the cycles of a file; those with counts get the interval of a uniform sample."""
    return tuple(
        replace(point, intervals={"agreement": wilson(point.n - point.disagreements, point.n)})
        if point.n and point.disagreements is not None and point.agreement is None
        else point
        for point in read_history(history_file)
    )


def _outcomes(rules: Sequence[Rule], points: Sequence[CyclePoint]) -> Iterator[RuleOutcome]:
    """Yield every rule's outcome at every cycle, in the order of the windows."""
    for at_one_cycle in zip(*(rule_engine.replay(rule, points) for rule in rules), strict=True):
        yield from at_one_cycle


def _compare(
    name: str,
    rules: Sequence[Rule],
    outcomes: Sequence[RuleOutcome],
    settings: Settings,
    points: Sequence[CyclePoint],
) -> None:
    """Compare other rules with the configured ones, on the windows of the outcomes."""
    windows = {each.window_end for each in outcomes}
    own = [each for each in _outcomes(settings.rules, points) if each.window_end in windows]
    section = settings.economics
    price = section.machine_price_per_hour
    print_comparison(
        [
            Replayed(name=name, rules=rules, outcomes=outcomes),
            Replayed(name="as configured", rules=settings.rules, outcomes=own),
        ],
        cost_per_run=None if price is None else section.minutes_online / 60 * price,
    )


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


def _show(rules: Sequence[Rule], outcomes: Sequence[RuleOutcome], *, as_json: bool) -> None:
    if as_json:
        for outcome in outcomes:
            show.print_json(_document(outcome))
        return
    remarkable = [outcome for outcome in outcomes if outcome.reason not in _QUIET]
    if remarkable:
        show.listing(_COLUMNS, [_cells(outcome) for outcome in remarkable])
        show.say("")
    show.listing(_SUMMARY, [_summary(rule, outcomes) for rule in rules])
    show.say("")


def _show_forecasts(rules: Sequence[Rule], assumed: Assumption | None, *, as_json: bool) -> None:
    if assumed is None:
        if not as_json:
            show.say("No forecast: no cycle has the number of its requests.")
        return
    forecasts = [forecast(rule, assumed) for rule in rules]
    if not as_json:
        print_forecasts(forecasts, assumed)
        return
    for document in documents(forecasts, assumed):
        show.print_json(document)


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


def _summary(rule: Rule, outcomes: Sequence[RuleOutcome]) -> list[show.Cell]:
    own = [outcome for outcome in outcomes if outcome.rule == rule.name]
    fired = [outcome.window_end for outcome in own if outcome.fired]
    return [
        rule.name,
        mode_of(rule),
        condition_in_words(rule),
        show.count(len(own)),
        show.count(sum(outcome.value is not None for outcome in own)),
        show.count(sum(outcome.breached for outcome in own)),
        Text(show.count(len(fired)), style=show.BAD if fired else ""),
        show.count(count_alarms(own)),
        show.time(min(fired, default=None)),
        show.time(max(fired, default=None)),
    ]
