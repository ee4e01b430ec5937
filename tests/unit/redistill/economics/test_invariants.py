"""Truths about the economics of any service."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redistill.economics.monitoring import Schedule, best_interval_hours, monitoring
from redistill.economics.month import Month, break_even, month, offline_from_runs, saving_per_10k
from redistill.economics.outcomes import RIGHT, configured
from redistill.economics.settings import EconomicsSection

prices = st.integers(0, 10**9).map(lambda millionths: millionths / 10**6)
shares = st.integers(0, 10_000)
sections = st.builds(
    EconomicsSection,
    requests_per_month=st.integers(1, 10**9),
    cost_per_10k_teacher=prices,
    cost_per_10k_student=prices,
    harm_cost=prices,
    right=st.tuples(shares, shares),
    discordant=st.just(10_000),
)
schedules = st.builds(
    Schedule,
    cycles_per_month=st.floats(1, 43_200),
    sample_size=st.integers(1_000, 100_000),
    min_samples=st.integers(1, 1_000),
    student_is_recorded=st.booleans(),
)


def the_month(section: EconomicsSection) -> Month:
    rng = np.random.default_rng(7)
    return month(section, configured(section, rng), monitoring=0.0, soft_labels="online", rng=rng)


@settings(max_examples=25, deadline=None)
@given(section=sections, times=st.integers(2, 50))
def test_amounts_grow_with_the_number_of_requests(section: EconomicsSection, times: int) -> None:
    one = the_month(section)
    more = the_month(section.model_copy(update={"requests_per_month": times * section.requests_per_month}))
    for name in ("teacher", "student", "saving", "net_of_harm"):
        assert getattr(more, name) == pytest.approx(times * getattr(one, name), rel=1e-9, abs=1e-6)
    assert more.harm.high == pytest.approx(times * one.harm.high, rel=1e-9, abs=1e-6)
    drawn, drawn_more = one.net_of_harm_drawn, more.net_of_harm_drawn
    assert drawn_more.low == pytest.approx(times * drawn.low, rel=1e-9, abs=1e-6)
    assert drawn_more.probability_positive == pytest.approx(drawn.probability_positive, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(section=sections)
def test_bounds_are_around_the_estimate_and_a_chance_is_a_share(section: EconomicsSection) -> None:
    found = the_month(section)
    for interval in (found.harm, found.harm_unpaired):
        assert interval.low <= interval.estimate <= interval.high
    for drawn in (found.net_of_harm_drawn, found.net_drawn):
        assert drawn.low <= drawn.high
        assert 0 <= drawn.probability_positive <= 1


@settings(max_examples=30, deadline=None)
@given(section=sections)
def test_at_a_break_even_the_net_of_harm_is_0(section: EconomicsSection) -> None:
    found = break_even(section, configured(section, np.random.default_rng(7)))
    scale = section.requests_per_month * 10.0
    if found.saving_per_10k >= 0:
        teacher = section.cost_per_10k_student + found.saving_per_10k
        at_saving = section.model_copy(update={"cost_per_10k_teacher": teacher})
        assert the_month(at_saving).net_of_harm / scale == pytest.approx(0, abs=1e-9)
    if found.harm_cost is not None:
        keys = {
            "harm_cost": found.harm_cost,
            "harm_cost_low": found.harm_cost,
            "harm_cost_high": found.harm_cost,
        }
        assert the_month(section.model_copy(update=keys)).net_of_harm / scale == pytest.approx(0, abs=1e-9)
    if found.misroutes is not None:
        rng = np.random.default_rng(7)
        outcomes = dict(configured(section, rng))
        extra = replace(outcomes[RIGHT].extra, estimate=-found.misroutes)
        outcomes[RIGHT] = replace(outcomes[RIGHT], extra=extra)
        at_misroutes = month(section, outcomes, monitoring=0.0, soft_labels="online", rng=rng)
        assert at_misroutes.net_of_harm / scale == pytest.approx(0, abs=1e-9)


@settings(max_examples=50)
@given(section=sections, schedule=schedules)
def test_the_recommended_schedule_costs_at_most_the_saving(
    section: EconomicsSection, schedule: Schedule
) -> None:
    found = monitoring(section, schedule)
    assert 0 <= found.break_even_share <= 1
    if found.sample_size is None or found.interval_hours is None:
        assert saving_per_10k(section) <= 0
        return
    assert schedule.min_samples <= found.sample_size <= schedule.sample_size
    assert found.interval_hours >= schedule.hours * (1 - 1e-9)
    own = replace(schedule, cycles_per_month=720 / found.interval_hours, sample_size=found.sample_size)
    again = monitoring(section, own)
    assert again.cost <= found.saving * (1 + 1e-9)
    assert again.scored_per_cycle == pytest.approx(found.sample_size)


@given(
    cost=st.floats(1e-4, 10),
    drifts=st.floats(0.01, 10),
    misroutes=st.floats(1, 5_000),
    factor=st.sampled_from([0.5, 0.9, 1.1, 2.0]),
)
def test_no_other_interval_costs_less_than_the_best_one(
    cost: float, drifts: float, misroutes: float, factor: float
) -> None:
    section = EconomicsSection(drifts_per_month=drifts, drift_misroutes=misroutes)
    best = best_interval_hours(section, cost)
    assert best is not None

    def total(hours: float) -> float:
        months = hours / 720
        harm = 140 * misroutes * 0.013
        return cost / months + drifts * harm * 3 * months

    assert total(best) <= total(factor * best) * (1 + 1e-12)


def test_the_best_interval_needs_drifts_and_their_harm() -> None:
    lacking: tuple[dict[str, float], ...] = ({}, {"drifts_per_month": 1.0}, {"drift_misroutes": 500.0})
    for keys in lacking:
        assert best_interval_hours(EconomicsSection.model_validate(keys), 0.0054) is None
    free = EconomicsSection(drifts_per_month=1, drift_misroutes=500, harm_cost=0)
    assert best_interval_hours(free, 0.0054) is None


@given(once=st.floats(0, 100), online=st.floats(0, 100), offline=st.floats(0, 100), runs=st.integers(1, 50))
def test_stored_soft_labels_save_time_exactly_above_their_break_even(
    once: float, online: float, offline: float, runs: int
) -> None:
    section = EconomicsSection(minutes_soft_labels=once, minutes_online=online, minutes_offline=offline)
    found = offline_from_runs(section)
    gain = runs * (online - offline) - once
    if abs(gain) > 1e-6:
        assert (gain > 0) == (found is not None and runs > found)
