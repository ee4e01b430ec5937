"""The report of `redistill economics` as tables."""

from collections.abc import Iterator
from typing import Final

from rich.text import Text

from db.records import Interval
from redistill.display import show
from redistill.display.show import Cell, Column
from redistill.economics.monitoring import Monitoring
from redistill.economics.month import MONTHS, Month, Uncertain
from redistill.economics.outcomes import COST, CRITICAL, DRAWS, LATE, LOW_COST, RIGHT, Outcome
from redistill.economics.report import Report
from redistill.economics.settings import EconomicsSection

_NAMES: Final = {
    RIGHT: "right",
    LOW_COST: "low-cost misroutes",
    CRITICAL: "critical misroutes",
    LATE: "over the latency budget",
    COST: "cost of misroutes",
}
_OUTCOMES: Final = (
    Column(title="of 10,000 requests"),
    Column(title="teacher", align="right"),
    Column(title="95% interval", spare=2),
    Column(title="student", align="right"),
    Column(title="95% interval", spare=2),
    Column(title="difference", align="right"),
    Column(title="95% interval"),
    Column(title="from", spare=1),
)
_AMOUNTS: Final = (
    Column(title="amount"),
    Column(title="a month", align="right"),
    Column(title="95% interval"),
    Column(title="a year", align="right", spare=1),
)
#: Smaller amounts have significant digits in place of two decimals.
_SMALL: Final = 0.1
#: Smaller counts have a decimal.
_FEW: Final = 10


def print_report(made: Report, *, origin: str | None, processor: str | None) -> None:
    """Print what 10,000 requests, a month and a year cost, and where costs break even."""
    section = made.section
    if origin is not None:
        show.say(f"The labelled rows are from {origin}.\n")
    show.listing(_OUTCOMES, [*map(_outcome, made.outcomes), _unit_costs(section)])
    if any(each.name == LATE for each in made.outcomes):
        where = f", measured here ({processor})" if processor else ""
        show.say(f"\nThe latency budget is {section.latency_budget_ms:g} ms{where}.")
    requests = show.count(section.requests_per_month)
    show.say(f"\nA month has 30 days and {requests} requests. Amounts are in your currency.\n")
    show.listing(_AMOUNTS, [*_amounts(made)])
    show.say("")
    show.facts([*_facts(made)])


def money(amount: float) -> str:
    """Return an amount with two decimals, or four significant digits if it is small.

    Example:
        >>> money(5.32), money(-3457.44), money(0.0001375), money(0)
        ('5.32', '-3,457.44', '0.0001375', '0.00')
    """
    return f"{amount:.4g}" if 0 < abs(amount) < _SMALL else f"{amount:,.2f}"


def _outcome(outcome: Outcome) -> list[Cell]:
    paired = "paired" if outcome.paired else "unpaired"
    rows = f"{show.count(outcome.rows)} {'requests' if outcome.name == LATE else 'rows'}"
    return [
        _NAMES[outcome.name],
        *_counted(outcome.teacher),
        *_counted(outcome.student),
        *_counted(outcome.extra),
        f"{outcome.source}, {rows}, {paired}",
    ]


def _unit_costs(section: EconomicsSection) -> list[Cell]:
    teacher, student = section.cost_per_10k_teacher, section.cost_per_10k_student
    return ["cost", money(teacher), "", money(student), "", money(student - teacher), "", "configured prices"]


def _amounts(made: Report) -> Iterator[list[Cell]]:
    month = made.month
    yield _amount("inference by the teacher", month.teacher)
    yield _amount("inference by the student", month.student)
    yield _amount("saving", month.saving)
    yield _amount("harm of the student's misroutes", -month.harm.estimate, _negative(month.harm))
    yield _amount("net of harm", month.net_of_harm, bold=True)
    yield from _extra("critical misroutes", month.critical)
    yield from _extra("latency", month.late)
    yield _amount("monitoring", -month.monitoring)
    for name, cost in (("retraining", month.retraining), ("pages", month.pages)):
        if cost is not None:
            yield _amount(name, -cost)
    yield _amount("net", month.net, bold=True)
    price = "at an uncertain cost of a misroute" if made.section.harm == "misroutes" else "over all draws"
    yield _drawn(f"net of harm, {price}", month.net_of_harm_drawn)
    yield _drawn(f"net, {price}", month.net_drawn)


def _extra(name: str, cost: Interval | None) -> Iterator[list[Cell]]:
    if cost is not None:
        yield _amount(name, -cost.estimate, _negative(cost))


def _amount(name: str, amount: float, bounds: str = "", *, bold: bool = False) -> list[Cell]:
    title = Text(name, style="bold") if bold else name
    return [title, money(amount), bounds, money(MONTHS * amount)]


def _drawn(name: str, found: Uncertain) -> list[Cell]:
    return [name, money(found.mean), f"[{money(found.low)}, {money(found.high)}]", money(MONTHS * found.mean)]


def _facts(made: Report) -> Iterator[tuple[str, str]]:
    section, month = made.section, made.month
    if section.harm == "misroutes":
        low, mode, high = section.harm_costs
        yield "cost of a misroute", f"{money(mode)}, from {money(low)} to {money(high)} (triangular)"
    yield "chance", _chance(month)
    yield "break-even", _break_even(made)
    yield "monitoring", _monitoring(made.monitoring)
    yield "recommended", _recommended(made.monitoring)
    yield "not priced", ", ".join(_unpriced(month)) or "-"
    yield "soft labels", _soft_labels(made)


def _chance(month: Month) -> str:
    of_harm, of_all = month.net_of_harm_drawn, month.net_drawn
    return (
        f"net of harm is above 0 in {of_harm.probability_positive:.1%} of {DRAWS:,} draws, "
        f"net in {of_all.probability_positive:.1%}"
    )


def _break_even(made: Report) -> str:
    found = made.break_even
    parts = [f"a saving of {money(found.saving_per_10k)} per 10,000 requests"]
    if found.harm_cost is not None:
        parts.append(f"a misroute that costs {money(found.harm_cost)}")
    if found.misroutes is not None:
        parts.append(f"{found.misroutes:,.2f} more misroutes in 10,000")
    return ", or ".join(parts)


def _monitoring(found: Monitoring) -> str:
    text = (
        f"{found.cycles:,.4g} cycles of {found.scored_per_cycle:,.0f} requests cost {money(found.cost)}; it "
        f"costs the saving where {found.break_even_share:.1%} of all requests are scored"
    )
    return text if found.pays else f"{text}: it costs more than the student saves"


def _recommended(found: Monitoring) -> str:
    if found.sample_size is None or found.interval_hours is None:
        return "no sample pays, as the student saves nothing"
    text = f"sample_size at most {found.sample_size:,} every {found.interval_hours:.3g} h or longer"
    if found.best_interval_hours is None:
        return f"{text}; for the best interval set drifts_per_month and drift_misroutes"
    return f"{text}; the best interval is {found.best_interval_hours:.3g} h"


def _unpriced(month: Month) -> Iterator[str]:
    prices = {
        "critical misroutes (critical_cost)": month.critical,
        "latency (late_cost)": month.late,
        "retraining (machine_price_per_hour)": month.retraining,
        "pages (pages_per_month, minutes_per_page, wage_per_hour)": month.pages,
    }
    return (name for name, amount in prices.items() if amount is None)


def _soft_labels(made: Report) -> str:
    if made.offline_from_runs is None:
        return f"{made.soft_labels}; storing them never saves time"
    return (
        f"{made.soft_labels}; storing them pays from {made.offline_from_runs:.2g} runs of a teacher version"
    )


def _counted(interval: Interval) -> tuple[str, str]:
    return _count(interval.estimate), f"[{_count(interval.low)}, {_count(interval.high)}]"


def _count(value: float) -> str:
    return f"{value:,.1f}" if abs(value) < _FEW and value % 1 else f"{value:,.0f}"


def _negative(cost: Interval) -> str:
    return f"[{money(-cost.high)}, {money(-cost.low)}]"
