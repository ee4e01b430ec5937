"""The check of the test set's power: whether its rows can compare a candidate with its incumbent."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from sqlalchemy import select

from db.errors import RedistillError
from db.tables import evaluations
from distill.evaluation.churn import NEGATIVE_FLIPS
from distill.evaluation.comparison import GAIN
from distill.evaluation.gates import TEST
from distill.evaluation.power import USUAL_DISCORDANCE, WANTED, half_width, power, rows_needed
from redistill.checks.result import CheckResult, ok, warning
from redistill.configuration.settings import Settings
from redistill.database import reading_from
from redistill.display import show

_LITTLE: Final = 0.5  #: below this power most equal candidates are inconclusive


def power_of(settings: Settings, n: int) -> Iterator[CheckResult]:
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
