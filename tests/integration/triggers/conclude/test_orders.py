"""What is ordered and who is told of it."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Literal

import pytest
from sqlalchemy import text

from db.connection.session import writing
from db.cycles import labels
from db.states import IncidentKind, JobDecision, JobStatus, OrderReason, Severity, VerdictReason
from db.tables import deliveries, incidents, jobs
from tests.support.records.conclusions import (
    FAR,
    HEALTHY,
    LOW,
    end_job,
    incident_list,
    job_list,
    labelled,
    message_list,
    streaks,
    with_policy,
)
from tests.support.records.cycles import MONITOR, Cycles, due_at, stored
from tests.support.records.factories import START, STUDENT, TEACHER, make_measurement, make_result, make_slot
from tests.support.records.messages import make_document
from tests.support.records.tables import everything
from triggers.alert_settings import LogAlert
from triggers.incidents.figures import differing
from triggers.settings import AlphaPolicy, IncidentPolicy, Rule
from triggers.teacher.label_evidence import label_evidence


def test_the_third_cycle_of_low_agreement_orders_and_pages(run: Cycles) -> None:
    """A job with alpha lowered by 0.1, an incident, and a message for each channel that wants it."""
    everyone = LogAlert(name="everyone")
    errors = LogAlert(name="errors", severities=(Severity.ERROR, Severity.CRITICAL))
    warnings = LogAlert(name="warnings", severities=(Severity.WARNING,))
    blind = LogAlert(name="blind", kinds=(IncidentKind.BLIND,))
    quiet = LogAlert(name="quiet", except_kinds=(IncidentKind.DRIFT,))
    run = with_policy(run, alerts=(everyone, errors, warnings, blind, quiet))
    first, second = run.conclude(0, LOW), run.conclude(1, LOW)
    assert [ended.order.reason for ended in (first, second)] == [OrderReason.NOT_WANTED] * 2
    assert first.judgement.reason is VerdictReason.RULE_BREACHED
    assert stored(run.engine, jobs) == incident_list(run) == message_list(run) == []

    claim = run.claim(2)
    third = run.conclude_claim(claim, LOW)
    assert streaks(run) == [1, 2, 3]
    assert (third.judgement.reason, third.order.reason) == (
        VerdictReason.RULE_FIRED,
        OrderReason.ORDERED,
    )
    (job,) = stored(run.engine, jobs)
    assert (job["id"], job["cycle_id"], job["rule"]) == (third.order.job_id, claim.cycle_id, "low-agreement")
    assert job["reason"] == "agreement 0.945455 below 0.95 for 3 cycles"
    assert (job["alpha_from"], job["alpha_to"]) == (Decimal("0.7"), Decimal("0.6"))
    assert (job["teacher_version"], job["student_version"]) == (TEACHER, STUDENT)
    assert (job["status"], job["enqueued_at"], job["temperature"]) == ("queued", due_at(2), 3.0)
    (incident,) = stored(run.engine, incidents)
    assert (incident["kind"], incident["severity"], incident["state"]) == ("drift", "error", "firing")
    assert (incident["cycle_id"], incident["job_id"]) == (claim.cycle_id, third.order.job_id)
    assert (incident["since"], incident["opened_at"]) == (make_slot(0).window_end, due_at(2))
    assert message_list(run) == [(1, "everyone", "firing"), (1, "errors", "firing")]


def test_a_drift_that_lasts_orders_and_pages_once(run: Cycles) -> None:
    for index in range(3):
        run.conclude(index, LOW)
    before = everything(run.engine)
    fourth = run.conclude(3, LOW)
    assert (fourth.order.reason, fourth.order.job_id) == (OrderReason.JOB_OPEN, None)
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


def test_the_message_says_what_happened_and_what_was_ordered(run: Cycles) -> None:
    links = IncidentPolicy(runbook="https://wiki.example/runbook", page="https://mlops.example/")
    run = with_policy(run, incidents=links)
    claim = run.claim(0)
    ended = run.conclude_claim(claim, FAR)
    (message,) = stored(run.engine, deliveries)
    assert (message["state"], message["attempts"], message["next_attempt_at"]) == ("pending", 0, due_at(0))
    payload = json.loads(message["payload"])
    assert payload.keys() == make_document().keys()  # which docs/alerts.md shows
    rules, labels = payload.pop("rules"), payload.pop("labels")
    assert payload == {
        "schema": "redistill.incident/1",
        "dedup_key": message["dedup_key"],
        "event": "firing",
        "kind": "drift",
        "severity": "error",
        "summary": "kl 0.2 above 0.15 for 1 cycle; ordered: re-distillation with alpha 0.7 -> 0.6",
        "monitor": MONITOR,
        "incident_id": 1,
        "since": "2026-11-24T11:00:00Z",
        "by": None,
        "links": {"runbook": "https://wiki.example/runbook#drift", "page": "https://mlops.example/"},
        "at": "2026-11-24T11:10:00Z",
        "opened_at": "2026-11-24T11:10:00Z",
        "cycle_id": claim.cycle_id,
        "window_start": "2026-11-24T10:00:00Z",
        "window_end": "2026-11-24T11:00:00Z",
        "verdict": "breached",
        "moved": None,
        "slices": [],
        "order": {
            "reason": "ordered",
            "job_id": ended.order.job_id,
            "alpha_from": "0.7",
            "alpha_to": "0.6",
            "evidence": label_evidence([]).says,
        },
    }
    assert [(rule["rule"], rule["value"], rule["low"], rule["fired"]) for rule in rules] == [
        ("low-agreement", pytest.approx(0.974), pytest.approx(0.970), False),
        ("high-kl", 0.2, pytest.approx(0.196), True),
    ]
    assert FAR.measurement is not None
    bounds = [FAR.measurement.agreement, FAR.measurement.kl]
    assert [(rule["low"], rule["high"]) for rule in rules] == [(each.low, each.high) for each in bounds]
    assert labels == differing(FAR.measurement)


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
    assert (evidence["finding"], evidence["n_cycles"]) == ("teacher_can_teach", 3)
    assert evidence["correctness"]["n_disagreements"] == 24 + 8 + 8
    assert evidence["correctness"]["teacher_right"]["estimate"] == pytest.approx(32 / 40)
    assert ended.order.evidence is not None
    assert evidence["says"] == ended.order.evidence.says
    (message,) = stored(run.engine, deliveries)
    assert json.loads(message["payload"])["order"]["evidence"] == evidence["says"]


def test_without_labels_a_job_says_that_a_lower_alpha_cannot_help(run: Cycles) -> None:
    run.conclude(0, FAR)
    (job,) = stored(run.engine, jobs)
    evidence = json.loads(job["evidence"])
    assert (evidence["finding"], evidence["n_cycles"]) == ("undecided", 0)
    assert evidence["says"].startswith("A lower alpha cannot help yet: no true label is known")


@pytest.mark.parametrize(
    ("policy", "n_errors", "alpha_to"),
    [
        ("lower", 0, "0.6"),
        ("keep", 200, "0.7"),
        ("evidence", 0, "0.7"),
        ("evidence", 99, "0.7"),
        ("evidence", 100, "0.6"),
    ],
)
def test_the_policy_decides_whether_a_job_lowers_alpha(
    run: Cycles, policy: Literal["lower", "evidence", "keep"], n_errors: int, alpha_to: str
) -> None:
    """By evidence it does so where the teacher errs, and 100 labels say so."""
    run = with_policy(run, alpha=AlphaPolicy(alpha_policy=policy))
    measured = replace(make_measurement(kl=0.2), correctness=labelled(0, n_errors))
    ended = run.conclude(0, make_result(measurement=measured))
    assert ended.order.reason is OrderReason.ORDERED
    assert [str(to) for _, to, _ in job_list(run)] == [str(ended.order.alpha_to)] == [alpha_to]
    kept = f"re-distillation with alpha 0.7, which alpha_policy '{policy}' keeps"
    assert ended.order.detail == (kept if alpha_to == "0.7" else "re-distillation with alpha 0.7 -> 0.6")


def test_an_alpha_that_is_kept_has_no_floor(run: Cycles) -> None:
    run = with_policy(run, alpha=AlphaPolicy(alpha_policy="keep", alpha_floor=Decimal("0.7")))
    assert run.conclude(0, FAR).order.reason is OrderReason.ORDERED


def test_at_the_floor_the_teacher_needs_retraining(run: Cycles) -> None:
    run = with_policy(run, alpha=AlphaPolicy(alpha_floor=Decimal("0.7"), cooldown=timedelta(0)))
    ended = run.conclude(0, FAR)
    assert (ended.order.reason, ended.order.job_id) == (OrderReason.AT_FLOOR, None)
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
