"""The variation of the agreement between cycles: estimated from a history, and what it means for alarms."""

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from numpy.typing import NDArray

from db.records import CyclePoint
from monitor.intervals import wilson
from tests.support.records.factories import STUDENT, make_point
from triggers.rules.dispersion import ENOUGH, Dispersion, estimate
from triggers.rules.operating_characteristic import CYCLES, delay, false_alarm
from triggers.settings import DEFAULT_RULES

R1 = DEFAULT_RULES[0]
N = 1_000
DAY = tuple((0.010 * np.sin(np.arange(24) / 24 * 2 * np.pi)).tolist())


def process(sd: float = 0.0, autocorrelation: float = 0.0, profile: tuple[float, ...] = ()) -> Dispersion:
    return Dispersion(sd=sd, autocorrelation=autocorrelation, profile=profile, n_cycles=0)


def history(
    course: NDArray[np.float64], rng: np.random.Generator, *, student: str = STUDENT
) -> list[CyclePoint]:
    counts = rng.binomial(N, 1 - course).tolist()
    return [make_point(i, n=N, disagreements=k, student_version=student) for i, k in enumerate(counts)]


def simulated(varying: Dispersion, mean: float, rng: np.random.Generator) -> float:
    """Return the share of 1,000 histories of 1,000 cycles in which three in a row are breached."""
    breached = rng.binomial(N, 1 - varying.paths(mean, CYCLES, 1_000, rng)) > N // 20
    return float((breached[:, 2:] & breached[:, 1:-1] & breached[:, :-2]).any(axis=1).mean())


def test_a_constant_rate_would_be_wrong_by_orders_of_magnitude() -> None:
    rng, varying = np.random.default_rng(2025), process(sd=0.006, autocorrelation=0.5)
    constant = false_alarm(R1, make_point(n=N), 0.965, wilson, rng=rng).probability
    assert constant < 1e-3
    assert simulated(varying, 0.965, rng) > 0.1


def test_the_process_is_found_again() -> None:
    rng = np.random.default_rng(2025)
    (course,) = process(sd=0.008, autocorrelation=0.7, profile=DAY).paths(0.96, 6_000, 1, rng)
    found = estimate(history(course, rng))
    assert found is not None
    assert found.sd == pytest.approx(0.008, rel=0.1)
    assert found.autocorrelation == pytest.approx(0.7, abs=0.07)
    assert found.profile_sd == pytest.approx(0.010 / math.sqrt(2), rel=0.1)
    assert found.n_cycles == 6_000


def test_chance_alone_is_no_variation() -> None:
    """In 19 of 20 constant histories nothing is found, as the test has a level of 0.05."""
    rng = np.random.default_rng(2025)
    found = [estimate(history(np.full(200, 0.96), rng)) for _ in range(100)]
    assert sum(each is not None and each.is_constant for each in found) >= 90


def test_each_pair_of_models_has_its_own_mean() -> None:
    rng = np.random.default_rng(2025)
    first = history(np.full(200, 0.97), rng)
    second = [
        replace(point, window_end=point.window_end + timedelta(hours=200))
        for point in history(np.full(200, 0.94), rng, student="student-2")
    ]
    found = estimate([*first, *second])
    assert found is not None
    assert found.is_constant


def test_cycles_of_an_alarm_are_left_out() -> None:
    rng = np.random.default_rng(2025)
    points = history(np.repeat([0.97, 0.90, 0.97], [100, 20, 100]), rng)
    drift = {point.window_end for point in points[100:120]}
    whole, rest = estimate(points), estimate(points, drift)
    assert whole is not None
    assert rest is not None
    assert whole.sd > 0.01
    assert rest.is_constant


@pytest.mark.parametrize("n", [0, ENOUGH - 1])
def test_of_few_cycles_nothing_is_said(n: int) -> None:
    assert estimate(history(np.full(n, 0.96), np.random.default_rng(1))) is None


def test_cycles_without_a_verdict_or_a_size_do_not_count() -> None:
    points = history(np.full(ENOUGH, 0.96), np.random.default_rng(1))
    assert estimate([*points[:-1], replace(points[-1], n=None)]) is None


def test_histories_without_any_disagreement_are_constant() -> None:
    found = estimate(history(np.ones(100), np.random.default_rng(1)))
    assert found is not None
    assert found.is_constant


def test_courses_are_shares() -> None:
    courses = process(sd=0.5, autocorrelation=0.9).paths(0.97, 500, 20, np.random.default_rng(1))
    assert courses.shape == (20, 500)
    assert courses.min() >= 0
    assert courses.max() <= 1


def test_a_delay_where_the_agreement_varies() -> None:
    """At 0.945 a variation makes three breaches in a row come later."""
    rng = np.random.default_rng(2025)
    varying = process(sd=0.006, autocorrelation=0.5)
    breached = rng.binomial(N, 1 - varying.paths(0.945, CYCLES, 2_000, rng)) > N // 20
    in_a_row = breached[:, 2:] & breached[:, 1:-1] & breached[:, :-2]
    times = np.where(in_a_row.any(axis=1), in_a_row.argmax(axis=1) + 3, CYCLES)
    found = delay(R1, make_point(n=N), 0.945, wilson, rng, varying=varying)
    error = math.hypot(found.error, float(times.std()) / math.sqrt(len(times)))
    assert found.mean == pytest.approx(times.mean(), abs=4 * error)
