"""The checks of the gates: whether the student in service meets them, and what the test set can decide."""

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import select

from db.errors import RedistillError
from db.states import GateResult
from db.tables import evaluations
from distill.evaluate import evaluate, latency, refer
from distill.evaluation.churn import NEGATIVE_FLIPS
from distill.evaluation.comparison import GAIN
from distill.evaluation.gates import AT_MOST, TEST, check
from distill.evaluation.power import USUAL_DISCORDANCE, WANTED, half_width, power, rows_needed
from distill.training.dataset import LabelledSet, chosen, read_labelled
from monitor.scoring.latency import processor
from monitor.scoring.models import Model, load
from monitor.stop import never_stopped
from redistill.artifacts import artifacts
from redistill.assembly import training_placement
from redistill.checks.result import CheckResult, ok, warning
from redistill.configuration.settings import Settings
from redistill.database import reading_from
from redistill.display import show
from redistill.display.comparison import fit_temperature
from redistill.display.progress import ShowProgress
from redistill.serving import serving_student
from triggers.incidents.figures import gate_of

_ROWS: Final = 1_000  #: most rows of each labelled file, so that the teacher does not take minutes
_LITTLE: Final = 0.5  #: below this power most equal candidates are inconclusive


def gates(settings: Settings, teacher: Model, progress: ShowProgress) -> Iterator[CheckResult]:
    """Yield a warning for each gate that the student in service does not meet, and the test set's power.

    The test rows are chosen by their hash. Without a test file nothing is checked.
    """
    section = settings.redistill
    if section.test is None:
        return
    opener = artifacts(settings, progress)
    every = read_labelled(opener.file(section.test), teacher.labels, section.fields)
    outcomes = _outcomes(settings, teacher, chosen(every, _ROWS), progress)
    rows = f"{show.count(min(len(every.texts), _ROWS))} of {show.count(len(every.texts))} test rows"
    unmet = [each for each in outcomes if each["result"] != GateResult.PASS]
    for outcome in unmet:
        yield _warning(outcome, rows)
    if not unmet:
        yield ok("gates", f"the student in service meets all {len(outcomes)}, on {rows}")
    yield from _power(settings, len(every.texts))


def _outcomes(
    settings: Settings, teacher: Model, rows: LabelledSet, progress: ShowProgress
) -> list[dict[str, Any]]:
    """Return each gate's outcome for the student as if it were a candidate, with its interval."""
    budget, n = settings.scoring.tokens_per_batch, len(rows.texts)
    opener, validation = artifacts(settings, progress), settings.redistill.validation
    student = load(opener.directory(serving_student(settings)), training_placement(settings))
    temperature = fit_temperature(
        student,
        teacher,
        None if validation is None else opener.file(validation),
        fields=settings.redistill.fields,
        tested_on=rows,
        at_most=_ROWS,
        tokens_per_batch=budget,
        show=progress,
    )
    reference = refer(
        TEST,
        teacher,
        rows.texts,
        rows.labels,
        tokens_per_batch=budget,
        stopped=never_stopped,
        progress=lambda done: progress("teacher on test", done, n),
    )
    found = evaluate(
        student,
        reference,
        settings.metrics,
        temperature=temperature,
        tokens_per_batch=budget,
        stopped=never_stopped,
        progress=lambda done: progress("student on test", done, n),
    )
    if settings.gates.latency_p95_ms is not None:
        found = replace(found, metrics=(*found.metrics, latency(student, rows.texts)))
    outcomes = check(settings.gates, [found], processor=processor(student.placement))
    return [gate_of(outcome, [found]) for outcome in outcomes]


def _warning(outcome: Mapping[str, Any], rows: str) -> CheckResult:
    gate, value = str(outcome["gate"]), outcome["value"]
    side = "at most" if gate in AT_MOST else "at least"
    wanted = f"the gate requires {side} {outcome['threshold']:g}"
    if math.isnan(value):
        found = f"{gate} cannot be measured on {rows}, so every candidate fails this gate"
        return warning(f"gate {gate}", found, "add rows to the test file on which it can be measured")
    detail = f" ({outcome['detail']})" if outcome["detail"] else ""
    bounds = f"[{outcome['low']:.4g}, {outcome['high']:.4g}]"
    found = f"the student in service has {value:.4g} {bounds}{detail} on {rows}; {wanted}"
    fix = f"none needed, or set '{gate}' in [gates]: this gate rejects a candidate only if it is worse"
    return warning(f"gate {gate}", found, fix)


def _power(settings: Settings, n: int) -> Iterator[CheckResult]:
    """Yield the power of n test rows for the gate relative_accuracy, and the number that would suffice.

    The share of discordant rows is that of the newest job's candidate or, before the first job, the usual.
    """
    margin = settings.gates.margin
    if margin is None or not n:
        return
    measured = _discordance(settings)
    discordant = USUAL_DISCORDANCE if measured is None else max(measured, 1 / n)
    half = half_width(discordant, n)
    share, needed = power(half, margin), show.count(rows_needed(n, half, margin))
    found = (
        f"{show.count(n)} rows: {share:.0%} of the candidates as good as the student in service pass "
        f"relative_accuracy (margin {margin:g}), if {discordant:.1%} of the rows are right for only one of "
        f"the two ({'assumed' if measured is None else 'as in the newest job'})"
    )
    if share >= _LITTLE:
        yield ok("power", f"{found}; {needed} rows give {WANTED:.0%}")
        return
    fix = f"use {needed} test rows, which give {WANTED:.0%}, or let a person decide: on_inconclusive = 'hold'"
    yield warning("power", f"{found}; a worse candidate may be promoted", fix)


def _discordance(settings: Settings) -> float | None:
    """Return the share of test rows that exactly one of the newest candidate and its incumbent got right."""
    query = (
        select(evaluations.c.metric, evaluations.c.value)
        .where(
            evaluations.c.monitor == settings.monitor.name,
            evaluations.c.dataset == TEST,
            evaluations.c.metric.in_([GAIN, NEGATIVE_FLIPS]),
        )
        .order_by(evaluations.c.job_id.desc())
        .limit(2)
    )
    newest: dict[str, float | None] = {}
    with suppress(RedistillError), reading_from(settings) as connection:
        newest = {row.metric: row.value for row in connection.execute(query)}
    gain, flips = newest.get(GAIN), newest.get(NEGATIVE_FLIPS)
    return None if gain is None or flips is None else gain + 2 * flips
