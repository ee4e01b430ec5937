"""The amounts of a month, teacher against student; a year is 12 of them, a month 30 days."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from db.errors import RedistillError
from db.records import Interval
from monitor.intervals import percentile_interval
from redistill.economics.outcomes import COST, CRITICAL, DRAWS, LATE, RIGHT, UNIT, Floats, Outcome, scaled
from redistill.economics.settings import EconomicsSection

DAYS: Final = 30
MONTHS: Final = 12
#: How runs get their soft labels: while the student trains, or stored before.
SoftLabels = Literal["online", "offline"]

_MINUTES_PER_HOUR: Final = 60
_DAYS_PER_WEEK: Final = 7


class NoCostMatrixError(RedistillError):
    """harm = 'cost-matrix' in [economics] needs [[metrics.misroutes]] and labelled rows that both models
    answered: add both, or set harm = 'misroutes'.
    """


@dataclass(frozen=True, kw_only=True)
class Uncertain:
    """An amount over all draws, of counts and of the cost of a misroute."""

    mean: float
    low: float  #: 95% of the draws are between these two
    high: float
    probability_positive: float


@dataclass(frozen=True, kw_only=True)
class Month:
    """Amounts of one month. Costs are positive; None: not priced."""

    teacher: float  #: inference of all requests
    student: float
    saving: float
    harm: Interval  #: of the student's additional misroutes
    harm_unpaired: Interval
    critical: Interval | None  #: of its additional critical misroutes
    late: Interval | None  #: of its additional answers over the latency budget
    monitoring: float
    retraining: float | None
    pages: float | None
    net_of_harm: float  #: saving - harm
    net: float  #: less all costs above
    net_of_harm_drawn: Uncertain
    net_drawn: Uncertain


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """The values at which the saving equals the harm, one changed at a time; None: there is none."""

    saving_per_10k: float
    harm_cost: float | None
    misroutes: float | None  #: additional misroutes in 10,000 requests


def batches(section: EconomicsSection) -> float:
    """Return K: the requests of a month in units of 10,000."""
    return section.requests_per_month / UNIT


def saving_per_10k(section: EconomicsSection) -> float:
    """Return the saving of 10,000 requests."""
    return section.cost_per_10k_teacher - section.cost_per_10k_student


def month(
    section: EconomicsSection,
    outcomes: Mapping[str, Outcome],
    *,
    monitoring: float,
    soft_labels: SoftLabels,
    rng: np.random.Generator,
) -> Month:
    """Return the amounts of a month, K = requests / 10,000, u the cost of one more misroute.

    saving = K (c_teacher - c_student); harm = K Δ u, Δ the additional misroutes in 10,000 requests, or K
    times the difference of the two costs by the cost matrix; critical and late likewise, with their own
    costs. A negative cost is a gain. In the drawn nets, u is triangular over its lowest, most likely and
    highest value.

    Raises:
        NoCostMatrixError: the cost matrix is asked for, and no outcome has its cost.
    """
    k, saving = batches(section), batches(section) * saving_per_10k(section)
    misroutes = _misroutes(section, outcomes)
    price = 1.0 if section.harm == "cost-matrix" else section.harm_cost
    harm, harm_unpaired = (scaled(each, k * price) for each in misroutes)
    extras = {CRITICAL: section.critical_cost, LATE: section.late_cost}
    priced = {name: k * cost for name, cost in extras.items() if cost is not None and name in outcomes}
    amounts = {name: scaled(outcomes[name].extra, factor) for name, factor in priced.items()}
    retraining, pages = _retraining(section, soft_labels), _pages(section)
    fixed = monitoring + (retraining or 0) + (pages or 0)
    drawn = saving - k * _harm_draws(section, outcomes, rng)
    others = sum((factor * outcomes[name].draws for name, factor in priced.items()), np.zeros(DRAWS))
    net_of_harm = saving - harm.estimate
    return Month(
        teacher=k * section.cost_per_10k_teacher,
        student=k * section.cost_per_10k_student,
        saving=saving,
        harm=harm,
        harm_unpaired=harm_unpaired,
        critical=amounts.get(CRITICAL),
        late=amounts.get(LATE),
        monitoring=monitoring,
        retraining=retraining,
        pages=pages,
        net_of_harm=net_of_harm,
        net=net_of_harm - sum(each.estimate for each in amounts.values()) - fixed,
        net_of_harm_drawn=_uncertain(drawn),
        net_drawn=_uncertain(drawn - others - fixed),
    )


def break_even(section: EconomicsSection, outcomes: Mapping[str, Outcome]) -> BreakEven:
    """Return the values at which saving and harm are equal.

    There is no such cost of a misroute if the student has no more of them or costs more than the teacher, and
    no such number of misroutes if they cost nothing; with a cost matrix, both are None.

    Example:
        >>> from redistill.economics.outcomes import configured
        >>> section, rng = EconomicsSection(), np.random.default_rng(2025)
        >>> found = break_even(section, configured(section, rng))
        >>> round(found.saving_per_10k, 4), round(found.harm_cost, 7), round(found.misroutes, 2)
        (2.08, 0.0001375, 1.69)
    """
    extra, _ = _misroutes(section, outcomes)
    if section.harm == "cost-matrix":
        return BreakEven(saving_per_10k=extra.estimate, harm_cost=None, misroutes=None)
    saving, cost = saving_per_10k(section), section.harm_cost
    is_traded = saving >= 0 and extra.estimate > 0
    return BreakEven(
        saving_per_10k=extra.estimate * cost,
        harm_cost=saving / extra.estimate if is_traded else None,
        misroutes=saving / cost if cost > 0 else None,
    )


def minutes(section: EconomicsSection, soft_labels: SoftLabels) -> float:
    """Return the training minutes of a month, with soft labels stored once for each teacher version."""
    runs = section.runs_per_week * DAYS / _DAYS_PER_WEEK
    if soft_labels == "online":
        return runs * section.minutes_online
    return runs * section.minutes_offline + section.teachers_per_month * section.minutes_soft_labels


def offline_from_runs(section: EconomicsSection) -> float | None:
    """Return the runs of one teacher version from which stored soft labels save time; None: never.

    Example:
        >>> offline_from_runs(EconomicsSection())
        1.6
    """
    gained = section.minutes_online - section.minutes_offline
    return section.minutes_soft_labels / gained if gained > 0 else None


def _misroutes(section: EconomicsSection, outcomes: Mapping[str, Outcome]) -> tuple[Interval, Interval]:
    """Return what the student adds in 10,000 requests, paired and unpaired: misroutes, or their cost."""
    if section.harm == "misroutes":
        right = outcomes[RIGHT]
        return scaled(right.extra, -1.0), scaled(right.extra_unpaired, -1.0)
    if COST not in outcomes:
        raise NoCostMatrixError
    return outcomes[COST].extra, outcomes[COST].extra_unpaired


def _harm_draws(
    section: EconomicsSection, outcomes: Mapping[str, Outcome], rng: np.random.Generator
) -> Floats:
    if section.harm == "cost-matrix":
        return outcomes[COST].draws
    low, mode, high = section.harm_costs
    price = rng.triangular(low, mode, high, DRAWS) if low < high else np.full(DRAWS, mode)
    return np.asarray(-outcomes[RIGHT].draws * price)


def _retraining(section: EconomicsSection, soft_labels: SoftLabels) -> float | None:
    price = section.machine_price_per_hour
    return None if price is None else minutes(section, soft_labels) / _MINUTES_PER_HOUR * price


def _pages(section: EconomicsSection) -> float | None:
    n, length, wage = section.pages_per_month, section.minutes_per_page, section.wage_per_hour
    return None if n is None or length is None or wage is None else n * length / _MINUTES_PER_HOUR * wage


def _uncertain(draws: Floats) -> Uncertain:
    found = percentile_interval(float(draws.mean()), draws)
    return Uncertain(
        mean=found.estimate, low=found.low, high=found.high, probability_positive=float((draws > 0).mean())
    )
