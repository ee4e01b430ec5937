"""What is expected of a rule: against closed forms, all histories enumerated, dense algebra, and replays."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from db.records import CyclePoint, StratumCount
from monitor.intervals import wilson
from monitor.strata import effective
from tests.support.records.factories import make_point
from triggers.rules.breach_chain import alarm_within, fired_by, mean_delay
from triggers.rules.dispersion import Dispersion
from triggers.rules.evaluation import replay
from triggers.rules.observation import effective_size, strata_of
from triggers.rules.operating_characteristic import (
    CYCLES,
    Alarm,
    breach_probability,
    delay,
    false_alarm,
    unknown,
)
from triggers.rules.sequential import Stratum
from triggers.settings import DEFAULT_RULES, Rule

R1, R2 = DEFAULT_RULES
RNG = np.random.default_rng(2025)
CHANCES = st.floats(0.01, 0.99)
WINDOWS = st.integers(1, 6).flatmap(lambda window: st.tuples(st.integers(1, window), st.just(window)))


def rule(**fields: Any) -> Rule:  # noqa: ANN401 - any key of a rule
    return Rule.model_validate({"name": "r", "metric": "agreement", "below": "0.95", **fields})


def of(wanted: int, window: int) -> Rule:
    return rule(for_cycles=wanted, of_cycles=window)


@given(CHANCES, st.integers(1, 2_000))
def test_one_cycle_is_a_geometric_wait(breach: float, cycles: int) -> None:
    assert alarm_within(rule(), breach, cycles) == pytest.approx(1 - (1 - breach) ** cycles)
    assert mean_delay(rule(), breach) == pytest.approx(1 / breach)


@given(st.floats(1e-9, 1), st.integers(1, 20))
def test_a_run_takes_as_long_as_its_closed_form_says(breach: float, wanted: int) -> None:
    expected = math.fsum(breach**-length for length in range(1, wanted + 1))
    assert mean_delay(rule(for_cycles=wanted), breach) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("wanted", "window"), [(2, 2), (1, 3), (2, 3), (2, 4), (3, 4), (2, 5), (3, 5)])
def test_all_histories_of_nine_cycles_enumerated(wanted: int, window: int) -> None:
    """The probability of those at whose end the rule itself has fired once."""
    cycles, breach = 9, 0.3
    bad, good = ([make_point(i, disagreements=k) for i in range(cycles)] for k in (600, 100))
    total = 0.0
    for breached in product((True, False), repeat=cycles):
        points = [bad[i] if each else good[i] for i, each in enumerate(breached)]
        if any(outcome.fired for outcome in replay(of(wanted, window), points)):
            total += math.prod(breach if each else 1 - breach for each in breached)
    assert alarm_within(of(wanted, window), breach, cycles) == pytest.approx(total, rel=1e-12)


@given(WINDOWS, st.floats(0.1, 0.99))
def test_m_of_n_solves_the_equations_of_all_its_states(ask: tuple[int, int], breach: float) -> None:
    """One for each way in which the last N - 1 cycles can have gone: x = 1 + P x."""
    wanted, window = ask
    ways = list(product((0, 1), repeat=window - 1))
    number = {way: index for index, way in enumerate(ways)}
    moves = np.zeros((len(ways), len(ways)))
    for way in ways:
        for bit, chance in ((1, breach), (0, 1 - breach)):
            if not bit or sum(way) + 1 < wanted:
                moves[number[way], number[(*way, bit)[1:]]] += chance
    expected = np.linalg.solve(np.eye(len(ways)) - moves, np.ones(len(ways)))[0]
    assert mean_delay(of(wanted, window), breach) == pytest.approx(expected, rel=1e-8)


@given(WINDOWS, CHANCES, CHANCES)
def test_more_breaches_and_more_cycles_mean_more_alarms(
    ask: tuple[int, int], one: float, other: float
) -> None:
    less, more = sorted((one, other))
    assert alarm_within(of(*ask), less, 50) <= alarm_within(of(*ask), more, 50) + 1e-12
    assert alarm_within(of(*ask), more, 50) <= alarm_within(of(*ask), more, 51)
    assert mean_delay(of(*ask), less) >= mean_delay(of(*ask), more) * (1 - 1e-12)


def test_what_never_happens_takes_for_ever_and_what_always_does_as_long_as_is_asked_for() -> None:
    assert mean_delay(of(3, 5), 0.0) == math.inf
    assert alarm_within(of(3, 5), 0.0) == 0
    assert mean_delay(of(3, 5), 1.0) == 3
    assert alarm_within(of(3, 5), 1.0, 2) == 0
    assert alarm_within(of(3, 5), 1.0, 3) == 1


@given(
    n=st.integers(1, 80),
    agreement=st.floats(0, 1),
    threshold=st.integers(0, 100),
    mode=st.sampled_from(["point", "interval"]),
)
def test_a_breach_is_what_the_rule_calls_one_at_every_count(
    n: int, agreement: float, threshold: int, mode: str
) -> None:
    """A tie is none, and at n / 20 disagreements there is one."""
    bound = threshold / 100
    breached = [
        100 * (n - k) < threshold * n if mode == "point" else wilson(n - k, n).high < bound
        for k in range(n + 1)
    ]
    expected = binom.pmf(np.arange(n + 1), n, 1 - agreement) @ np.array(breached)
    found = breach_probability(rule(below=str(bound), mode=mode), n, agreement, wilson)
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_simulation_agrees_with_the_chain() -> None:
    rng = np.random.default_rng(2025)
    n, agreement, histories = 1_000, 0.96, 4_000
    breached = rng.binomial(n, 1 - agreement, size=(histories, CYCLES)) > n // 20
    fired = (breached[:, 2:] & breached[:, 1:-1] & breached[:, :-2]).any(axis=1).mean()
    assert fired == pytest.approx(
        false_alarm(R1, make_point(n=n), agreement, wilson, rng=rng).probability, abs=0.02
    )


UNIFORM = make_point(n=1_000)
STRATIFIED = replace(
    make_point(n=1_000),
    strata=(
        StratumCount(n_seen=90_000, n=600, disagreements=0),
        StratumCount(n_seen=10_000, n=400, disagreements=0),
    ),
)


def drawn(typical: CyclePoint, index: int, agreement: float, rng: np.random.Generator) -> CyclePoint:
    """A cycle like the typical one, with disagreements by chance, the same in all strata."""
    strata = tuple(
        replace(each, disagreements=int(rng.binomial(each.n, 1 - agreement))) for each in typical.strata
    )
    count = int(rng.binomial(typical.n or 0, 1 - agreement))
    n = typical.n or 0
    point = make_point(index, n=n, disagreements=count)
    return replace(point, strata=strata, intervals={"agreement": wilson(n - count, n)})


def replayed_delay(of_rule: Rule, typical: CyclePoint, agreement: float, *, histories: int) -> np.ndarray:
    """The cycles to the first alarm, as the rule itself says over histories of 60 cycles."""
    rng = np.random.default_rng(2026)
    found = []
    for _ in range(histories):
        points = (drawn(typical, index, agreement, rng) for index in range(60))
        found.append(next(i for i, each in enumerate(replay(of_rule, list(points)), start=1) if each.fired))
    return np.array(found)


@pytest.mark.parametrize(
    ("of_rule", "typical", "agreement"),
    [
        (R1, UNIFORM, 0.94),
        (rule(mode="interval", clear="0.97", cooldown="9h"), UNIFORM, 0.935),
        (rule(for_cycles=2, of_cycles=4, mode="interval"), UNIFORM, 0.935),
        (rule(mode="sequential"), UNIFORM, 0.93),
        (rule(mode="sequential"), STRATIFIED, 0.92),
        (rule(mode="sequential", false_alarm_rate=10), replace(UNIFORM, strata=STRATIFIED.strata[:1]), 0.92),
    ],
    ids=["point", "interval", "2 of 4", "sequential", "stratified", "a larger budget"],
)
def test_the_mean_delay_is_that_of_replays(of_rule: Rule, typical: CyclePoint, agreement: float) -> None:
    replayed = replayed_delay(of_rule, typical, agreement, histories=60)
    expected = delay(of_rule, typical, agreement, wilson, np.random.default_rng(1))
    error = math.hypot(float(replayed.std(ddof=1)) / math.sqrt(replayed.size), expected.error)
    assert not expected.is_least
    assert replayed.mean() == pytest.approx(expected.mean, abs=4 * error)


def test_of_evidence_there_is_the_guarantee_on_the_right_side_of_the_threshold() -> None:
    rng = np.random.default_rng(1)
    for agreement in (0.95, 0.974):
        found_alarm = false_alarm(rule(mode="sequential"), UNIFORM, agreement, wilson, rng=rng)
        assert found_alarm == Alarm(probability=0.05, is_most=True)
        found = delay(rule(mode="sequential"), UNIFORM, agreement, wilson, rng)
        assert (found.mean, found.is_least) == (20_000, True)
    assert false_alarm(rule(mode="sequential"), UNIFORM, 0.949, wilson, rng=rng).probability == 1


def test_a_drift_that_is_not_always_found_in_time_has_a_least_delay() -> None:
    small = rule(mode="sequential", below="0.9")
    found = delay(small, make_point(n=20), 0.89, wilson, np.random.default_rng(1))
    assert found.is_least
    assert 100 < found.mean <= CYCLES


def test_the_same_seed_gives_the_same_delay() -> None:
    first, second = (
        delay(rule(mode="sequential"), UNIFORM, 0.94, wilson, np.random.default_rng(7)) for _ in range(2)
    )
    assert first == second


def test_the_effective_size_is_that_of_the_interval() -> None:
    strata = strata_of(STRATIFIED)
    weights = np.repeat([each.weight for each in strata], [each.n for each in strata])
    assert effective_size(strata) == pytest.approx(effective(weights))
    assert effective_size([Stratum(weight=1.0, n=5_500, errors=0)]) == 5_500
    assert effective_size([]) == 0
    assert effective_size(strata) < 1_000
    n = round(effective_size(strata))
    first, second = (
        false_alarm(R1, typical, 0.96, wilson, rng=RNG) for typical in (STRATIFIED, make_point(n=n))
    )
    assert first == second


@pytest.mark.parametrize(
    ("of_rule", "said"),
    [
        (R1, None),
        (of(4, 24), None),
        (R2, "the spread of kl"),
        (rule(any=[{"metric": "kl", "above": "0.1"}] * 2, metric=None, below=None), "dependence between"),
        (rule(below=None, above="0.99"), "too high"),
        (of(12, 40), None),
        (rule(for_cycles=2_000), "2,000 cycles is longer"),
    ],
    ids=["r1", "m of n", "kl", "a group", "above", "many states", "too many cycles"],
)
def test_what_has_no_law_is_said(of_rule: Rule, said: str | None) -> None:
    found = unknown(of_rule)
    assert found is None if said is None else said in (found or "")


@pytest.mark.parametrize("ask", [mean_delay, alarm_within])
def test_a_rule_with_too_many_states_is_refused_with_its_name(ask: Callable[[Rule, float], float]) -> None:
    with pytest.raises(ValueError, match="rule 'r': 12 of 40"):
        ask(of(12, 40), 0.5)


def test_each_history_has_a_chain_of_its_own() -> None:
    rng = np.random.default_rng(2025)
    breach = rng.random((5, 40))
    together = fired_by(of(3, 5), breach)
    apart = [fired_by(of(3, 5), row[None])[0] for row in breach]
    assert together == pytest.approx(np.array(apart))
    assert (np.diff(together, axis=1) >= 0).all()


def test_a_rule_with_too_many_states_is_simulated_as_well_as_one_is_computed() -> None:
    """18 of 24 cycles have too many patterns."""
    rng = np.random.default_rng(2025)
    many = false_alarm(of(18, 24), make_point(n=1_000), 0.951, wilson, rng=rng)
    assert 0 < many.error < 0.02
    breach = breach_probability(R1, 1_000, 0.951, wilson)
    drawn = (rng.random((2_000, CYCLES)) < breach).cumsum(axis=1)
    drawn[:, 24:] -= drawn[:, :-24].copy()
    assert many.probability == pytest.approx((drawn >= 18).any(axis=1).mean(), abs=5 * many.error)
    found = delay(of(18, 24), make_point(n=1_000), 0.90, wilson, rng)
    assert found.mean == pytest.approx(18, abs=0.01)


def test_of_evidence_there_is_no_guarantee_where_the_agreement_varies() -> None:
    """Each course is simulated with the detector; replays of the whole rule agree."""
    varying = Dispersion(sd=0.006, autocorrelation=0.8, profile=(), n_cycles=500)
    sequential, rng = rule(mode="sequential"), np.random.default_rng(2025)
    wrong = rng.binomial(1_000, 1 - varying.paths(0.944, 200, 60, rng))
    times = [
        next(
            number
            for number, outcome in enumerate(
                replay(sequential, [make_point(i, n=1_000, disagreements=int(k)) for i, k in enumerate(row)]),
                start=1,
            )
            if outcome.fired
        )
        for row in wrong
    ]
    expected = delay(sequential, make_point(n=1_000), 0.944, wilson, rng, varying=varying)
    error = math.hypot(float(np.std(times, ddof=1)) / math.sqrt(len(times)), expected.error)
    assert np.mean(times) == pytest.approx(expected.mean, abs=4 * error)
