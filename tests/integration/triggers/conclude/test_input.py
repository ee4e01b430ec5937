"""What has changed in the requests themselves, told and asked for by rules."""

import json
from dataclasses import replace
from decimal import Decimal

from db.records import Measurement
from db.states import OrderReason, Verdict
from db.tables import deliveries, rule_outcomes
from tests.support.records.conclusions import incident_list, with_policy
from tests.support.records.cycles import Cycles, stored
from tests.support.records.factories import make_input_drift, make_measurement, make_result
from triggers.settings import DEFAULT_RULES, Condition, Rule


def test_the_message_says_what_moved_in_the_requests(run: Cycles) -> None:
    """Since the reference, whose labels are those that were stored."""
    run.conclude(0, make_result(measurement=of_shares(order_tracking=0.12, escalation=0.88)))
    far = of_shares(kl=0.2, order_tracking=0.25, escalation=0.75)
    run.conclude(1, make_result(measurement=replace(far, input_drift=make_input_drift())))
    (message,) = stored(run.engine, deliveries)
    assert json.loads(message["payload"])["moved"] == (
        "escalation 88% -> 75%, order_tracking 12% -> 25%; label mix PSI 0.120 [0.100, 0.140]; texts "
        "distinguished from those of cycle 1 with accuracy 0.63 (0.5: alike), p = 0.001"
    )


def of_shares(*, kl: float = 0.083, **shares: float) -> Measurement:
    measured = make_measurement(kl=kl)
    labels = (replace(each, share=shares[each.label]) for each in measured.per_label)
    return replace(measured, per_label=tuple(labels))


def test_a_rule_on_the_input_alerts_and_says_nothing_of_the_student(run: Cycles) -> None:
    rule = Rule(name="new", metric="input_drift", above=Decimal("0.6"), for_cycles=2, action="alert")
    run = with_policy(run, rules=(*DEFAULT_RULES, rule))
    new, usual = (
        make_result(measurement=replace(make_measurement(), input_drift=make_input_drift(accuracy=accuracy)))
        for accuracy in (0.634, 0.6)
    )
    run.conclude(0)
    run.conclude(1, new)
    assert incident_list(run) == []
    ended = run.conclude(2, new)
    assert (ended.judgement.verdict, ended.order.reason) == (Verdict.HEALTHY, OrderReason.NOT_WANTED)
    assert incident_list(run) == [("input-drift", "error", "firing")]
    run.conclude(3)
    assert incident_list(run) == [("input-drift", "error", "firing")]
    run.conclude(4, usual)
    assert incident_list(run) == [("input-drift", "error", "resolved")]
    assert [row["value"] for row in stored(run.engine, rule_outcomes) if row["rule"] == "new"] == [
        *(None, 0.634, 0.634, None, 0.6)
    ]


def test_an_input_that_is_new_may_be_part_of_what_orders(run: Cycles) -> None:
    both = (
        Condition(metric="agreement", below=Decimal("0.97")),
        Condition(metric="input_drift", above=Decimal("0.6")),
    )
    run = with_policy(run, rules=(Rule(name="both", all=both),))
    lower = make_measurement(disagreements=200)
    run.conclude(0, make_result(measurement=lower))
    ended = run.conclude(1, make_result(measurement=replace(lower, input_drift=make_input_drift())))
    assert (ended.judgement.verdict, ended.order.reason) == (Verdict.BREACHED, OrderReason.ORDERED)
