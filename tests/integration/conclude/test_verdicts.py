"""What a cycle ends as, and that what it measured is written."""

from dataclasses import replace
from fractions import Fraction

import pytest

from db.records import CycleResult
from db.states import OrderReason, Verdict, VerdictReason
from db.tables import class_metrics, cycles, deliveries, incidents, jobs, rejects, rule_outcomes, strata
from tests.conclusions import HEALTHY, REJECT, TOO_FEW, incident_list
from tests.cycles import Cycles, stored
from tests.factories import make_empty_result, make_measurement, make_result, make_traffic


def test_the_exact_agreement_of_a_stratified_sample_is_remembered(run: Cycles) -> None:
    """Two cycles a hair below the threshold, by weights alone, are a streak of two; a tie is none."""
    below = Fraction(19, 20) - Fraction(1, 10**30)
    for index, share in enumerate((below, below, Fraction(19, 20))):
        measurement = replace(make_measurement(disagreements=1), exact_agreement=share)
        run.conclude(index, make_result(measurement=measurement))
    streaks = [row["streak"] for row in stored(run.engine, rule_outcomes) if row["rule"] == "low-agreement"]
    assert streaks == [1, 2, 0]


def test_a_healthy_cycle_is_written_and_has_no_effect(run: Cycles) -> None:
    ended = run.conclude(0, HEALTHY)
    assert (ended.judgement.verdict, ended.judgement.reason) == (Verdict.HEALTHY, VerdictReason.WITHIN_RULES)
    assert (ended.order.reason, ended.job_id) == (OrderReason.NOT_WANTED, None)
    (cycle,) = stored(run.engine, cycles)
    assert (cycle["status"], cycle["verdict"], cycle["verdict_reason"]) == (
        "evaluated",
        "healthy",
        "within_rules",
    )
    assert [(row["label"], row["n"]) for row in stored(run.engine, class_metrics)] == [
        ("escalation", 2_750),
        ("order_tracking", 2_750),
    ]
    assert [(row["reason"], row["n"]) for row in stored(run.engine, rejects)] == [("no_id", 40)]
    assert [
        (row["student_label"], row["n_seen"], row["n"], row["n_disagreements"])
        for row in stored(run.engine, strata)
    ] == [("", 50_000, 5_500, 143)]
    assert [
        (row["rule"], row["breached"], row["streak"], row["fired"], row["reason"])
        for row in stored(run.engine, rule_outcomes)
    ] == [("high-kl", False, 0, False, "within"), ("low-agreement", False, 0, False, "within")]
    assert stored(run.engine, jobs) == stored(run.engine, incidents) == stored(run.engine, deliveries) == []


@pytest.mark.parametrize(
    ("result", "reason", "n_scored"),
    [
        (TOO_FEW, VerdictReason.TOO_FEW_SAMPLES, 999),
        (
            make_result(
                measurement=make_measurement(disagreements=5_000),
                traffic=make_traffic(n_seen=900, rejects=(replace(REJECT, n=100),)),
            ),
            VerdictReason.TOO_MANY_REJECTS,
            5_500,
        ),
        (make_empty_result(), VerdictReason.TOO_FEW_SAMPLES, 0),
        (make_empty_result(rejects=(REJECT,)), VerdictReason.TOO_MANY_REJECTS, 0),
    ],
)
def test_without_evidence_there_is_no_verdict(
    run: Cycles, result: CycleResult, reason: VerdictReason, n_scored: int
) -> None:
    """However bad its numbers; they are kept, and the rules say that they were not looked at."""
    ended = run.conclude(0, result)
    assert ended.judgement.reason is reason
    assert ended.order.reason is OrderReason.NOT_WANTED
    (cycle,) = stored(run.engine, cycles)
    assert (cycle["status"], cycle["verdict"], cycle["n_scored"]) == (
        "inconclusive",
        "inconclusive",
        n_scored,
    )
    assert (cycle["agreement"] is None) is (result.measurement is None)
    assert [(row["value"], row["reason"]) for row in stored(run.engine, rule_outcomes)] == [
        (None, "not_evaluated")
    ] * 2
    assert stored(run.engine, jobs) == []
    told = [("data-quality", "error", "firing")] if reason is VerdictReason.TOO_MANY_REJECTS else []
    assert incident_list(run) == told
