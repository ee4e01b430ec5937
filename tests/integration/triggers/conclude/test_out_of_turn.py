"""Cycles that were filled in behind later ones."""

from db.states import OrderReason, Verdict
from db.tables import incidents, jobs
from tests.support.records.conclusions import FAR, HEALTHY, LOW, incident_list, streaks
from tests.support.records.cycles import Cycles, stored


def test_a_cycle_filled_in_behind_a_later_one_orders_and_opens_nothing(run: Cycles) -> None:
    """It is judged all the same, by the cycles before it."""
    run.conclude(0, HEALTHY)
    run.conclude(2, HEALTHY)
    filled_in = run.conclude(1, FAR)
    assert filled_in.judgement.verdict is Verdict.BREACHED
    assert filled_in.order.reason is OrderReason.NOT_LATEST
    assert stored(run.engine, jobs) == stored(run.engine, incidents) == []


def test_a_healthy_cycle_filled_in_behind_a_drift_resolves_nothing(run: Cycles) -> None:
    run.conclude(1, FAR)
    run.conclude(0, HEALTHY)
    assert incident_list(run) == [("drift", "error", "firing")]


def test_a_failure_behind_a_later_result_opens_nothing(run: Cycles) -> None:
    run.conclude(3, HEALTHY)
    for index in range(3):
        run.fail(index)
    assert incident_list(run) == []


def test_a_cycle_that_was_filled_in_counts_for_the_next_one(run: Cycles) -> None:
    run.conclude(0, LOW)
    run.conclude(2, LOW)
    run.conclude(1, LOW)
    assert run.conclude(3, LOW).order.reason is OrderReason.ORDERED
    assert sorted(streaks(run)) == [1, 2, 2, 4]
