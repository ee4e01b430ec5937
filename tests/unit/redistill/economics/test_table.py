"""The design's economics, row by row, at its unit costs and at a thousand times these.

The exact amounts are computed again in fractions, the intervals by formulas or integrals that the product
does not use.
"""

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from redistill.economics.monitoring import Schedule, monitoring
from redistill.economics.month import Month, break_even, month, offline_from_runs
from redistill.economics.outcomes import CRITICAL, LATE, LOW_COST, RIGHT, configured
from redistill.economics.settings import EconomicsSection

FACTORS = (1, 1_000)
K, MISROUTES, U = Fraction(1_400_000, 10_000), 160, Fraction(13, 1_000)


def costs(factor: int) -> tuple[Fraction, Fraction]:
    return Fraction(38 * factor, 1_000), Fraction(16 * factor, 1_000)


def section(factor: int) -> EconomicsSection:
    teacher, student = map(float, costs(factor))
    return EconomicsSection(cost_per_10k_teacher=teacher, cost_per_10k_student=student)


def the_month(factor: int) -> Month:
    rng = np.random.default_rng(2025)
    own = section(factor)
    return month(own, configured(own, rng), monitoring=0.0, soft_labels="online", rng=rng)


def test_the_defaults_are_the_designs() -> None:
    assert section(1) == EconomicsSection()


@pytest.mark.parametrize(("factor", "printed"), [(1, (5.32, 2.24, 3.08)), (1_000, (5_320, 2_240, 3_080))])
def test_inference_and_saving(factor: int, printed: tuple[float, float, float]) -> None:
    found = the_month(factor)
    teacher, student = costs(factor)
    exact = (K * teacher, K * student, K * (teacher - student))
    assert (found.teacher, found.student, found.saving) == pytest.approx(tuple(map(float, exact)), rel=1e-12)
    assert tuple(map(float, exact)) == printed


@pytest.mark.parametrize("factor", FACTORS)
def test_harm_paired_and_unpaired(factor: int) -> None:
    """Paired: of 5,500 rows 110 are right for the teacher only, and 22 for the student only."""
    found, unit = the_month(factor), float(K * U)
    assert found.harm.estimate == pytest.approx(float(K * MISROUTES * U), rel=1e-12) == 291.20
    paired = np.repeat([1, -1, 0], [110, 22, 5_500 - 132]).std() / np.sqrt(5_500) * 10_000
    p, q = 0.921, 0.905
    unpaired = np.sqrt((p * (1 - p) + q * (1 - q)) / 5_500) * 10_000
    for interval, error in ((found.harm, paired), (found.harm_unpaired, unpaired)):
        bounds = stats.norm(160, error).interval(0.95)
        assert (interval.low, interval.high) == pytest.approx(tuple(unit * each for each in bounds))
    assert (round(found.harm.low), round(found.harm.high)) == (217, 365)
    assert (round(found.harm_unpaired.low), round(found.harm_unpaired.high)) == (100, 483)


@pytest.mark.parametrize(("factor", "printed"), [(1, -288.12), (1_000, 2_788.80)])
def test_net_of_harm_of_a_month_and_a_year(factor: int, printed: float) -> None:
    teacher, student = costs(factor)
    exact = K * (teacher - student) - K * MISROUTES * U
    assert the_month(factor).net_of_harm == pytest.approx(float(exact), rel=1e-12) == pytest.approx(printed)
    assert round(12 * the_month(factor).net_of_harm) == {1: -3_457, 1_000: 33_466}[factor]


@pytest.mark.parametrize(
    ("factor", "printed", "above_zero"),
    [(1, (-337, -558, -171), 0), (1_000, (2_740, 2_519, 2_906), 1)],
)
def test_net_of_harm_at_an_uncertain_cost_of_a_misroute(
    factor: int, printed: tuple[float, float, float], above_zero: int
) -> None:
    """The bounds are roots of the distribution function of a normal times a triangular variable."""
    found = the_month(factor).net_of_harm_drawn
    saving = float(K * (costs(factor)[0] - costs(factor)[1]))
    low, mode, high = EconomicsSection().harm_costs
    assert (low, mode, high) == (0.0065, 0.013, 0.026)
    price = stats.triang(loc=low, scale=high - low, c=(mode - low) / (high - low))
    misroutes = stats.norm(160, np.sqrt(0.024 - 0.016**2) / np.sqrt(5_500) * 10_000)

    def below(harm: float) -> float:
        def at(u: float) -> float:
            return float(misroutes.cdf(harm / (float(K) * u)) * price.pdf(u))

        return integrate.quad(at, low, high, points=[mode])[0]

    exact = [saving - optimize.brentq(lambda h, p=p: below(h) - p, 1, 2_000) for p in (0.975, 0.025)]
    assert found.mean == pytest.approx(saving - float(K) * 160 * price.mean(), abs=1.5)
    assert (found.low, found.high) == pytest.approx(exact, abs=3)
    assert (found.mean, found.low, found.high) == pytest.approx(printed, abs=2)
    assert found.probability_positive == pytest.approx(above_zero, abs=1e-4)


@pytest.mark.parametrize(
    ("factor", "printed"), [(1, ("2.08", "0.0001375", "1.69")), (1_000, ("2.08", "0.1375", "1692"))]
)
def test_break_even(factor: int, printed: tuple[str, str, str]) -> None:
    own = section(factor)
    found = break_even(own, configured(own, np.random.default_rng(0)))
    saving = costs(factor)[0] - costs(factor)[1]
    exact = tuple(map(float, (MISROUTES * U, saving / MISROUTES, saving / U)))
    assert (found.saving_per_10k, found.harm_cost, found.misroutes) == pytest.approx(exact, rel=1e-12)
    assert (
        tuple(f"{each:.{n}g}" for each, n in zip(exact, (3, 4, 3 if factor == 1 else 4), strict=True))
        == printed
    )


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(
    ("cycles", "sample_size", "printed"),
    [(720, 10_000, "7.56"), (720, 1_000, "3.89"), (120, 1_000, "0.65"), (30, 1_000, "0.16")],
    ids=["hourly census", "hourly 1,000", "6-hourly 1,000", "daily 1,000"],
)
def test_the_cost_of_monitoring(factor: int, cycles: int, sample_size: int, printed: str) -> None:
    scored = min(Fraction(sample_size), Fraction(1_400_000, cycles))
    exact = cycles * scored / 10_000 * sum(costs(factor))
    found = monitoring(section(factor), hourly(cycles=cycles, sample_size=sample_size))
    assert found.cost == pytest.approx(float(exact), rel=1e-12)
    assert f"{float(exact) / factor:.2f}" == printed
    assert found.pays == (exact <= K * (costs(factor)[0] - costs(factor)[1]))


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize(("is_recorded", "printed"), [(False, "0.407"), (True, "0.579")])
def test_the_share_of_requests_whose_scoring_costs_the_saving(
    factor: int,
    is_recorded: bool,  # noqa: FBT001 - a parameter of the test
    printed: str,
) -> None:
    found = monitoring(section(factor), hourly(is_recorded=is_recorded))
    exact = Fraction(22, 38) if is_recorded else Fraction(22, 54)
    assert found.break_even_share == pytest.approx(float(exact), rel=1e-12)
    assert f"{found.break_even_share:.3f}" == printed


def test_counts_without_a_joint_count_differ_unpaired() -> None:
    found = configured(EconomicsSection(), np.random.default_rng(0))
    critical = found[CRITICAL].extra
    assert (round(critical.estimate), round(critical.low), round(critical.high)) == (11, -6, 28)
    assert [found[name].paired for name in (RIGHT, LOW_COST, CRITICAL, LATE)] == [True, False, False, False]
    assert [found[name].extra.estimate for name in (LOW_COST, LATE)] == [100, -3]
    for name in (LOW_COST, CRITICAL, LATE):
        shares = [each.estimate / 10_000 for each in (found[name].teacher, found[name].student)]
        error = 100 * np.sqrt(sum(share * (1 - share) for share in shares))
        bounds = stats.norm(found[name].extra.estimate, error).interval(0.95)
        assert (found[name].extra.low, found[name].extra.high) == pytest.approx(bounds)


def test_stored_soft_labels_pay_from_1_6_runs_of_a_teacher_version() -> None:
    assert offline_from_runs(EconomicsSection()) == 1.6
    assert offline_from_runs(EconomicsSection(minutes_offline=24)) is None


def hourly(*, cycles: int = 720, sample_size: int = 10_000, is_recorded: bool = False) -> Schedule:
    return Schedule(
        cycles_per_month=cycles, sample_size=sample_size, min_samples=1_000, student_is_recorded=is_recorded
    )


PRICES: tuple[tuple[str, dict[str, float], Callable[[Month], float | None], Fraction], ...] = (
    (
        "critical",
        {"critical_cost": 2},
        lambda m: None if m.critical is None else m.critical.estimate,
        K * 11 * 2,
    ),
    ("latency", {"late_cost": 2}, lambda m: None if m.late is None else m.late.estimate, K * -3 * 2),
    ("retraining", {"machine_price_per_hour": 5}, lambda m: m.retraining, Fraction(30, 7) * 24 / 60 * 5),
    (
        "pages",
        {"pages_per_month": 4, "minutes_per_page": 30, "wage_per_hour": 60},
        lambda m: m.pages,
        Fraction(120),
    ),
)


@pytest.mark.parametrize(
    ("keys", "amount", "exact"), [each[1:] for each in PRICES], ids=[each[0] for each in PRICES]
)
def test_a_price_adds_its_amount_to_the_net(
    keys: dict[str, float], amount: Callable[[Month], float | None], exact: Fraction
) -> None:
    """Nothing is priced by default; fewer late answers of the student are a gain."""
    assert amount(the_month(1)) is None
    own = EconomicsSection.model_validate(keys)
    rng = np.random.default_rng(2025)
    found = month(own, configured(own, rng), monitoring=7.56, soft_labels="online", rng=rng)
    assert amount(found) == pytest.approx(float(exact))
    assert found.net == pytest.approx(-288.12 - 7.56 - float(exact))
    assert found.net_drawn.mean == pytest.approx(found.net_of_harm_drawn.mean - 7.56 - float(exact), abs=20)


def test_offline_runs_are_shorter_and_store_soft_labels_once_for_each_teacher() -> None:
    own = EconomicsSection(machine_price_per_hour=60, teachers_per_month=2)
    rng = np.random.default_rng(0)
    found = month(own, configured(own, rng), monitoring=0, soft_labels="offline", rng=rng)
    assert found.retraining == pytest.approx(float(Fraction(30, 7) * 19 + 2 * 8))
