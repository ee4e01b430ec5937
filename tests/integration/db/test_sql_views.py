"""The public views: columns as the contract lists them, and what is computed in them."""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Connection, Engine, Table, insert, inspect, text

from db.connection.session import reading, writing
from db.tables import (
    class_metrics,
    cycles,
    deliveries,
    evaluations,
    incidents,
    jobs,
    models,
    promotions,
    rejects,
    rule_outcomes,
)
from tests.support.records.factories import HOUR, START, STUDENT, TEACHER

CONTRACT = {
    "cycle_history": (
        "monitor, cycle_id, window_start, window_end, status, verdict, verdict_reason, n_seen, n_sampled, "
        "n_scored, n_rejected, agreement, agreement_low, agreement_high, kl, kl_low, kl_high, kl_t1, js, "
        "agreement_streak, kl_streak, teacher_version, student_version, alpha, started_at, finished_at, "
        "seconds, order_reason, order_detail, error, n_slots"
    ),
    "class_history": (
        "monitor, cycle_id, window_end, label, n, share, agreement, agreement_low, agreement_high, kl"
    ),
    "rule_history": (
        "monitor, cycle_id, window_end, rule, metric, value, threshold, breached, streak, fired, reason, "
        "statistic, rule_version"
    ),
    "job_history": (
        "job_id, monitor, cycle_id, rule, reason, alpha_from, alpha_to, temperature, soft_labels, status, "
        "attempt, enqueued_at, started_at, finished_at, candidate_version, decision, decision_reason, "
        "promoted_at, evidence, recovery, n_labelled_traffic"
    ),
    "worker_task_history": (
        "task_id, job_id, monitor, state, reason, detail, arn, cluster, last_status, asked_at, started_at, "
        "ended_at"
    ),
    "incident_history": (
        "incident_id, monitor, kind, severity, state, opened_at, acknowledged_at, resolved_at, cycle_id, "
        "job_id, deliveries_ok, deliveries_pending, deliveries_dead, since, acknowledged_by"
    ),
    "model_history": (
        "version, role, parent_version, job_id, alpha, temperature, accuracy, accuracy_low, accuracy_high, "
        "macro_f1, rare_class_accuracy, ece, agreement, kl, latency_p95_ms, created_at, promoted_at, "
        "retired_at, monitor, files_deleted_at"
    ),
    "calibration_history": (
        "monitor, version, temperature, n, dataset, nll_before, nll_after, ece_before, ece_after, "
        "ece_debiased_before, ece_debiased_after, reason, job_id, calibrated_at, source, rows_until"
    ),
    "training_history": (
        "monitor, job_id, version, epoch, n_steps, n_labelled, learning_rate, loss, kl, ce, "
        "kl_gradient_share, kl_gradient_share_weights, gradient_norm, clipped_share, validation_accuracy, "
        "validation_agreement"
    ),
    "shadow_history": (
        "monitor, shadow_id, job_id, candidate_version, incumbent_version, state, reason, detail, "
        "started_at, ended_at, cycle_id, window_end, n, n_candidate_only, n_incumbent_only, e_better, "
        "e_worse, "
        "candidate_agreement, incumbent_agreement, candidate_kl, incumbent_kl, error"
    ),
    "strata_history": "monitor, cycle_id, window_end, student_label, n_seen, n, n_disagreements, weight",
    "serving_history": (
        "monitor, cycle_id, window_end, n_recorded, n_rescored, serving_skew, serving_skew_low, "
        "serving_skew_high"
    ),
    "correctness_history": (
        "monitor, cycle_id, window_end, n_labelled, n_disagreements, n_out_of_scope, "
        "teacher_right, teacher_right_low, teacher_right_high, "
        "student_right, student_right_low, student_right_high, "
        "both_wrong, both_wrong_low, both_wrong_high, "
        "teacher_accuracy, teacher_accuracy_low, teacher_accuracy_high, "
        "student_accuracy, student_accuracy_low, student_accuracy_high"
    ),
    "accuracy_history": (
        "monitor, cycle_id, window_end, estimated_accuracy, estimated_accuracy_low, estimated_accuracy_high, "
        "estimated_accuracy_method, estimated_accuracy_reason, n_labels, rectifier, contradicted, "
        "teacher_temperature, teacher_version, student_version"
    ),
    "teacher_history": (
        "monitor, cycle_id, window_end, teacher_version, teacher_confidence, teacher_confidence_low, "
        "teacher_confidence_high, teacher_entropy, teacher_entropy_low, teacher_entropy_high, "
        "teacher_accuracy, teacher_accuracy_low, teacher_accuracy_high, label_shift, "
        "label_gap, reference_version, health, reason, detail, "
        "familiar_share, familiar_shift, familiar_gap"
    ),
    "input_history": (
        "monitor, cycle_id, window_end, reference_cycle_id, reference_window_end, n, n_reference, "
        "input_drift, p_value, psi, psi_low, psi_high, js, js_low, js_high"
    ),
    "slice_history": (
        "monitor, cycle_id, window_end, rank, kind, name, student_label, n, n_texts, n_disagreements, share, "
        "rate, excess, part, p_value, q_value, reference_share, reference_rate, reference_excess, q_moved"
    ),
    "reject_history": "monitor, cycle_id, reason, n, example_object",
}
CYCLE = {"monitor": "a", "window_start": START, "status": "evaluated", "attempt": 1}
JOB = {
    "monitor": "a",
    "reason": "drift",
    "teacher_version": TEACHER,
    "student_version": STUDENT,
    "alpha_from": Decimal("0.7"),
    "alpha_to": Decimal("0.6"),
    "temperature": 3.0,
    "soft_labels": "online",
    "status": "succeeded",
    "attempt": 1,
    "enqueued_at": START,
}
INCIDENT = {
    "monitor": "a",
    "kind": "drift",
    "severity": "error",
    "state": "firing",
    "summary": "drift",
    "opened_at": START,
}
MODEL = {"monitor": "a", "role": "student", "uri": "file", "created_at": START}


class Rows:
    """Writes rows as one names them and reads views as dictionaries."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def add(self, table: Table, *rows: Mapping[str, object]) -> None:
        for row in rows:
            self.connection.execute(insert(table).values(row))

    def read(self, query: str) -> list[dict[str, object]]:
        return [dict(row) for row in self.connection.execute(text(query)).mappings()]


@pytest.fixture
def rows(engine: Engine) -> Iterator[Rows]:
    with writing(engine) as connection:
        yield Rows(connection)


def test_the_views_are_those_of_the_contract(engine: Engine) -> None:
    assert set(inspect(engine).get_view_names()) == set(CONTRACT)


@pytest.mark.parametrize("view", CONTRACT)
def test_a_view_has_the_columns_of_the_contract_in_their_order(engine: Engine, view: str) -> None:
    with reading(engine) as connection:
        columns = connection.execute(text(f"SELECT * FROM {view}")).keys()  # noqa: S608 - our own names
    assert ", ".join(columns) == CONTRACT[view]


def test_a_cycle_has_the_longest_streak_of_the_rules_on_each_metric(rows: Rows) -> None:
    def outcome(rule: str, metric: str, streak: int) -> dict[str, object]:
        said = {"threshold": 0.95, "breached": True, "fired": False, "reason": "breached"}
        return {"cycle_id": 1, "rule": rule, "metric": metric, "streak": streak, **said}

    rows.add(cycles, {"id": 1, "window_end": START + HOUR, **CYCLE})
    rows.add(cycles, {"id": 2, "window_end": START + 2 * HOUR, **CYCLE})
    rows.add(
        rule_outcomes,
        outcome("strict", "agreement", 3),
        outcome("lax", "agreement", 1),
        outcome("kl", "kl", 2),
        outcome("js", "js", 9),
    )
    found = rows.read("SELECT agreement_streak, kl_streak FROM cycle_history ORDER BY cycle_id")
    assert found == [
        {"agreement_streak": 3, "kl_streak": 2},
        {"agreement_streak": None, "kl_streak": None},
    ]


def test_a_cycle_says_how_many_seconds_it_took(rows: Rows) -> None:
    ended = START + timedelta(minutes=2, milliseconds=250)
    rows.add(cycles, {"id": 1, "window_end": START, "started_at": START, "finished_at": ended, **CYCLE})
    rows.add(cycles, {"id": 2, "window_end": START + HOUR, "started_at": START, **CYCLE})
    found = rows.read("SELECT seconds FROM cycle_history ORDER BY cycle_id")
    assert found == [{"seconds": pytest.approx(120.25, abs=0.002)}, {"seconds": None}]


def test_what_belongs_to_a_cycle_carries_its_monitor_and_window(rows: Rows) -> None:
    shares = {"share": 1.0, "agreement": 0.9, "agreement_low": 0.8, "agreement_high": 0.95, "kl": 0.1}
    rows.add(cycles, {"id": 1, "window_end": START + HOUR, **CYCLE})
    rows.add(class_metrics, {"cycle_id": 1, "label": "faq", "n": 7, **shares})
    rows.add(
        rejects,
        {"cycle_id": 1, "reason": "no_id", "n": 4, "example_hash": "ab", "example_object": "x.jsonl"},
    )
    by_label = rows.read(
        "SELECT h.monitor, h.label, h.n FROM class_history h JOIN cycle_history c "
        "ON c.window_end = h.window_end"
    )
    refused = rows.read("SELECT * FROM reject_history")
    assert by_label == [{"monitor": "a", "label": "faq", "n": 7}]
    assert refused == [
        {"monitor": "a", "cycle_id": 1, "reason": "no_id", "n": 4, "example_object": "x.jsonl"}
    ]


def test_a_job_shows_the_latest_promotion_of_its_candidate_at_its_monitor(rows: Rows) -> None:
    def promotion(hours: int, **other: object) -> dict[str, object]:
        at = START + hours * HOUR
        row = {"monitor": "a", "role": "student", "version": "new", "reason": "gates_passed"}
        return {**row, "promoted_at": at, "retired_at": at + HOUR, **other}

    rows.add(jobs, {"id": 1, "candidate_version": "new", **JOB}, {"id": 2, **JOB})
    rows.add(
        promotions,
        promotion(1),
        promotion(3),
        promotion(5, monitor="b"),
        promotion(6, version="other"),
        promotion(7, role="teacher"),
    )
    found = rows.read(
        "SELECT j.job_id, p.id FROM job_history j LEFT JOIN promotions p "
        "ON p.promoted_at = j.promoted_at ORDER BY j.job_id"
    )
    assert found == [{"job_id": 1, "id": 2}, {"job_id": 2, "id": None}]


def test_an_incident_counts_its_messages_by_state(rows: Rows) -> None:
    def message(channel: str, state: str) -> dict[str, object]:
        row = {"incident_id": 1, "event": "firing", "dedup_key": "1", "payload": "{}", "attempts": 1}
        return {**row, "channel": channel, "state": state, "next_attempt_at": START}

    rows.add(incidents, {"id": 1, **INCIDENT}, {"id": 2, **INCIDENT, "kind": "blind"})
    rows.add(
        deliveries,
        message("pagerduty", "delivered"),
        message("slack", "delivered"),
        message("log", "delivered"),
        message("sns", "pending"),
        message("mail", "pending"),
        message("webhook", "dead"),
    )
    found = rows.read(
        "SELECT deliveries_ok, deliveries_pending, deliveries_dead FROM incident_history ORDER BY incident_id"
    )
    assert [tuple(row.values()) for row in found] == [(3, 2, 1), (0, 0, 0)]


def test_a_model_shows_the_test_scores_of_the_newest_job_that_measured_it(rows: Rows) -> None:
    def score(job_id: int, metric: str, value: float, **other: object) -> dict[str, object]:
        row = {"monitor": "a", "version": "v", "dataset": "test", "n": 9, "job_id": job_id}
        return {**row, "metric": metric, "value": value, "low": value - 0.1, "high": value + 0.1, **other}

    rows.add(models, {"version": "v", **MODEL}, {"version": "unmeasured", **MODEL})
    rows.add(jobs, *({"id": number, **JOB} for number in (1, 2, 3)))
    rows.add(
        evaluations,
        score(1, "accuracy", 0.5),
        score(1, "ece", 0.9),
        score(2, "accuracy", 0.75),
        score(2, "kl", 0.25),
        score(2, "latency_p95_ms", 4.5),
        score(3, "accuracy", 0.1, dataset="condemned"),
        score(3, "accuracy", 0.2, monitor="b"),
    )
    found = rows.read(
        "SELECT version, accuracy, accuracy_low, accuracy_high, ece, kl, latency_p95_ms "
        "FROM model_history ORDER BY version DESC"
    )
    assert [tuple(row.values()) for row in found] == [
        ("v", 0.75, pytest.approx(0.65), pytest.approx(0.85), None, 0.25, 4.5),
        ("unmeasured", None, None, None, None, None, None),
    ]


def test_a_model_shows_its_latest_time_as_the_current_one(rows: Rows) -> None:
    again = {"monitor": "a", "role": "student", "version": "v", "reason": "rollback"}
    rows.add(models, {"version": "v", **MODEL}, {"version": "candidate", **MODEL})
    rows.add(
        promotions,
        {"id": 1, **again, "promoted_at": START, "retired_at": START + HOUR},
        {"id": 2, **again, "promoted_at": START + 2 * HOUR},
    )
    found = rows.read(
        "SELECT m.version, p.id, m.retired_at FROM model_history m LEFT JOIN promotions p "
        "ON p.promoted_at = m.promoted_at ORDER BY m.version"
    )
    assert found == [
        {"version": "candidate", "id": None, "retired_at": None},
        {"version": "v", "id": 2, "retired_at": None},
    ]
