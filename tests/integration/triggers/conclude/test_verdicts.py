"""What a cycle ends as, and that what it measured is written."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from db.connection.session import reading
from db.cycles import cycle_points
from db.records import CycleResult, LabelMeasurement, Serving
from db.states import OrderReason, Verdict, VerdictReason
from db.tables import class_metrics, cycles, deliveries, incidents, jobs, rejects, rule_outcomes, strata
from db.views import rows
from tests.support.records.conclusions import FAR, HEALTHY, REJECT, TOO_FEW, incident_list, with_policy
from tests.support.records.cycles import MONITOR, Cycles, stored
from tests.support.records.factories import (
    make_empty_result,
    make_interval,
    make_measurement,
    make_result,
    make_slot,
    make_traffic,
)
from triggers.rules.evaluation import replay
from triggers.rules.observation import details_for
from triggers.settings import Rule


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
    assert (ended.order.reason, ended.order.job_id) == (OrderReason.NOT_WANTED, None)
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


RARE = Rule(name="rare", metric="class_agreement:refund", below=Decimal("0.9"), for_cycles=2)
SKEWED = Rule(name="skewed", metric="serving_skew", above=Decimal("0.01"), action="alert")


def answered(refunds: int, *, skew: float = 0.0) -> CycleResult:
    """A cycle with so many refunds, of which the student gets four in five, and recorded answers."""
    measured = make_measurement()
    label = LabelMeasurement(label="refund", n=refunds, share=0.01, agreement=make_interval(0.8), kl=0.1)
    serving = Serving(n_recorded=5_500, n_rescored=500, skew=make_interval(skew))
    return make_result(measurement=replace(measured, per_label=(*measured.per_label, label), serving=serving))


def replayed(run: Cycles, rules: Sequence[Rule]) -> list[tuple[object, ...]]:
    """What the rules say of the stored cycles, as `rule_outcomes` has it."""
    with reading(run.engine) as connection:
        points = cycle_points.read(connection, MONITOR, details=details_for(rules))
    return [
        (each.rule, each.value, each.breached, each.streak, each.fired, str(each.reason))
        for rule in sorted(rules, key=lambda rule: rule.name)
        for each in replay(rule, points)
    ]


def outcomes_in_sql(run: Cycles) -> list[tuple[object, ...]]:
    rows = sorted(stored(run.engine, rule_outcomes), key=lambda row: (row["rule"], row["cycle_id"]))
    names = ("rule", "value", "breached", "streak", "fired", "reason")
    return [tuple(row[name] for name in names) for row in rows]


def test_a_cycle_whose_rules_about_the_student_saw_nothing_is_inconclusive(run: Cycles) -> None:
    """Case 62. A rule about the service has looked all the same; a replay says what was stored."""
    rules = (RARE, SKEWED)
    watched = with_policy(run, rules=rules)
    ends = [
        watched.conclude(index, answered(refunds, skew=0.02))
        for index, refunds in enumerate((100, 34, 34, 100, 100))
    ]
    assert [str(each.judgement.reason) for each in ends] == [
        *("rule_breached", "no_rule_evaluated", "no_rule_evaluated", "rule_fired", "rule_fired")
    ]
    found = [(row["status"], row["verdict"], row["verdict_reason"]) for row in stored(run.engine, cycles)]
    assert found[1] == ("inconclusive", "inconclusive", "no_rule_evaluated")
    assert [row["fired"] for row in stored(run.engine, rule_outcomes) if row["rule"] == "skewed"] == [
        True
    ] * 5
    assert ("serving-skew", "error", "firing") in incident_list(run)
    assert replayed(run, rules) == outcomes_in_sql(run)


def test_the_third_such_cycle_makes_the_monitor_blind_and_says_why(run: Cycles) -> None:
    watched = with_policy(run, rules=(RARE,))
    for index in range(3):
        watched.conclude(index, answered(34))
    (row,) = [row for row in stored(run.engine, incidents) if row["state"] == "firing"]
    assert (row["kind"], row["summary"]) == (
        "blind",
        (
            "3 slots in a row without a verdict; the last: no rule could be evaluated: rare "
            "(class_agreement:refund: 34 requests with that label, 100 needed)"
        ),
    )


def test_a_repaired_rule_looks_at_the_cycles_in_which_none_could_be_evaluated(run: Cycles) -> None:
    """The evidence was there; only the label was wrong."""
    wrong = RARE.model_copy(update={"metric": "class_agreement:refudn"})
    for index in range(2):
        assert not with_policy(run, rules=(wrong,)).conclude(index, answered(100)).outcomes[0].breached
    (outcome,) = with_policy(run, rules=(RARE,)).conclude(2, answered(100)).outcomes
    assert (outcome.streak, outcome.fired) == (3, True)


def test_why_a_cycle_ordered_or_did_not_is_stored_with_it(run: Cycles) -> None:
    """No decision is made of a cycle that failed."""
    run.promote(now=make_slot(0).window_start)
    run.conclude(0, HEALTHY)
    run.conclude(3, FAR)
    run.conclude(4, FAR)
    run.conclude(1, FAR)
    run.fail(2)
    with reading(run.engine) as connection:
        found = rows(connection, "cycle_history", order_by="window_end")
    assert [(row["order_reason"], row["order_detail"]) for row in found] == [
        ("not_wanted", "no rule that orders a re-distillation has fired"),
        (
            "not_latest",
            "a later cycle has a verdict or awaits one, or another student is in service",
        ),
        (None, None),
        ("ordered", "re-distillation with alpha 0.7 -> 0.6"),
        ("job_open", "a job is queued or running, or its candidate awaits `redistill models promote`"),
    ]
