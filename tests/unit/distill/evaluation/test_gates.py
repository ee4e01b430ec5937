"""The gates: pass, waived, inconclusive or fail, each by the candidate's numbers and the incumbent's."""

import math
from fractions import Fraction
from typing import Any, Final, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import Evaluation, Metric
from db.states import GateResult
from distill.evaluation.comparison import AGREEMENT_GAIN, GAIN, OVER_TEACHER
from distill.evaluation.gates import (
    CONDEMNED,
    LATENCY_RATIOS,
    TEST,
    check,
    passed,
    undecided,
)
from distill.settings import GatesSection

GATES = GatesSection()
METRICS = {"ece": "ece_calibrated"}  #: of gates whose metric has another name
GOOD: dict[str, Any] = {
    "accuracy": 0.92,
    "rare_class_accuracy": 0.89,
    "ece": 0.04,
    "ece_debiased": 0.035,
    "ece_calibrated": 0.03,
    "ece_calibrated_debiased": 0.02,
    "latency_p95_ms": 4.0,
    "agreement": 0.97,
}


def evaluation(dataset: str = TEST, n: int = 5_500, **values: float) -> Evaluation:
    return Evaluation(
        dataset=dataset,
        metrics=tuple(
            Metric(name=name, value=value, low=value, high=value, n=n) for name, value in values.items()
        ),
    )


def failing(*evaluations: Evaluation) -> list[tuple[str, str]]:
    return [
        (outcome.dataset, outcome.gate)
        for outcome in check(GATES, evaluations, evaluations)
        if outcome.result is GateResult.FAIL
    ]


def test_a_candidate_on_the_right_side_of_every_gate_passes_all_six() -> None:
    outcomes = check(GATES, [evaluation(**GOOD), evaluation(CONDEMNED, agreement=0.96)])
    assert [(outcome.dataset, outcome.gate, outcome.threshold) for outcome in outcomes] == [
        (TEST, "accuracy", 0.905),
        (TEST, "rare_class_accuracy", 0.870),
        (TEST, "ece", 0.050),
        (TEST, "latency_p95_ms", 5.0),
        (TEST, "agreement", 0.95),
        (CONDEMNED, "agreement", 0.95),
    ]
    assert passed(outcomes)


@pytest.mark.parametrize(
    ("gate", "bad"),
    [
        ("accuracy", 0.9049),
        ("rare_class_accuracy", 0.8699),
        ("ece", 0.0501),
        ("latency_p95_ms", 5.01),
        ("agreement", 0.9499),
    ],
)
def test_a_candidate_on_the_wrong_side_of_one_gate_fails_that_gate_alone(gate: str, bad: float) -> None:
    worse = {**GOOD, METRICS.get(gate, gate): bad}
    slower: dict[str, Any] = dict.fromkeys(LATENCY_RATIOS, 2.0)
    candidate = [evaluation(**worse, **slower), evaluation(CONDEMNED, agreement=0.96)]
    outcomes = check(GATES, candidate, [evaluation(**GOOD), evaluation(CONDEMNED, agreement=0.90)])
    assert [outcome.gate for outcome in outcomes if outcome.result is GateResult.FAIL] == [gate]
    assert [outcome.value for outcome in outcomes if outcome.result is GateResult.FAIL] == [bad]
    assert not passed(outcomes)


def test_agreement_on_the_condemned_sample_is_a_gate_of_its_own() -> None:
    assert failing(evaluation(**GOOD), evaluation(CONDEMNED, agreement=0.9499)) == [(CONDEMNED, "agreement")]


@pytest.mark.parametrize("gate", ["accuracy", "rare_class_accuracy", "ece", "latency_p95_ms", "agreement"])
def test_a_tie_passes(gate: str) -> None:
    tie = {**GOOD, METRICS.get(gate, gate): float(getattr(GATES, gate))}
    outcomes = check(GATES, [evaluation(**tie), evaluation(CONDEMNED, agreement=0.95)])
    assert {outcome.result for outcome in outcomes} == {GateResult.PASS}


@pytest.mark.parametrize("gate", ["accuracy", "rare_class_accuracy", "ece", "latency_p95_ms", "agreement"])
def test_a_nan_is_not_reached_even_if_the_incumbent_has_none_either(gate: str) -> None:
    measured = evaluation(
        **{**GOOD, METRICS.get(gate, gate): math.nan}, latency_ratio=1.0, latency_ratio_median=1.0
    )
    assert failing(measured) == [(TEST, gate)]


@pytest.mark.parametrize("gate", ["accuracy", "ece", "latency_p95_ms", "agreement"])
def test_a_metric_that_was_not_measured_fails_its_gate_with_nan(gate: str) -> None:
    values = {name: value for name, value in GOOD.items() if not name.startswith(gate)}
    outcomes = {outcome.gate: outcome for outcome in check(GATES, [evaluation(**values)])}
    assert outcomes[gate].result is GateResult.FAIL
    assert math.isnan(outcomes[gate].value)


def test_an_empty_condemned_sample_is_no_evidence_and_fails() -> None:
    empty = evaluation(CONDEMNED, n=0, agreement=math.nan)
    assert failing(evaluation(**GOOD), empty) == [(CONDEMNED, "agreement")]


def test_without_rare_labels_their_gate_does_not_apply() -> None:
    values = {name: value for name, value in GOOD.items() if name != "rare_class_accuracy"}
    outcomes = check(GATES, [evaluation(**values)])
    assert "rare_class_accuracy" not in [outcome.gate for outcome in outcomes]
    assert passed(outcomes)


def test_a_candidate_without_any_evaluation_fails() -> None:
    outcomes = check(GATES, [])
    assert {outcome.result for outcome in outcomes} == {GateResult.FAIL}
    assert not passed(outcomes)
    assert not passed([])


@pytest.mark.parametrize(
    ("ece_of", "n", "metric"),
    [
        ("calibrated", 999, "ece_calibrated_debiased"),
        ("calibrated", 1_000, "ece_calibrated"),
        ("raw", 999, "ece_debiased"),
        ("raw", 1_000, "ece"),
    ],
)
def test_the_ece_is_calibrated_unless_raw_and_debiased_where_its_bias_would_decide(
    ece_of: Literal["calibrated", "raw"], n: int, metric: str
) -> None:
    """Only the metric that is judged is good."""
    eces: dict[str, Any] = dict.fromkeys(
        ["ece", "ece_debiased", "ece_calibrated", "ece_calibrated_debiased"], 0.06
    )
    measured = evaluation(n=n, **{**GOOD, **eces, metric: 0.04})
    gates = GATES.model_copy(update={"ece_of": ece_of})
    (outcome,) = [each for each in check(gates, [measured]) if each.gate == "ece"]
    assert (outcome.metric, outcome.value, outcome.result) == (metric, 0.04, GateResult.PASS)
    raw = "at T = 1" if ece_of == "raw" else "calibrated; 0.06 at T = 1"
    assert outcome.detail == raw


def measured(value: float, *, within: float = 0.0, metric: str = "accuracy", **more: float) -> Evaluation:
    """An evaluation of the test set with an interval about one value."""
    rest = [
        Metric(name=name, value=other, low=other, high=other, n=5_500)
        for name, other in {**GOOD, **more}.items()
        if name != metric
    ]
    one = Metric(name=metric, value=value, low=value - within, high=value + within, n=5_500)
    return Evaluation(dataset=TEST, metrics=(one, *rest))


#: The candidate's accuracy and half the width of its interval, the incumbent's: at least 0.905.
ACCURACIES: Final = {
    "met": (0.910, 0.01, 0.95, "pass"),
    "met, the incumbent does not": (0.910, 0.01, 0.80, "pass"),
    "not met, better": (0.890, 0.001, 0.880, "waived"),
    "not met, the same": (0.890, 0.0, 0.890, "waived"),
    "not met, lower, but within the interval": (0.890, 0.006, 0.895, "waived"),
    "not met, as low as the interval's end": (0.875, 0.015625, 0.890625, "waived"),
    "not met, and worse": (0.890, 0.004, 0.900, "fail"),
    "not met, the incumbent met it": (0.904, 0.01, 0.906, "inconclusive"),
    "not met, the incumbent met it by a tie": (0.904, 0.01, 0.905, "inconclusive"),
    "not met, the interval ends at the threshold": (0.875, 0.03, 0.905, "inconclusive"),
    "not met, the interval ends below it": (0.875, 0.0299, 0.905, "fail"),
    "not met, the incumbent was not measured": (0.890, 0.01, math.nan, "fail"),
    "not measured": (math.nan, math.nan, 0.890, "fail"),
    "neither was measured": (math.nan, math.nan, math.nan, "fail"),
}


@pytest.mark.parametrize(("value", "within", "before", "result"), ACCURACIES.values(), ids=ACCURACIES)
def test_a_gate_that_is_not_met_is_waived_where_the_candidate_is_no_worse(
    value: float, within: float, before: float, result: str
) -> None:
    found = check(GATES, [measured(value, within=within)], [measured(before)])
    (outcome,) = [each for each in found if each.gate == "accuracy"]
    assert outcome.result == result
    assert outcome.incumbent_value == pytest.approx(before, nan_ok=True)
    assert passed(found) == (result != "fail")


#: The candidate's calibrated ECE and half the width of its interval, the incumbent's: at most 0.05.
ECES: Final = {
    "the case on real intents": (0.069, 0.007, 0.074, "waived"),
    "higher, but within the interval": (0.074, 0.007, 0.069, "waived"),
    "higher": (0.079, 0.007, 0.069, "fail"),
    "the incumbent met it": (0.055, 0.007, 0.049, "inconclusive"),
    "the incumbent met it, and the interval begins at the threshold": (0.0625, 0.0125, 0.03, "inconclusive"),
    "the incumbent met it, and the interval begins above it": (0.058, 0.007, 0.049, "fail"),
}


@pytest.mark.parametrize(("value", "within", "before", "result"), ECES.values(), ids=ECES)
def test_at_most_gates_are_waived_the_other_way_round(
    value: float, within: float, before: float, result: str
) -> None:
    name = METRICS["ece"]
    found = check(GATES, [measured(value, within=within, metric=name)], [measured(before, metric=name)])
    assert [each.result for each in found if each.gate == "ece"] == [result]


#: P95 in ms (at most 5), the low ends of the intervals of the two ratios, the incumbent's P95.
LATENCIES: Final = {
    "fast": (4.0, 0.9, 0.9, 4.1, "pass"),
    "fast, though slower than the incumbent": (4.0, 1.5, 1.5, 2.0, "pass"),
    "beside a busy neighbour": (127.9, 0.9, 0.9, 125.0, "waived"),
    "as fast as the incumbent, which is just fast enough": (5.1, 0.95, 0.95, 4.9, "waived"),
    "at the margin": (6.0, 1.10, 1.10, 5.2, "waived"),
    "only the longest times are longer": (9.0, 1.8, 1.0, 4.0, "waived"),
    "only the typical time is longer": (9.0, 1.0, 1.8, 4.0, "waived"),
    "surely slower, and the incumbent is not fast either": (9.0, 1.11, 1.11, 6.0, "fail"),
    "surely slower": (9.0, 1.8, 1.8, 4.0, "fail"),
    "the ratios were not measured": (9.0, math.nan, math.nan, 9.0, "fail"),
}


@pytest.mark.parametrize(("value", "ratio", "median", "before", "result"), LATENCIES.values(), ids=LATENCIES)
def test_only_a_candidate_that_is_surely_slower_is_held_against_the_milliseconds(
    value: float, ratio: float, median: float, before: float, result: str
) -> None:
    own = evaluation(**{**GOOD, "latency_p95_ms": value})
    ratios = [
        Metric(name=name, value=low + 0.2, low=low, high=low + 0.4, n=300)
        for name, low in zip(LATENCY_RATIOS, (ratio, median), strict=True)
    ]
    found = check(
        GATES,
        [Evaluation(dataset=TEST, metrics=(*own.metrics, *ratios))],
        [evaluation(**{**GOOD, "latency_p95_ms": before})],
        processor="an abacus, 2 threads",
    )
    (outcome,) = [each for each in found if each.gate == "latency_p95_ms"]
    assert outcome.result == result
    assert outcome.detail is not None
    assert outcome.detail.endswith("times the incumbent's, on an abacus, 2 threads")


def test_latency_that_is_off_is_no_gate() -> None:
    gates = GatesSection.model_validate({"latency_p95_ms": "off"})
    found = check(gates, [evaluation(**{**GOOD, "latency_p95_ms": 1e6})])
    assert "latency_p95_ms" not in [outcome.gate for outcome in found]
    assert passed(found)


def test_a_person_decides_on_inconclusive_gates_only_where_the_configuration_asks_for_that() -> None:
    found = check(GATES, [measured(0.904, within=0.01)], [measured(0.95)])
    assert passed(found)
    assert undecided(found, GATES.on_inconclusive) == undecided(found, "pass") == ()
    assert [outcome.gate for outcome in undecided(found, "hold")] == ["accuracy"]
    assert undecided(check(GATES, [measured(0.92)]), "hold") == ()


#: The candidate's agreement on the condemned sample and half the width of its interval, the low end of the
#: interval of its gain over the incumbent: at least 0.95.
AGREEMENTS: Final = {
    "met": (0.951, 0.01, 0.02, "pass"),
    "met, though no better than the incumbent": (0.951, 0.01, -0.02, "pass"),
    "perhaps met, and surely better": (0.945, 0.01, 0.001, "inconclusive"),
    "perhaps met, and perhaps no better": (0.945, 0.01, 0.0, "fail"),
    "surely not met, but surely better": (0.93, 0.01, 0.001, "improves"),
    "surely not met, and perhaps no better": (0.93, 0.01, 0.0, "fail"),
    "surely not met, and as good as before": (0.93, 0.01, -0.01, "fail"),
    "not measured": (math.nan, math.nan, 0.01, "fail"),
    "the gain was not measured": (0.945, 0.01, math.nan, "fail"),
}


@pytest.mark.parametrize(("value", "within", "gain", "result"), AGREEMENTS.values(), ids=AGREEMENTS)
def test_an_inconclusive_agreement_on_the_condemned_sample_needs_a_proven_gain(
    value: float, within: float, gain: float, result: str
) -> None:
    """A wide interval alone promotes nobody: the job exists to end the drift."""
    metrics = (
        Metric(name="agreement", value=value, low=value - within, high=value + within, n=450),
        Metric(name=AGREEMENT_GAIN, value=gain + 0.01, low=gain, high=gain + 0.02, n=450),
    )
    on_condemned = Evaluation(dataset=CONDEMNED, metrics=metrics)
    found = check(GATES, [evaluation(**GOOD), on_condemned])
    assert (found[-1].dataset, found[-1].result) == (CONDEMNED, result)
    assert passed(found) == (result != "fail")
    assert undecided(found, "pass") == ()
    assert bool(undecided(found, "hold")) == (result == "inconclusive")


@pytest.mark.parametrize(("value", "before"), [(0.90, 0.70), (0.90, 0.90), (0.949, 0.10)])
def test_the_gate_of_the_condemned_sample_is_never_waived(value: float, before: float) -> None:
    """However much better the candidate is: a drift that goes on is not repaired."""
    outcomes = check(
        GATES,
        [evaluation(**GOOD), evaluation(CONDEMNED, agreement=value)],
        [evaluation(**GOOD), evaluation(CONDEMNED, agreement=before)],
    )
    assert (outcomes[-1].dataset, outcomes[-1].result) == (CONDEMNED, GateResult.FAIL)
    assert outcomes[-1].incumbent_value == before
    assert not passed(outcomes)


@st.composite
def evaluations_of_one_student(draw: st.DrawFn) -> Evaluation:
    """Any finite numbers, each in an interval that may not hold it, as that of the plain ECE."""
    values = {name: draw(st.floats(0, 1)) for name in (*GOOD, *LATENCY_RATIOS)}
    values |= {"latency_p95_ms": draw(st.floats(1e-3, 1e6))}
    ends = {name: sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1)))) for name in values}
    n = draw(st.sampled_from([5, 999, 1_000, 5_500]))
    metrics = [
        Metric(name=name, value=value, low=ends[name][0], high=ends[name][1], n=n)
        for name, value in values.items()
    ]
    return Evaluation(dataset=TEST, metrics=tuple(metrics))


@given(evaluations_of_one_student(), st.sampled_from(["calibrated", "raw"]), st.floats(0, 1))
def test_a_candidate_that_is_its_incumbent_is_never_rejected_by_the_test_set(
    same: Evaluation, ece_of: str, threshold: float
) -> None:
    """The interval of a ratio of its holds 1, or is below it: nobody is surely slower than itself."""
    limits = dict.fromkeys(["accuracy", "rare_class_accuracy", "ece", "agreement"], threshold)
    gates = GatesSection.model_validate({**limits, "ece_of": ece_of})
    outcomes = check(gates, [same], [same])
    assert len(outcomes) == 5
    assert passed(outcomes)


@given(n=st.integers(1, 200_000), thousandths=st.integers(0, 1_000), data=st.data())
def test_shares_are_judged_as_if_by_exact_fractions(n: int, thousandths: int, data: st.DataObject) -> None:
    gates = with_agreement(thousandths / 1_000)
    near = thousandths * n // 1_000
    k = data.draw(st.integers(max(0, near - 1), min(n, near + 1)))
    (outcome,) = (
        outcome
        for outcome in check(gates, [evaluation(**GOOD), evaluation(CONDEMNED, agreement=k / n)])
        if outcome.dataset == CONDEMNED
    )
    assert (outcome.result is GateResult.PASS) == (Fraction(k, n) >= Fraction(thousandths, 1_000))


def with_agreement(threshold: float) -> GatesSection:
    return GATES.model_copy(update={"agreement": threshold})


def condemned(
    *, gain: float, over_teacher: float = 0.05, teacher: float = 0.9, agreement: float = 0.9
) -> Evaluation:
    """The condemned sample of a candidate with labelled requests; each interval is 0.02 on either side."""
    values = {
        "agreement": agreement,
        "accuracy": 0.93,
        "teacher_accuracy": teacher,
        OVER_TEACHER: over_teacher,
        GAIN: gain,
    }
    metrics = (
        Metric(name=name, value=value, low=value - 0.02, high=value + 0.02, n=300)
        for name, value in values.items()
    )
    return Evaluation(dataset=CONDEMNED, metrics=tuple(metrics))


def on_condemned(candidate: Evaluation, *, min_accuracy: float | None = 0.8) -> dict[str, GateResult]:
    outcomes = check(GATES, [evaluation(**GOOD), candidate], teacher_min_accuracy=min_accuracy)
    return {each.gate: each.result for each in outcomes if each.dataset == CONDEMNED}


PASS, FAIL, REPORTED = GateResult.PASS, GateResult.FAIL, GateResult.REPORTED


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        pytest.param(condemned(gain=0.01), {"accuracy": PASS, "agreement": REPORTED}, id="better"),
        pytest.param(condemned(gain=0.0), {"accuracy": FAIL, "agreement": REPORTED}, id="a tie is no repair"),
        pytest.param(condemned(gain=-0.01), {"accuracy": FAIL, "agreement": REPORTED}, id="worse"),
        pytest.param(
            condemned(gain=-0.01, agreement=0.99),
            {"accuracy": FAIL, "agreement": REPORTED},
            id="worse, but more like the teacher that is at fault",
        ),
        pytest.param(
            condemned(gain=0.1, over_teacher=0.02), {"agreement": FAIL}, id="perhaps as good as the teacher"
        ),
        pytest.param(
            condemned(gain=0.1, over_teacher=0.0, teacher=0.779),
            {"accuracy": PASS, "agreement": REPORTED},
            id="a teacher that is surely below min_accuracy",
        ),
        pytest.param(
            condemned(gain=0.1, over_teacher=0.0, teacher=0.781),
            {"agreement": FAIL},
            id="a teacher that is perhaps below min_accuracy",
        ),
        pytest.param(evaluation(CONDEMNED, agreement=0.96), {"agreement": PASS}, id="too few labels"),
    ],
)
def test_where_labels_show_that_the_teacher_is_at_fault_accuracy_replaces_agreement(
    candidate: Evaluation, expected: dict[str, GateResult]
) -> None:
    assert on_condemned(candidate) == expected


def test_labels_of_selected_requests_replace_no_gate() -> None:
    assert on_condemned(condemned(gain=0.1), min_accuracy=None) == {"agreement": FAIL}


def test_the_reason_is_stored_with_both_gates() -> None:
    outcomes = check(GATES, [evaluation(**GOOD), condemned(gain=0.1)], teacher_min_accuracy=0.8)
    *_, accuracy, agreement = outcomes
    of_candidate = "the candidate on 0.93 [0.91, 0.95]"
    why = f"of 300 labelled requests the teacher is right on 0.9 [0.88, 0.92], {of_candidate}"
    assert agreement.detail == why
    assert accuracy.detail == (f"a gain of 0.1 [0.08, 0.12] over the incumbent; in place of agreement: {why}")
    assert (accuracy.value, accuracy.threshold) == (0.93, accuracy.incumbent_value)
    assert accuracy.threshold == pytest.approx(0.83)
    assert passed(outcomes)


def test_a_gate_of_the_test_set_still_rejects_it() -> None:
    bad = evaluation(**{**GOOD, "accuracy": 0.8})
    outcomes = check(GATES, [bad, condemned(gain=0.1)], [evaluation(**GOOD)], teacher_min_accuracy=0.8)
    assert not passed(outcomes)
