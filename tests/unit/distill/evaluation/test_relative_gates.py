"""The relative gates: the changes from the incumbent, their results, and the error rates of the decision."""

import math
from typing import Final

import numpy as np
import pytest

from bench.simulated_candidates import Truth, decision, judged
from db.records import Evaluation, Metric
from db.states import GateResult
from distill.evaluation.comparison import (
    COST_CHANGE,
    CRITICAL_CHANGE,
    GAIN,
    RARE_GAIN,
    labelled_comparison,
)
from distill.evaluation.gates import TEST, check, passed, undecided
from distill.evaluation.power import half_width, power, rows_needed
from distill.evaluation.relative_gates import RELATIVE, relative_gates
from distill.settings import GatesSection
from monitor.settings import MetricsSection, Misroute

NAMES: Final = ["faq", "returns", "escalation"]
SETTINGS: Final = MetricsSection(
    rare_labels=("escalation",),
    misroutes=(Misroute(true="escalation", predicted="*", cost=5.0, critical=True),),
    misroute_cost=2.0,
)
METRICS: Final = (GAIN, RARE_GAIN, CRITICAL_CHANGE, COST_CHANGE)


def measured(metric: str, low: float, value: float, high: float) -> dict[str, Metric]:
    return {metric: Metric(name=metric, value=value, low=low, high=high, n=5_500)}


def result(metric: str, low: float, value: float, high: float) -> GateResult:
    (outcome,) = relative_gates(TEST, measured(metric, low, value, high), margin=0.01, misroute_cost=2.0)
    return outcome.result


#: The interval of a change for the better, its ends and its value; the margin is 0.01.
CHANGES: Final = {
    "better": (0.01, 0.02, 0.03, "pass"),
    "the worse bound is at the margin": (-0.01, 0.0, 0.01, "pass"),
    "the worse bound is beyond it": (-0.0101, 0.0, 0.01, "inconclusive"),
    "surely worse, and surely within the margin": (-0.009, -0.005, -0.001, "pass"),
    "surely worse, and probably within the margin": (-0.015, -0.008, -0.001, "inconclusive"),
    "surely worse, and probably by more": (-0.02, -0.0101, -0.0002, "worse"),
    "perhaps not worse at all": (-0.04, -0.02, 0.0, "inconclusive"),
    "worse by the margin, at most": (-0.03, -0.02, -0.01, "worse"),
    "surely worse by more than the margin": (-0.03, -0.02, -0.0101, "fail"),
    "not measured": (math.nan, math.nan, math.nan, "fail"),
}


@pytest.mark.parametrize(("low", "value", "high", "expected"), CHANGES.values(), ids=CHANGES)
def test_a_gain_is_held_against_the_margin_by_its_whole_interval(
    low: float, value: float, high: float, expected: str
) -> None:
    """And a change of the cost in the same way, the other way round and in its own unit."""
    assert {result(name, low, value, high) for name in (GAIN, RARE_GAIN)} == {GateResult(expected)}
    assert result(COST_CHANGE, -2 * high, -2 * value, -2 * low) == expected


@pytest.mark.parametrize(
    ("low", "value", "high", "expected"),
    [
        (-0.004, 0.001, 0.006, "pass"),
        (-0.002, 0.005, 0.012, "inconclusive"),
        (0.0, 0.006, 0.012, "inconclusive"),
        (0.0001, 0.001, 0.002, "fail"),
    ],
)
def test_no_increase_of_critical_misroutes_is_tolerated(
    low: float, value: float, high: float, expected: str
) -> None:
    """The margin only says how large an increase the test set has to rule out."""
    assert result(CRITICAL_CHANGE, low, value, high) == expected


def test_the_changes_are_those_of_the_same_rows() -> None:
    """Of 8 rows the candidate alone is right on 2, the incumbent alone on 1, which is rare and critical."""
    labels = np.array([0, 0, 1, 1, 2, 2, 0, 1])
    candidate = np.array([0, 0, 1, 1, 2, 0, 0, 0])
    incumbent = np.array([1, 0, 1, 0, 2, 2, 0, 0])
    logits = (np.eye(3)[candidate], np.eye(3)[incumbent])
    found = {each.name: each for each in labelled_comparison(*logits, labels, NAMES, SETTINGS)}
    assert tuple(found) == METRICS
    assert (found[GAIN].value, found[GAIN].n) == (pytest.approx(1 / 8), 8)
    assert (found[RARE_GAIN].value, found[RARE_GAIN].n) == (pytest.approx(-1 / 2), 2)
    assert found[CRITICAL_CHANGE].value == pytest.approx(1 / 8)
    assert found[COST_CHANGE].value == pytest.approx((5.0 - 2 * 2.0) / 8)


def test_a_model_has_no_change_from_itself() -> None:
    rng = np.random.default_rng(2025)
    logits, labels = rng.normal(size=(500, 3)), rng.integers(0, 3, size=500)
    for metric in labelled_comparison(logits, logits, labels, NAMES, SETTINGS):
        assert metric.low <= metric.value == 0 <= metric.high


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        (MetricsSection(), [GAIN]),
        (MetricsSection(misroutes=(Misroute(true="faq", predicted="*", cost=3.0),)), [GAIN, COST_CHANGE]),
    ],
)
def test_without_rare_labels_or_critical_misroutes_their_gates_do_not_apply(
    settings: MetricsSection, names: list[str]
) -> None:
    labels = np.zeros(100, dtype=np.int64)
    logits = np.eye(3)[labels]
    metrics = labelled_comparison(logits, logits, labels, NAMES, settings)
    assert [metric.name for metric in metrics] == names
    outcomes = check(GatesSection(), [Evaluation(dataset=TEST, metrics=metrics)])
    gates = [outcome.metric for outcome in outcomes if outcome.gate in RELATIVE]
    assert gates == names


def test_a_margin_that_is_off_is_no_gate() -> None:
    section = GatesSection.model_validate({"margin": "off"})
    found = check(section, [Evaluation(dataset=TEST, metrics=(*measured(GAIN, -0.1, -0.1, -0.1).values(),))])
    assert not {outcome.gate for outcome in found} & {*RELATIVE}


def test_a_person_decides_on_a_worse_candidate_whatever_the_configuration_says() -> None:
    found = relative_gates(TEST, measured(GAIN, -0.02, -0.0101, -0.0002), margin=0.01, misroute_cost=1)
    assert passed(found)
    assert undecided(found, "pass") == undecided(found, "hold") == found


def test_the_detail_of_an_inconclusive_gate_says_which_test_set_would_decide() -> None:
    (outcome,) = relative_gates(TEST, measured(GAIN, -0.02, -0.005, 0.01), margin=0.01, misroute_cost=1)
    assert outcome.detail == (
        "-0.005 [-0.02, +0.01] from the incumbent on 5,500 rows; an equal candidate passes on these in 26% "
        "of cases, on 33,849 rows in 90%"
    )


@pytest.mark.parametrize("n", [300, 2_000, 20_000])
def test_the_power_is_the_share_of_equal_candidates_that_pass(n: int) -> None:
    rng = np.random.default_rng(2025)
    truth = Truth(incumbent=0.92, difference=0.0)
    results = [
        [each.result for each in judged(truth, rng, rows=n) if each.gate == "relative_accuracy"]
        for _ in range(400)
    ]
    share = np.mean([found == [GateResult.PASS] for found in results])
    assert share == pytest.approx(power(half_width(0.05, n), 0.01), abs=0.06)


def test_the_rows_that_are_needed_have_the_power() -> None:
    needed = rows_needed(500, half_width(0.04, 500), 0.005)
    assert needed is not None
    assert power(half_width(0.04, needed), 0.005) == pytest.approx(0.9, abs=1e-3)
    assert rows_needed(500, half_width(0.04, 500), 0.0) is None
    assert power(0.0, 0.01) == 1


@pytest.mark.parametrize(("difference", "least", "most"), [(-0.02, 0.0, 0.01), (0.0, 0.90, 1.0)])
def test_the_defaults_promote_an_equal_candidate_and_no_worse_one(
    difference: float, least: float, most: float
) -> None:
    """On the 5,500 test rows of the design, 700 of them rare; `make bench-decisions` draws 4,000."""
    rng = np.random.default_rng(2025)
    truth = Truth(incumbent=0.92, difference=difference)
    promoted = [decision(judged(truth, rng, rare=700), "pass") == "promoted" for _ in range(400)]
    assert least <= np.mean(promoted) <= most
