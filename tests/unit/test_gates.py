import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.records import Evaluation, Metric
from db.states import GateResult
from distill.gates import CONDEMNED, TEST, judge, passed
from distill.settings import GatesSection

GATES = GatesSection()
GOOD = {
    "accuracy": 0.92,
    "rare_class_accuracy": 0.89,
    "ece": 0.03,
    "ece_debiased": 0.02,
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
        for outcome in judge(GATES, evaluations)
        if outcome.result is GateResult.FAIL
    ]


def test_a_candidate_on_the_right_side_of_every_gate_passes_all_six() -> None:
    outcomes = judge(GATES, [evaluation(**GOOD), evaluation(CONDEMNED, agreement=0.96)])
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
    outcomes = judge(GATES, [evaluation(**{**GOOD, gate: bad}), evaluation(CONDEMNED, agreement=0.96)])
    assert [outcome.gate for outcome in outcomes if outcome.result is GateResult.FAIL] == [gate]
    assert [outcome.value for outcome in outcomes if outcome.result is GateResult.FAIL] == [bad]
    assert not passed(outcomes)


def test_agreement_on_the_condemned_sample_is_a_gate_of_its_own() -> None:
    assert failing(evaluation(**GOOD), evaluation(CONDEMNED, agreement=0.9499)) == [(CONDEMNED, "agreement")]


@pytest.mark.parametrize("gate", ["accuracy", "rare_class_accuracy", "ece", "latency_p95_ms", "agreement"])
def test_a_tie_passes(gate: str) -> None:
    tie = float(getattr(GATES, gate))
    assert failing(evaluation(**{**GOOD, gate: tie}), evaluation(CONDEMNED, agreement=0.95)) == []


@pytest.mark.parametrize("gate", ["accuracy", "rare_class_accuracy", "ece", "latency_p95_ms", "agreement"])
def test_a_nan_is_not_reached(gate: str) -> None:
    assert failing(evaluation(**{**GOOD, gate: math.nan})) == [(TEST, gate)]


@pytest.mark.parametrize("gate", ["accuracy", "ece", "latency_p95_ms", "agreement"])
def test_a_metric_that_was_not_measured_fails_its_gate_with_nan(gate: str) -> None:
    values = {name: value for name, value in GOOD.items() if not name.startswith(gate)}
    outcomes = {outcome.gate: outcome for outcome in judge(GATES, [evaluation(**values)])}
    assert outcomes[gate].result is GateResult.FAIL
    assert math.isnan(outcomes[gate].value)


def test_an_empty_condemned_sample_is_no_evidence_and_fails() -> None:
    empty = evaluation(CONDEMNED, n=0, agreement=math.nan)
    assert failing(evaluation(**GOOD), empty) == [(CONDEMNED, "agreement")]


def test_without_rare_labels_their_gate_does_not_apply() -> None:
    values = {name: value for name, value in GOOD.items() if name != "rare_class_accuracy"}
    outcomes = judge(GATES, [evaluation(**values)])
    assert "rare_class_accuracy" not in [outcome.gate for outcome in outcomes]
    assert passed(outcomes)


def test_a_candidate_without_any_evaluation_fails() -> None:
    outcomes = judge(GATES, [])
    assert {outcome.result for outcome in outcomes} == {GateResult.FAIL}
    assert not passed(outcomes)
    assert not passed([])


@pytest.mark.parametrize(("n", "judged"), [(999, 0.02), (1_000, 0.06)])
def test_the_ece_is_debiased_where_its_bias_would_decide(n: int, judged: float) -> None:
    values = {**GOOD, "ece": 0.06, "ece_debiased": 0.02}
    outcomes = {outcome.gate: outcome for outcome in judge(GATES, [evaluation(n=n, **values)])}
    assert outcomes["ece"].value == judged
    assert (outcomes["ece"].result is GateResult.PASS) == (judged <= GATES.ece)


@given(n=st.integers(1, 200_000), thousandths=st.integers(0, 1_000), data=st.data())
def test_shares_are_judged_as_if_by_exact_fractions(n: int, thousandths: int, data: st.DataObject) -> None:
    gates = with_agreement(thousandths / 1_000)
    near = thousandths * n // 1_000
    k = data.draw(st.integers(max(0, near - 1), min(n, near + 1)))
    (outcome,) = (
        outcome
        for outcome in judge(gates, [evaluation(**GOOD), evaluation(CONDEMNED, agreement=k / n)])
        if outcome.dataset == CONDEMNED
    )
    assert (outcome.result is GateResult.PASS) == (Fraction(k, n) >= Fraction(thousandths, 1_000))


def with_agreement(threshold: float) -> GatesSection:
    return GATES.model_copy(update={"agreement": threshold})
