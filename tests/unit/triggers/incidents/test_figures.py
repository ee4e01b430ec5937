"""The numbers of a message."""

from dataclasses import replace

import pytest

from db.records import Evaluation, GateOutcome, Interval, LabelMeasurement, Metric, RuleOutcome
from db.states import GateResult, OutcomeReason
from tests.support.records.factories import START, make_measurement
from triggers.incidents.figures import differing, gate_of, number_of


def label(name: str, *, share: float, agreement: float) -> LabelMeasurement:
    interval = Interval(estimate=agreement, low=agreement - 0.1, high=agreement + 0.1)
    return LabelMeasurement(label=name, n=100, share=share, agreement=interval, kl=0.1)


MEASURED = replace(
    make_measurement(),
    per_label=(
        label("rare", share=0.01, agreement=0.1),
        label("same", share=0.3, agreement=1.0),
        label("much", share=0.5, agreement=0.9),
        label("worse", share=0.1, agreement=0.4),
        label("some", share=0.09, agreement=0.8),
        label("none", share=0.0, agreement=float("nan")),
    ),
)


def outcome(metric: str) -> RuleOutcome:
    return RuleOutcome(
        window_end=START,
        rule="r",
        metric=metric,
        value=0.9,
        threshold=0.95,
        breached=True,
        streak=1,
        fired=False,
        reason=OutcomeReason.BREACHED,
    )


def test_the_intents_are_those_with_the_most_disagreements() -> None:
    """Of all requests: a rare intent with a bad share of its own is not the first to look at."""
    assert [each["label"] for each in differing(MEASURED)] == ["worse", "much", "some"]
    assert differing(MEASURED)[0] == {
        "label": "worse",
        "share": 0.1,
        "agreement": 0.4,
        "low": pytest.approx(0.3),
        "high": pytest.approx(0.5),
    }
    assert differing(None) == []


@pytest.mark.parametrize(
    ("metric", "interval"),
    [
        ("agreement", MEASURED.agreement),
        ("kl", MEASURED.kl),
        ("class_agreement:much", MEASURED.per_label[2].agreement),
        ("class_agreement:unheard", None),
        ("class_kl:much", None),
        ("js", None),
        ("serving_skew", None),
        ("any", None),
    ],
)
def test_a_rule_s_number_has_its_interval_where_there_is_one(metric: str, interval: Interval | None) -> None:
    found = number_of(outcome(metric), MEASURED)
    assert (found.get("low"), found.get("high")) == (
        (interval.low, interval.high) if interval else (None, None)
    )
    assert "low" not in number_of(outcome(metric), None)


def test_a_gate_s_number_has_the_interval_of_what_was_measured() -> None:
    """Of its own data set; the debiased ECE's where that was judged, and none where nothing was measured."""
    metrics = (
        Metric(name="accuracy", value=0.91, low=0.9, high=0.92, n=700),
        Metric(name="ece", value=0.06, low=0.05, high=0.07, n=700),
        Metric(name="ece_debiased", value=0.04, low=0.03, high=0.05, n=700),
    )
    elsewhere = Metric(name="accuracy", value=0.91, low=0.0, high=1.0, n=9)
    evaluations = [
        Evaluation(dataset="condemned", metrics=(elsewhere,)),
        Evaluation(dataset="test", metrics=metrics),
    ]

    def bounds(gate: str, value: float, metric: str | None = None) -> tuple[object, object]:
        outcome = GateOutcome(
            gate=gate, dataset="test", value=value, threshold=0.5, result=GateResult.FAIL, metric=metric
        )
        found = gate_of(outcome, evaluations)
        assert {**found, "low": 0, "high": 0} == {**vars(outcome), "low": 0, "high": 0}
        return found.get("low"), found.get("high")

    assert bounds("accuracy", 0.91) == (0.9, 0.92)
    assert bounds("ece", 0.06) == (0.05, 0.07)
    assert bounds("ece", 0.04, "ece_debiased") == (0.03, 0.05)
    assert bounds("rare_class_accuracy", float("inf")) == (None, None)
