"""`redistill economics`: what the student saves, what its misroutes and its monitoring cost."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated

import numpy as np
import typer

from db.errors import RedistillError
from monitor.clock import utc_now
from redistill.commands.inspect.economics_tables import print_report
from redistill.commands.options import Config, Json, command, configured, examples
from redistill.configuration.settings import Settings
from redistill.cost_inputs import schedule, used_soft_labels
from redistill.display import show
from redistill.display.progress import ShowProgress, bars
from redistill.economics import outcomes
from redistill.economics.outcomes import COST, LATE, Outcome, Source
from redistill.economics.report import report
from redistill.process.stop_signals import loading


class CountsFrom(StrEnum):
    """The counts that are asked for."""

    AUTO = "auto"
    TEST = "test"
    TRAFFIC = "traffic"
    CONFIGURED = "configured"


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The outcomes by name, and where they are from."""

    outcomes: Mapping[str, Outcome]
    origin: str | None = None  #: the file or the window of the labelled rows
    processor: str | None = None  #: on which the answers were timed
    passed_over: tuple[str, ...] = ()  #: why labelled rows were not used


_From = Annotated[
    CountsFrom,
    typer.Option(
        "--from",
        help="Source of the counts: the test set, scored by both models; the newest archived sample with 100 "
        "true labels; or the configured counts. auto: the first of these that can be used.",
    ),
]

app = command()


@app.command(
    epilog=examples(
        "redistill economics",
        "redistill economics --from configured --json",
        "redistill economics --from traffic",
    )
)
def economics(
    ctx: typer.Context, *, counts: _From = CountsFrom.AUTO, config: Config = None, as_json: Json = False
) -> None:
    """Compare the costs of teacher and student: inference, misroutes, monitoring, retraining."""
    settings = configured(ctx, config)
    rng = np.random.default_rng(settings.metrics.seeds[0])
    with bars() as progress:
        found = _found(settings, counts, rng, progress)
    made = report(
        settings.economics,
        found.outcomes,
        schedule(settings),
        soft_labels=used_soft_labels(settings),
        rng=rng,
    )
    if as_json:
        origin = {"rows": found.origin, "processor": found.processor, "passed_over": found.passed_over}
        show.print_json({**made.document, "from": origin})
        return
    for reason in found.passed_over:
        show.warn(reason)
    print_report(made, origin=found.origin, processor=found.processor)


def _found(
    settings: Settings, counts: CountsFrom, rng: np.random.Generator, progress: ShowProgress
) -> _Found:
    if counts is CountsFrom.CONFIGURED:
        return _Found(outcomes=outcomes.configured(settings.economics, rng))
    tried = [CountsFrom.TEST, CountsFrom.TRAFFIC] if counts is CountsFrom.AUTO else [counts]
    passed_over: list[str] = []
    for each in tried:
        try:
            found = _measured(settings, each, rng, progress)
        except RedistillError as error:
            if counts is not CountsFrom.AUTO:
                raise
            passed_over.append(f"the counts are not from {each}: {error}")
        else:
            return replace(found, passed_over=tuple(passed_over))
    return _Found(outcomes=outcomes.configured(settings.economics, rng), passed_over=tuple(passed_over))


def _measured(
    settings: Settings, counts: CountsFrom, rng: np.random.Generator, progress: ShowProgress
) -> _Found:
    """Return the measured outcomes, and the configured ones that labels do not give."""
    with loading():
        from redistill import labelled_pairs  # noqa: PLC0415 - torch takes seconds to load
        from redistill.economics.paired_rows import measured, timed  # noqa: PLC0415 - as above

    section = settings.economics
    pairs = (
        labelled_pairs.of_test_set(settings, progress)
        if counts is CountsFrom.TEST
        else labelled_pairs.of_traffic(settings, utc_now())
    )
    given = outcomes.configured(section, rng)
    found = {name: each for name, each in given.items() if each.source is Source.CONFIGURED}
    found |= measured(pairs.rows, settings.metrics, rng)
    if pairs.times is not None:
        found[LATE] = timed(pairs.times, section.latency_budget_ms, rng)
    if section.harm != "cost-matrix":
        found.pop(COST, None)
    ordered = {name: found[name] for name in (*given, COST) if name in found}
    return _Found(outcomes=ordered, origin=pairs.origin, processor=pairs.processor)
