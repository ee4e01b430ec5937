"""What has changed in the requests themselves, told and asked for by rules."""

import json
from dataclasses import replace
from decimal import Decimal

from db.connection.session import reading
from db.cycles import history
from db.records import Measurement
from db.states import OrderReason, SliceKind, Verdict
from db.tables import deliveries, rule_outcomes
from db.views import rows
from tests.support.records.conclusions import incident_list, with_policy
from tests.support.records.cycles import Cycles, stored
from tests.support.records.factories import make_input_drift, make_measurement, make_result, make_slice
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


def test_the_slices_of_a_cycle_are_stored_and_the_first_three_are_in_the_message(run: Cycles) -> None:
    """Words of requests are in neither, whatever the caller passes."""
    found = (
        make_slice(),
        make_slice("escalation", kind=SliceKind.CONFUSION),
        make_slice("secret", kind=SliceKind.WORD),
        make_slice("0 to 12 characters", kind=SliceKind.LENGTH, q_moved=None),
        make_slice("faq"),
    )
    run.conclude(0, make_result(measurement=replace(make_measurement(kl=0.2), slices=found)))
    kept = tuple(each for each in found if each.kind is not SliceKind.WORD)
    with reading(run.engine) as connection:
        assert history.slices_of(connection, 1) == kept
        first, *_ = rows(connection, "slice_history", order_by="rank")
    assert (first["rank"], first["name"], first["excess"], first["reference_share"]) == (
        *(1, "escalation", 0.019, 0.01),
    )
    (message,) = stored(run.engine, deliveries)
    told = json.loads(message["payload"])["slices"]
    assert [each["name"] for each in told] == ["escalation", "escalation", "0 to 12 characters"]
    assert told[0] == {
        "kind": "label",
        "name": "escalation",
        "student_label": None,
        "part": 0.31,
        "share": 0.04,
        "rate": 0.54,
        "reference_share": 0.01,
        "reference_rate": 0.05,
        "moved": True,
    }
    assert [each["moved"] for each in told] == [True, True, None]
