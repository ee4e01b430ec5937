"""The end of a cycle: one decision with all its effects, or nothing."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, event, text
from sqlalchemy.exc import DBAPIError

from db import history, labels, ledger, queue
from db.errors import LeaseLostError
from db.records import Archive, Correctness, CycleResult, Measurement, Reject
from db.session import writing
from db.states import JobDecision, JobStatus, OrderReason, RejectReason, Severity, Verdict, VerdictReason
from db.tables import (
    class_metrics,
    correctness,
    cycles,
    deliveries,
    incidents,
    input_drift,
    jobs,
    metadata,
    rejects,
    rule_outcomes,
    rule_states,
    rule_texts,
    strata,
    teacher_metrics,
)
from tests.cycles import MONITOR, Cycles, due_at, make_policy, seized, stored, taken
from tests.factories import (
    START,
    STUDENT,
    TEACHER,
    make_empty_result,
    make_input_drift,
    make_measurement,
    make_result,
    make_slot,
    make_teacher,
    make_traffic,
)
from triggers.conclude import conclude_failure
from triggers.correctness import split
from triggers.settings import DEFAULT_RULES, AlphaPolicy, Condition, LogAlert, Rule, TeacherPolicy

REJECT = Reject(reason=RejectReason.NO_ID, n=40, example_hash="ab" * 32, example_object="traffic.jsonl")
HEALTHY = make_result(traffic=make_traffic(rejects=(REJECT,)))
LOW = make_result(measurement=make_measurement(disagreements=300))
FAR = make_result(measurement=make_measurement(kl=0.2))
TOO_FEW = make_result(measurement=make_measurement(n=999, disagreements=900))


@pytest.fixture
def run(engine: Engine) -> Cycles:
    return Cycles(engine=engine, lease=taken(engine))


def with_policy(run: Cycles, **fields: Any) -> Cycles:  # noqa: ANN401 - any field of a Policy
    return replace(run, policy=make_policy(**fields))


def everything(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    return {table.name: stored(engine, table) for table in metadata.sorted_tables}


def incident_list(run: Cycles) -> list[tuple[str, str, str]]:
    return [(row["kind"], row["severity"], row["state"]) for row in stored(run.engine, incidents)]


def message_list(run: Cycles) -> list[tuple[int, str, str]]:
    return [(row["incident_id"], row["channel"], row["event"]) for row in stored(run.engine, deliveries)]


def job_list(run: Cycles) -> list[tuple[Decimal, Decimal, str]]:
    return [(row["alpha_from"], row["alpha_to"], row["status"]) for row in stored(run.engine, jobs)]


def streaks(run: Cycles, rule: str = "low-agreement") -> list[int]:
    return [row["streak"] for row in stored(run.engine, rule_outcomes) if row["rule"] == rule]


def end_job(run: Cycles, status: JobStatus, decision: JobDecision | None = None, *, index: int = 0) -> None:
    """What a worker makes of the open job."""
    with writing(run.engine) as connection:
        job = queue.open_job(connection, MONITOR)
        assert job is not None
        queue.finish(connection, job, status, now=due_at(index), decision=decision)


def test_the_exact_agreement_of_a_stratified_sample_is_remembered(run: Cycles) -> None:
    """Two cycles a hair below the threshold, by weights alone, are a streak of two; a tie is none."""
    below = Fraction(19, 20) - Fraction(1, 10**30)
    for index, share in enumerate((below, below, Fraction(19, 20))):
        measurement = replace(make_measurement(disagreements=1), exact_agreement=share)
        run.conclude(index, make_result(measurement=measurement))
    streaks = [row["streak"] for row in stored(run.engine, rule_outcomes) if row["rule"] == "low-agreement"]
    assert streaks == [1, 2, 0]


# --- verdicts --------------------------------------------------------------------------------------------


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
    assert stored(run.engine, jobs) == stored(run.engine, incidents) == []


# --- orders and incidents --------------------------------------------------------------------------------


def test_the_third_cycle_of_low_agreement_orders_and_pages(run: Cycles) -> None:
    """A job with alpha lowered by 0.1, an incident, and a message for each channel that wants it."""
    everyone = LogAlert(name="everyone")
    errors = LogAlert(name="errors", severities=(Severity.ERROR, Severity.CRITICAL))
    warnings = LogAlert(name="warnings", severities=(Severity.WARNING,))
    run = with_policy(run, alerts=(everyone, errors, warnings))
    first, second = run.conclude(0, LOW), run.conclude(1, LOW)
    assert [ended.order.reason for ended in (first, second)] == [OrderReason.NOT_WANTED] * 2
    assert first.judgement.reason is VerdictReason.RULE_BREACHED
    assert stored(run.engine, jobs) == stored(run.engine, incidents) == []

    claim = run.claim(2)
    third = run.conclude_claim(claim, LOW)
    assert streaks(run) == [1, 2, 3]
    assert (third.judgement.reason, third.order.reason) == (
        VerdictReason.RULE_FIRED,
        OrderReason.ORDERED,
    )
    (job,) = stored(run.engine, jobs)
    assert (job["id"], job["cycle_id"], job["rule"]) == (third.job_id, claim.cycle_id, "low-agreement")
    assert job["reason"] == "agreement 0.945455 below 0.95 for 3 cycles"
    assert (job["alpha_from"], job["alpha_to"]) == (Decimal("0.7"), Decimal("0.6"))
    assert (job["teacher_version"], job["student_version"]) == (TEACHER, STUDENT)
    assert (job["status"], job["enqueued_at"], job["temperature"]) == ("queued", due_at(2), 3.0)
    (incident,) = stored(run.engine, incidents)
    assert (incident["kind"], incident["severity"], incident["state"]) == ("drift", "error", "firing")
    assert (incident["cycle_id"], incident["job_id"]) == (claim.cycle_id, third.job_id)
    assert message_list(run) == [(1, "everyone", "firing"), (1, "errors", "firing")]


def test_a_drift_that_lasts_orders_and_pages_once(run: Cycles) -> None:
    for index in range(3):
        run.conclude(index, LOW)
    before = everything(run.engine)
    fourth = run.conclude(3, LOW)
    assert (fourth.order.reason, fourth.job_id) == (OrderReason.JOB_OPEN, None)
    after = everything(run.engine)
    for table in ("jobs", "incidents", "deliveries"):
        assert after[table] == before[table]


def test_a_high_kl_orders_in_one_cycle(run: Cycles) -> None:
    assert run.conclude(0, FAR).order.reason is OrderReason.ORDERED
    assert job_list(run) == [(Decimal("0.7"), Decimal("0.6"), "queued")]


def test_a_rule_that_only_alerts_orders_nothing(run: Cycles) -> None:
    rule = Rule(name="kl", metric="kl", above=Decimal("0.15"), action="alert", severity=Severity.WARNING)
    ended = with_policy(run, rules=(rule,)).conclude(0, FAR)
    assert ended.order.reason is OrderReason.NOT_WANTED
    assert stored(run.engine, jobs) == []
    assert incident_list(run) == [("drift", "warning", "firing")]


def test_the_message_says_what_moved_in_the_requests(run: Cycles) -> None:
    """Since the reference, whose labels are those that were stored."""
    run.conclude(0, make_result(measurement=of_shares(order_tracking=0.12, escalation=0.88)))
    far = of_shares(kl=0.2, order_tracking=0.25, escalation=0.75)
    run.conclude(1, make_result(measurement=replace(far, input_drift=make_input_drift())))
    (message,) = stored(run.engine, deliveries)
    assert json.loads(message["payload"])["moved"] == (
        "escalation 88% -> 75%, order_tracking 12% -> 25%; label mix PSI 0.120 [0.100, 0.140]; texts told "
        "from those of cycle 1 with accuracy 0.63 (0.5: alike), p = 0.001"
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


def test_the_message_says_what_happened_and_what_was_ordered(run: Cycles) -> None:
    claim = run.claim(0)
    ended = run.conclude_claim(claim, FAR)
    (message,) = stored(run.engine, deliveries)
    assert (message["state"], message["attempts"], message["next_attempt_at"]) == ("pending", 0, due_at(0))
    payload = json.loads(message["payload"])
    rules = payload.pop("rules")
    assert payload == {
        "schema": "redistill.incident/1",
        "dedup_key": "redistill:mangaassist:1",
        "event": "firing",
        "kind": "drift",
        "severity": "error",
        "summary": "kl 0.2 above 0.15 for 1 cycle; ordered: re-distillation with alpha 0.7 -> 0.6",
        "monitor": MONITOR,
        "at": "2026-11-24T11:10:00Z",
        "cycle_id": claim.cycle_id,
        "window_start": "2026-11-24T10:00:00Z",
        "window_end": "2026-11-24T11:00:00Z",
        "verdict": "breached",
        "moved": None,
        "order": {
            "reason": "ordered",
            "job_id": ended.job_id,
            "alpha_from": "0.7",
            "alpha_to": "0.6",
            "evidence": None,
        },
    }
    assert [(rule["rule"], rule["value"], rule["fired"]) for rule in rules] == [
        ("low-agreement", pytest.approx(0.974), False),
        ("high-kl", 0.2, True),
    ]
    assert message["dedup_key"] == payload["dedup_key"]


def labelled(teacher: int, student: int) -> Correctness:
    """So many disagreements in which the one or the other is right."""
    truth = [0] * teacher + [1] * student
    return split(truth, [0] * len(truth), [1] * len(truth), [1] * len(truth))


def test_a_job_keeps_what_the_labels_of_its_pair_said_when_it_was_ordered(run: Cycles) -> None:
    """Those of its own cycle and of earlier ones; and the message says it."""
    other_pair = make_result(student_version="another")
    run.conclude(0, other_pair)
    run.conclude(1, HEALTHY)
    run.conclude(3, HEALTHY)
    with writing(run.engine) as connection:
        for cycle_id, found in ((1, labelled(0, 50)), (2, labelled(20, 4)), (3, labelled(0, 50))):
            labels.set_correctness(connection, cycle_id, found)
    measurement = replace(make_measurement(kl=0.2), correctness=labelled(6, 2))
    run.conclude(2, make_result(measurement=measurement))  # behind a later cycle: nothing is ordered
    assert stored(run.engine, jobs) == []
    with writing(run.engine) as connection:
        connection.execute(text("DELETE FROM correctness WHERE cycle_id = 3"))
    ended = run.conclude(4, make_result(measurement=measurement))
    (job,) = stored(run.engine, jobs)
    evidence = json.loads(job["evidence"])
    assert (evidence["finding"], evidence["n_cycles"]) == ("can_help", 3)
    assert evidence["correctness"]["n_disagreements"] == 24 + 8 + 8
    assert evidence["correctness"]["teacher_right"]["estimate"] == pytest.approx(32 / 40)
    assert ended.order.evidence is not None
    assert evidence["says"] == ended.order.evidence.says
    (message,) = stored(run.engine, deliveries)
    assert json.loads(message["payload"])["order"]["evidence"] == evidence["says"]


def test_without_labels_a_job_has_no_evidence(run: Cycles) -> None:
    assert run.conclude(0, FAR).order.evidence is None
    (job,) = stored(run.engine, jobs)
    assert job["evidence"] is None


def test_a_healthy_cycle_resolves_the_drift_under_the_same_key(run: Cycles) -> None:
    """And only it: neither missing data nor a breach that has not fired does."""
    run.conclude(0, FAR)
    run.conclude(1, TOO_FEW)
    run.conclude(2, LOW)
    assert incident_list(run) == [("drift", "error", "firing")]
    run.conclude(3, HEALTHY)
    assert incident_list(run) == [("drift", "error", "resolved")]
    (incident,) = stored(run.engine, incidents)
    assert incident["resolved_at"] == due_at(3)
    assert message_list(run) == [(1, "log", "firing"), (1, "log", "resolved")]
    assert {row["dedup_key"] for row in stored(run.engine, deliveries)} == {"redistill:mangaassist:1"}


def test_a_drift_that_comes_back_is_a_new_incident(run: Cycles) -> None:
    for index, result in enumerate([FAR, HEALTHY, FAR]):
        run.conclude(index, result)
    assert incident_list(run) == [("drift", "error", "resolved"), ("drift", "error", "firing")]
    assert len({row["dedup_key"] for row in stored(run.engine, deliveries)}) == 2


def test_at_the_floor_the_teacher_needs_retraining(run: Cycles) -> None:
    run = with_policy(run, alpha=AlphaPolicy(alpha_floor=Decimal("0.7"), cooldown=timedelta(0)))
    ended = run.conclude(0, FAR)
    assert (ended.order.reason, ended.job_id) == (OrderReason.AT_FLOOR, None)
    assert stored(run.engine, jobs) == []
    assert incident_list(run) == [("drift", "error", "firing"), ("retrain-teacher", "critical", "firing")]
    run.conclude(1, HEALTHY)
    assert incident_list(run) == [
        ("drift", "error", "resolved"),
        ("retrain-teacher", "critical", "resolved"),
    ]


def test_after_three_rejected_candidates_the_teacher_needs_retraining(run: Cycles) -> None:
    for index in range(3):
        assert run.conclude(index, FAR).order.reason is OrderReason.ORDERED
        end_job(run, JobStatus.REJECTED, JobDecision.REJECTED, index=index)
    assert [alpha_to for _, alpha_to, _ in job_list(run)] == [
        Decimal("0.6"),
        Decimal("0.5"),
        Decimal("0.4"),
    ]
    assert incident_list(run) == [("drift", "error", "firing")]
    assert run.conclude(3, FAR).order.reason is OrderReason.ATTEMPTS_EXHAUSTED
    assert incident_list(run) == [("drift", "error", "firing"), ("retrain-teacher", "critical", "firing")]
    assert len(job_list(run)) == 3


def test_nothing_is_ordered_during_the_cooldown(run: Cycles) -> None:
    run = with_policy(run, alpha=AlphaPolicy(cooldown=timedelta(hours=2)))
    run.conclude(0, FAR)
    end_job(run, JobStatus.REJECTED, index=0)
    assert run.conclude(1, FAR).order.reason is OrderReason.COOLDOWN
    assert run.conclude(2, FAR).order.reason is OrderReason.ORDERED


def test_a_candidate_that_waits_for_a_person_counts_as_an_open_job(run: Cycles) -> None:
    run.promote(now=START)
    run.conclude(0, FAR)
    end_job(run, JobStatus.SUCCEEDED, JobDecision.HELD)
    assert run.conclude(1, FAR).order.reason is OrderReason.JOB_OPEN


def test_three_cycles_that_failed_make_the_monitor_blind(run: Cycles) -> None:
    run.fail(0, "first")
    run.fail(1, "second")
    assert incident_list(run) == []
    run.fail(2, "no traffic in logs/")
    assert incident_list(run) == [("blind", "error", "firing")]
    (incident,) = stored(run.engine, incidents)
    assert incident["summary"] == "3 cycles in a row without a verdict; the last: no traffic in logs/"
    assert message_list(run) == [(1, "log", "firing")]
    run.fail(3)
    assert message_list(run) == [(1, "log", "firing")]


def test_attempts_at_one_slot_are_one_cycle_without_a_verdict(run: Cycles) -> None:
    for _ in range(4):
        run.fail(0)
    assert incident_list(run) == []


def test_skipped_failed_and_inconclusive_cycles_all_count_towards_blindness(run: Cycles) -> None:
    with writing(run.engine) as connection:
        ledger.skip(connection, [make_slot(0)], START)
    run.fail(1)
    run.conclude(2, TOO_FEW)
    assert incident_list(run) == [("blind", "error", "firing")]


@pytest.mark.parametrize("result", [HEALTHY, LOW])
def test_any_evaluated_cycle_ends_the_blindness(run: Cycles, result: CycleResult) -> None:
    for index in range(3):
        run.conclude(index, TOO_FEW)
    assert incident_list(run) == [("blind", "error", "firing")]
    run.conclude(3, result)
    assert incident_list(run) == [("blind", "error", "resolved")]


def test_blindness_does_not_end_the_drift(run: Cycles) -> None:
    run.conclude(0, FAR)
    for index in range(1, 4):
        run.conclude(index, TOO_FEW)
    assert incident_list(run) == [("drift", "error", "firing"), ("blind", "error", "firing")]


def test_a_failed_attempt_is_recorded_and_its_slot_can_still_end_well(run: Cycles) -> None:
    run.fail(0, "the teacher is gone")
    (cycle,) = stored(run.engine, cycles)
    assert (cycle["status"], cycle["verdict"], cycle["verdict_reason"]) == ("failed", "failed", "error")
    assert (cycle["error"], cycle["finished_at"]) == ("the teacher is gone", due_at(0))
    assert run.conclude(0, HEALTHY).judgement.verdict is Verdict.HEALTHY
    (cycle,) = stored(run.engine, cycles)
    assert (cycle["attempt"], cycle["verdict"], cycle["error"]) == (2, "healthy", None)


# --- cycles out of turn ----------------------------------------------------------------------------------


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


# --- other models ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "orders"),
    [
        (replace(LOW, teacher_version="new"), [OrderReason.TEACHER_CHANGED, OrderReason.ORDERED]),
        (replace(LOW, student_version="new"), [OrderReason.ORDERED, OrderReason.JOB_OPEN]),
    ],
)
def test_another_model_starts_the_streaks_anew(
    run: Cycles, changed: CycleResult, orders: list[OrderReason]
) -> None:
    """And by a new teacher nothing is ordered for agreement, before it has a reference of its own."""
    ended = [run.conclude(index, result) for index, result in enumerate([LOW, LOW, *[changed] * 4])]
    assert streaks(run) == [1, 2, 1, 2, 3, 4]
    assert [each.order.reason for each in ended] == [OrderReason.NOT_WANTED] * 4 + orders
    assert len(job_list(run)) == 1


def test_a_new_student_starts_from_its_own_alpha_and_with_a_clean_slate(run: Cycles) -> None:
    """The ladder of the student before it was at its end, and far down."""
    run.promote(now=START)
    for index in range(3):
        run.conclude(index, FAR)
        end_job(run, JobStatus.REJECTED, index=index)
    assert run.conclude(3, FAR).order.reason is OrderReason.ATTEMPTS_EXHAUSTED
    run.promote("student-2", now=due_at(3), alpha=Decimal("0.6"))
    ended = run.conclude(4, replace(FAR, student_version="student-2", alpha=Decimal("0.6")))
    assert (ended.order.alpha_from, ended.order.alpha_to) == (Decimal("0.6"), Decimal("0.5"))


def test_a_new_teacher_begins_a_new_ladder(run: Cycles) -> None:
    """What its predecessor's jobs have tried and failed says nothing about it."""
    for index in range(3):
        run.conclude(index, FAR)
        end_job(run, JobStatus.REJECTED, index=index)
    assert run.conclude(3, FAR).order.reason is OrderReason.ATTEMPTS_EXHAUSTED
    ended = run.conclude(4, replace(FAR, teacher_version="teacher-2"))
    assert ended.order.reason is OrderReason.ORDERED
    assert (ended.order.alpha_from, ended.order.alpha_to) == (Decimal("0.7"), Decimal("0.6"))


def test_an_open_job_counts_whoever_its_teacher_is(run: Cycles) -> None:
    run.conclude(0, FAR)
    ended = run.conclude(1, replace(FAR, teacher_version="teacher-2"))
    assert ended.order.reason is OrderReason.JOB_OPEN


def test_a_student_that_was_replaced_while_it_was_measured_is_let_be(run: Cycles) -> None:
    """Its cycle is judged, but it is too late to re-distil it or to page about it."""
    run.promote(now=START)
    claim = run.claim(0)
    run.promote("student-2", now=due_at(0))
    ended = run.conclude_claim(claim, FAR)
    assert ended.judgement.verdict is Verdict.BREACHED
    assert ended.order.reason is OrderReason.NOT_LATEST
    assert stored(run.engine, jobs) == stored(run.engine, incidents) == []


def test_a_job_that_promotes_between_two_statements_is_not_overlooked(postgres_engine: Engine) -> None:
    """Each statement sees what has been committed by then; on SQLite no one else writes meanwhile."""
    run = Cycles(engine=postgres_engine, lease=taken(postgres_engine))
    run.promote(now=START)
    run.conclude(0, FAR)
    claim = run.claim(1)
    reads: list[str] = []

    def promote_before_the_second(_connection: Connection, _cursor: object, query: str, *_: object) -> None:
        if "FROM jobs" in query or "JOIN promotions" in query:
            reads.append(query)
            if len(reads) == 2:
                end_job(run, JobStatus.SUCCEEDED, JobDecision.PROMOTED, index=1)
                run.promote("student-2", now=due_at(1))

    event.listen(postgres_engine, "before_cursor_execute", promote_before_the_second)
    ended = run.conclude_claim(claim, FAR)
    assert job_list(run) == [(Decimal("0.7"), Decimal("0.6"), "succeeded")]
    assert ended.order.reason in {OrderReason.JOB_OPEN, OrderReason.NOT_LATEST}


# --- the teacher's health ----------------------------------------------------------------------------------


def by_teacher(version: str = TEACHER, *, result: CycleResult = HEALTHY, **numbers: float) -> CycleResult:
    """The result, with other numbers of its teacher."""
    assert result.measurement is not None
    measured = replace(result.measurement, teacher=make_teacher(**numbers))
    return replace(result, measurement=measured, teacher_version=version)


def health_list(run: Cycles) -> list[tuple[str, str]]:
    return [(row["health"], row["reason"]) for row in stored(run.engine, teacher_metrics)]


UNSURE = by_teacher(result=FAR, confidence=0.7)
KNOWN = [HEALTHY] * 3


def test_a_teacher_is_unknown_until_its_reference_is_whole(run: Cycles) -> None:
    """Which says nothing against it: all is judged and ordered."""
    ended = [run.conclude(index, FAR) for index in range(4)]
    assert [each.teacher.health for each in ended] == ["unknown"] * 3 + ["healthy"]
    assert ended[0].order.reason is OrderReason.ORDERED
    assert incident_list(run) == [("drift", "error", "firing")]


def test_by_an_unhealthy_teacher_nothing_is_judged_or_ordered(run: Cycles) -> None:
    """Invariant 5: neither healthy nor breached. Its numbers are kept, and a person is called."""
    for index, result in enumerate([*KNOWN, UNSURE]):
        ended = run.conclude(index, result)
    assert (ended.judgement.verdict, ended.judgement.reason) == (
        Verdict.INCONCLUSIVE,
        VerdictReason.TEACHER_UNHEALTHY,
    )
    detail = "confidence 0.7000 [0.6960, 0.7040] below 0.8460"
    assert ended.judgement.detail == f"the teacher is unhealthy: {detail}"
    assert [(outcome.value, outcome.reason) for outcome in ended.outcomes] == [(None, "not_evaluated")] * 2
    cycle = stored(run.engine, cycles)[-1]
    assert (cycle["status"], cycle["kl"], cycle["agreement"]) == ("inconclusive", 0.2, pytest.approx(0.974))
    assert health_list(run)[-1] == ("unhealthy", "confidence_fallen")
    assert stored(run.engine, jobs) == []
    assert incident_list(run) == [("teacher-unhealthy", "critical", "firing")]
    (incident,) = stored(run.engine, incidents)
    assert incident["summary"].startswith(f"{detail}; nothing is judged by this teacher")


def test_cycles_of_an_unhealthy_teacher_neither_count_nor_reset(run: Cycles) -> None:
    """Two in a row leave the streak; the third ends it, and does not make the monitor blind as well."""
    for index, result in enumerate([*KNOWN, LOW, LOW, UNSURE, UNSURE, LOW]):
        ended = run.conclude(index, result)
    assert streaks(run)[3:] == [1, 2, 2, 2, 3]
    assert ended.order.reason is OrderReason.ORDERED
    for index in range(8, 12):
        run.conclude(index, UNSURE)
    assert streaks(run)[8:] == [3, 3, 0, 0]
    assert [(kind, state) for kind, _, state in incident_list(run)] == [
        ("teacher-unhealthy", "resolved"),
        ("drift", "firing"),
        ("teacher-unhealthy", "firing"),
    ]


def test_an_unhealthy_cycle_is_no_reference(run: Cycles) -> None:
    """So the teacher that stays unhealthy does not become its own measure."""
    for index, result in enumerate([*KNOWN, *[UNSURE] * 5]):
        run.conclude(index, result)
    assert [health for health, _ in health_list(run)[3:]] == ["unhealthy"] * 5


def test_a_cycle_without_evidence_says_nothing_of_the_teacher(run: Cycles) -> None:
    for index, result in enumerate([*KNOWN, UNSURE]):
        run.conclude(index, result)
    few = by_teacher(result=TOO_FEW, confidence=0.7, n=999)
    assert run.conclude(4, few).judgement.reason is VerdictReason.TOO_FEW_SAMPLES
    run.conclude(5, make_empty_result())
    assert health_list(run)[4:] == [("unknown", "no_evidence")]
    assert incident_list(run) == [("teacher-unhealthy", "critical", "firing"), ("blind", "error", "firing")]


def test_a_swapped_teacher_is_told_and_only_a_divergence_orders(run: Cycles) -> None:
    """The story of a teacher that is retrained each month: v1 is known; v2 answers otherwise in 6%, which is
    not held against the student until v2 is known; but a KL above 0.15 against it orders at once.
    """
    swapped = replace(LOW, teacher_version="v2")
    ended = [run.conclude(index, result) for index, result in enumerate([*KNOWN, swapped, swapped, swapped])]
    assert [each.teacher.health for each in ended[2:]] == ["unknown", "changed", "changed", "changed"]
    assert ended[-1].judgement.reason is VerdictReason.RULE_FIRED
    assert ended[-1].order.reason is OrderReason.TEACHER_CHANGED
    assert job_list(run) == []
    assert incident_list(run) == [("teacher-changed", "warning", "firing"), ("drift", "error", "firing")]
    (changed,) = (row for row in stored(run.engine, incidents) if row["kind"] == "teacher-changed")
    assert changed["summary"].startswith("new teacher v2 after teacher-1: confidence 0.9300")


def test_a_high_kl_against_a_new_teacher_orders_under_teacher_drift(run: Cycles) -> None:
    for index, result in enumerate([*KNOWN, replace(FAR, teacher_version="v2")]):
        ended = run.conclude(index, result)
    assert (ended.teacher.health, ended.order.reason) == ("changed", OrderReason.ORDERED)
    (job,) = stored(run.engine, jobs)
    assert (job["rule"], job["teacher_version"]) == ("high-kl", "v2")
    assert (
        job["reason"] == "kl 0.2 above 0.15 for 1 cycle; distillation under teacher drift: the teacher is new"
    )


def test_a_new_teacher_is_known_once_its_own_reference_is_whole(run: Cycles) -> None:
    """It ends the incident, and from then on its own first cycles are its measure."""
    second = by_teacher("v2", confidence=0.86)
    for index, result in enumerate([*KNOWN, second, second, second, second]):
        ended = run.conclude(index, result)
    assert (ended.teacher.health, ended.teacher.reference_version) == ("healthy", "v2")
    assert incident_list(run) == [("teacher-changed", "warning", "resolved")]
    assert run.conclude(7, by_teacher("v2", confidence=0.78)).teacher.health == "healthy"
    assert run.conclude(8, by_teacher("v2", confidence=0.76)).teacher.health == "unhealthy"


def test_a_new_teacher_that_is_damaged_is_caught_at_its_first_cycle_and_never_accepted(run: Cycles) -> None:
    damaged = by_teacher("v2", result=FAR, entropy=0.9)
    for index, result in enumerate([*KNOWN, *[damaged] * 5]):
        run.conclude(index, result)
    assert health_list(run)[3:] == [("unhealthy", "entropy_risen")] * 5
    assert job_list(run) == []
    assert incident_list(run) == [("teacher-unhealthy", "critical", "firing")]


def test_a_person_can_vouch_for_a_new_teacher(run: Cycles) -> None:
    version = "0123456789abcdef"
    softer = by_teacher(version, confidence=0.7)
    for index, result in enumerate([*KNOWN, softer]):
        run.conclude(index, result)
    vouching = with_policy(run, teacher=TeacherPolicy(accept=version[:12]))
    ended = [vouching.conclude(index, softer) for index in range(4, 8)]
    assert [each.teacher.health for each in ended] == ["changed", "changed", "changed", "healthy"]
    assert [(kind, state) for kind, _, state in incident_list(run)] == [
        ("teacher-unhealthy", "resolved"),
        ("teacher-changed", "resolved"),
    ]
    assert vouching.conclude(8, by_teacher(version, confidence=0.5)).teacher.health == "unhealthy"


def test_true_labels_that_came_late_make_a_teacher_unhealthy(run: Cycles) -> None:
    """From the next cycle on; those of another teacher say nothing of it."""
    wrong = split([1] * 100 + [0] * 10, [0] * 110, [0] * 100 + [1] * 10, [1.0] * 110)
    for index, result in enumerate([replace(HEALTHY, teacher_version="v0"), HEALTHY]):
        run.conclude(index, result)
    with writing(run.engine) as connection:
        labels.set_correctness(connection, 1, wrong)
    assert run.conclude(2, HEALTHY).teacher.accuracy is None
    with writing(run.engine) as connection:
        labels.set_correctness(connection, 2, wrong)
    ended = run.conclude(3, HEALTHY)
    assert (ended.judgement.reason, ended.teacher.reason) == ("teacher_unhealthy", "accuracy_low")
    row = stored(run.engine, teacher_metrics)[-1]
    assert (row["accuracy"], row["health"]) == (pytest.approx(1 - 0.974), "unhealthy")
    right = replace(
        HEALTHY.measurement, correctness=split([0] * 2_000, [0] * 2_000, [0] * 2_000, [1] * 2_000)
    )
    assert run.conclude(4, replace(HEALTHY, measurement=right)).teacher.health != "unhealthy"


def test_a_teacher_that_comes_back_is_known(run: Cycles) -> None:
    for index, result in enumerate([*KNOWN, replace(HEALTHY, teacher_version="v2"), HEALTHY]):
        ended = run.conclude(index, result)
    assert (ended.teacher.health, ended.teacher.reference_version) == ("healthy", TEACHER)
    assert incident_list(run) == [("teacher-changed", "warning", "resolved")]


def test_cycles_from_before_the_revision_make_a_teacher_known_but_are_no_reference(run: Cycles) -> None:
    """It is not new, and has a reference three cycles later."""
    for index, result in enumerate([replace(HEALTHY, teacher_version="old"), *KNOWN]):
        run.conclude(index, result)
    with writing(run.engine) as connection:
        connection.execute(delete(teacher_metrics))
    ended = [run.conclude(index, HEALTHY) for index in range(4, 8)]
    assert [each.teacher.health for each in ended] == ["unknown"] * 3 + ["healthy"]


def test_the_archive_of_an_unhealthy_cycle_is_no_cache(run: Cycles) -> None:
    """What the teacher said in it may be the fault itself."""
    archive = Archive(uri="a", sha256="ab" * 32)
    for index, result in enumerate([*KNOWN, UNSURE]):
        run.conclude(index, replace(result, archive=replace(archive, uri=f"{index}")))
    with writing(run.engine) as connection:
        found = history.archives_before(connection, make_slot(4), TEACHER, since=START)
    assert [uri for uri, _ in found] == ["2", "1", "0"]


# --- all or nothing --------------------------------------------------------------------------------------

REFUSALS = {
    "sqlite": "CREATE TRIGGER refuse BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'refused'); END",
    "postgresql": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
        CREATE {kind} TRIGGER refuse {when} {verb} ON {table} {how} FOR EACH ROW EXECUTE FUNCTION refuse()
        """,
}


@contextmanager
def refusing(engine: Engine, verb: str, table: str, *, at_commit: bool = False) -> Iterator[None]:
    """The database refuses this write, or, on PostgreSQL, the commit of a transaction with it."""
    kind, when, how = (
        ("CONSTRAINT", "AFTER", "DEFERRABLE INITIALLY DEFERRED")
        if at_commit
        else (
            "",
            "BEFORE",
            "",
        )
    )
    create = REFUSALS[engine.dialect.name].format(verb=verb, table=table, kind=kind, when=when, how=how)
    drop = "DROP TRIGGER refuse" + (f" ON {table}" if engine.dialect.name == "postgresql" else "")
    with writing(engine) as connection:
        connection.execute(text(create))
    yield
    with writing(engine) as connection:
        connection.execute(text(drop))


def effects(run: Cycles) -> dict[str, int]:
    return {
        table.name: len(stored(run.engine, table))
        for table in (
            *(class_metrics, teacher_metrics, strata, correctness, input_drift, rejects),
            *(rule_outcomes, rule_states, rule_texts, jobs, incidents, deliveries),
        )
    }


@pytest.mark.parametrize(
    ("verb", "table"),
    [
        ("UPDATE", "cycles"),
        ("INSERT", "class_metrics"),
        ("INSERT", "teacher_metrics"),
        ("INSERT", "strata"),
        ("INSERT", "correctness"),
        ("INSERT", "input_drift"),
        ("INSERT", "rejects"),
        ("INSERT", "rule_outcomes"),
        ("INSERT", "rule_states"),
        ("INSERT", "rule_texts"),
        ("INSERT", "jobs"),
        ("INSERT", "incidents"),
        ("INSERT", "deliveries"),
    ],
)
def test_a_decision_and_its_effects_are_there_together_or_not_at_all(
    run: Cycles, verb: str, table: str
) -> None:
    """Invariant 3. Whichever write fails, none is there; and when nothing fails, all are."""
    measurement = replace(
        make_measurement(kl=0.2), correctness=labelled(1, 0), input_drift=make_input_drift()
    )
    result = make_result(measurement=measurement, traffic=HEALTHY.traffic)
    claim = run.claim(0)
    before = everything(run.engine)
    with refusing(run.engine, verb, table):
        with pytest.raises(DBAPIError, match="refused"):
            run.conclude_claim(claim, result)
        assert everything(run.engine) == before
    run.conclude_claim(claim, result)
    assert effects(run) == {
        "class_metrics": 2,
        "teacher_metrics": 1,
        "strata": 1,
        "correctness": 1,
        "input_drift": 1,
        "rejects": 1,
        "rule_outcomes": 2,
        "rule_states": 2,
        "rule_texts": 2,
        "jobs": 1,
        "incidents": 1,
        "deliveries": 1,
    }


def test_a_commit_that_fails_leaves_nothing(postgres_engine: Engine) -> None:
    run = Cycles(engine=postgres_engine, lease=taken(postgres_engine))
    claim = run.claim(0)
    before = everything(run.engine)
    with refusing(run.engine, "INSERT", "jobs", at_commit=True):
        with pytest.raises(DBAPIError, match="refused"):
            run.conclude_claim(claim, FAR)
        assert everything(run.engine) == before


def test_a_failure_and_its_incident_are_there_together_or_not_at_all(run: Cycles) -> None:
    run.fail(0)
    run.fail(1)
    claim = run.claim(2)
    before = everything(run.engine)
    with refusing(run.engine, "INSERT", "deliveries"):
        with pytest.raises(DBAPIError, match="refused"):
            conclude_failure(run.engine, run.lease, claim, "gone", run.policy, due_at(2))
        assert everything(run.engine) == before


@pytest.mark.parametrize("end", ["conclude", "fail"])
def test_one_who_lost_the_lease_writes_nothing(run: Cycles, end: str) -> None:
    run.fail(0)
    run.fail(1)
    claim = run.claim(2)
    other = replace(run, lease=seized(run.engine, run.lease))
    before = everything(run.engine)
    ends: dict[str, Callable[[], object]] = {
        "conclude": lambda: run.conclude_claim(claim, FAR),
        "fail": lambda: conclude_failure(run.engine, run.lease, claim, "gone", run.policy, due_at(2)),
    }
    with pytest.raises(LeaseLostError):
        ends[end]()
    assert everything(run.engine) == before
    assert other.conclude(2, HEALTHY).judgement.verdict is Verdict.HEALTHY
