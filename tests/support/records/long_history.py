"""A history of many cycles, written with a few statements: a year takes a second.

The cycles of `MONITOR` are hourly and of one (teacher, student) pair, so that no change of a model ends a
streak. Each has ten labels. The cycles of `OTHER` are a tenth as many, without labels and rejects.
"""

# ruff: noqa: S608 - the values are constants

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Final

from sqlalchemy import Connection, Engine, insert, text

from db.calibrations import add as add_calibration
from db.connection.session import writing
from db.records import Calibration, TemperatureFit
from db.states import CalibrationReason, LabelOutcome
from db.tables import cycles, leases, models, promotions
from tests.support.records.factories import STUDENT, TEACHER
from triggers.settings import DEFAULT_RULES

MONITOR, OTHER = "mangaassist", "another"
HOUR: Final = timedelta(hours=1)
LABELS: Final = tuple(f"intent-{number}" for number in range(10))
METRICS: Final = ("accuracy", "macro_f1", "rare_class_accuracy", "ece", "agreement", "kl", "latency_p95_ms")
CHANNELS: Final = ("pager", "chat")
#: The columns that order a view, where that is not `window_end`.
KEYS: Final = {
    "job_history": ("job_id",),
    "worker_task_history": ("task_id",),
    "incident_history": ("incident_id", "opened_at"),
    "model_history": ("created_at",),
    "calibration_history": ("calibrated_at",),
    "training_history": ("job_id",),
    "shadow_history": ("shadow_id",),
    "reject_history": ("cycle_id",),
}
_MEASURED: Final = "c.n_scored IS NOT NULL"


def write_history(engine: Engine, n: int, *, newest: datetime) -> None:
    """Write `n` cycles of `MONITOR`, the last of which ended at `newest`, with all that belongs to them."""
    with writing(engine) as connection:
        connection.execute(insert(cycles), list(_cycles(n, newest)))
        for statement in _of_cycles(n):
            connection.execute(text(statement))
        for statement in (*_OF_JOBS, *_OF_INCIDENTS):
            connection.execute(text(statement))
        _lease_of_each_job(connection, newest)
        _make_current(connection, newest - n * HOUR, calibrated_at=newest)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("VACUUM ANALYZE")


def _cycles(n: int, newest: datetime) -> Iterator[dict[str, object]]:
    for age in range(n - 1, -1, -1):
        yield _cycle(MONITOR, n - age, newest - age * HOUR)
        if age % 10 == 0:
            yield _cycle(OTHER, n - age, newest - age * HOUR)


def _cycle(monitor: str, number: int, end: datetime) -> dict[str, object]:
    """Of 200 cycles 190 are healthy, 4 breached, 4 without a verdict and 2 not measured."""
    kind = number % 200
    status, verdict, reason = "evaluated", "healthy", "within_rules"
    if kind in {40, 41, 42, 43}:
        verdict, reason = "breached", "rule_fired" if kind > 41 else "rule_breached"
    elif kind in {60, 61}:
        status, verdict, reason = "inconclusive", "inconclusive", "too_few_samples"
    elif kind in {80, 81}:
        status, verdict, reason = "inconclusive", "inconclusive", "teacher_unhealthy"
    elif kind == 100:
        status, verdict, reason = "failed", "failed", "error"
    elif kind == 120:
        status, verdict, reason = "skipped", "inconclusive", "too_old"
    is_measured = status in {"evaluated", "inconclusive"}
    agreement = 0.94 if verdict == "breached" else 0.974
    measured = {
        "n_seen": 50_000,
        "n_sampled": 5_500,
        "n_scored": 5_500,
        "n_rejected": 3,
        "n_disagreements": 143,
        "agreement": agreement,
        "agreement_exact": f"{round(5_500 * agreement)}/5500",
        "agreement_low": agreement - 0.004,
        "agreement_high": agreement + 0.004,
        "kl": 0.083,
        "kl_low": 0.08,
        "kl_high": 0.086,
        "kl_p50": 0.04,
        "kl_p95": 0.2,
        "kl_p99": 0.4,
        "kl_t1": 0.16,
        "js": 0.02,
        "temperature": 3.0,
        "teacher_version": TEACHER,
        "student_version": STUDENT,
        "archive": f"archive/{monitor}/{end:%Y%m%dT%H%M%SZ}.jsonl.zst",
        "archive_sha256": "a" * 64,
        "order_reason": "not_wanted",
        "order_detail": "no rule that orders a re-distillation has fired",
        "n_recorded": 5_500 if number % 25 == 0 and monitor == MONITOR else None,
        "n_rescored": 500 if number % 25 == 0 and monitor == MONITOR else None,
    }
    return {
        "monitor": monitor,
        "window_start": end - HOUR,
        "window_end": end,
        "status": status,
        "verdict": verdict,
        "verdict_reason": reason,
        "attempt": int(status != "skipped"),
        "started_at": end + timedelta(minutes=10),
        "finished_at": end + timedelta(minutes=12),
        **(measured if is_measured else dict.fromkeys(measured)),
    }


def _of_cycles(n: int) -> Iterator[str]:
    """Yield the statements for what a cycle has besides its row."""
    labels = " UNION ALL ".join(f"SELECT '{label}' AS label" for label in LABELS)
    yield f"""
        INSERT INTO class_metrics (cycle_id, label, n, share, agreement, agreement_low, agreement_high, kl)
        SELECT c.id, l.label, 550, 0.1, 0.974, 0.96, 0.985, 0.083
        FROM cycles c CROSS JOIN ({labels}) l WHERE {_MEASURED}"""
    yield f"""
        INSERT INTO strata (cycle_id, student_label, n_seen, n, n_disagreements)
        SELECT c.id, l.label, 5000, 550, 14 FROM cycles c CROSS JOIN ({labels}) l WHERE {_MEASURED}"""
    yield f"""
        INSERT INTO slices (cycle_id, rank, kind, name, n, n_texts, n_disagreements, share, rate, excess,
            part, p_value, q_value)
        SELECT c.id, 1, 'label', '{LABELS[0]}', 550, 550, 60, 0.1, 0.11, 0.008, 0.42, 1e-9, 1e-7
        FROM cycles c WHERE {_MEASURED}"""
    for rule in DEFAULT_RULES:
        yield f"""
        INSERT INTO rule_outcomes (cycle_id, rule, metric, value, threshold, breached, streak, fired, reason,
            rule_version)
        SELECT c.id, '{rule.name}', '{rule.metric}', c.{rule.metric}, {rule.threshold}, FALSE, 0, FALSE,
            'within', '{rule.version}'
        FROM cycles c WHERE {_MEASURED}"""
    yield f"""
        INSERT INTO teacher_metrics (cycle_id, confidence, confidence_low, confidence_high, entropy,
            entropy_low, entropy_high, n_effective, label_gap, health, reason, detail)
        SELECT c.id, 0.93, 0.926, 0.934, 0.18, 0.176, 0.184, 5500, 0.0,
            CASE c.verdict_reason WHEN 'teacher_unhealthy' THEN 'unhealthy' ELSE 'healthy' END,
            CASE c.verdict_reason WHEN 'teacher_unhealthy' THEN 'labels_moved' ELSE 'within' END,
            'every number is within its bound'
        FROM cycles c WHERE {_MEASURED}"""
    yield f"""
        INSERT INTO estimated_accuracy (cycle_id, estimated_accuracy, estimated_accuracy_low,
            estimated_accuracy_high, method, reason, n_labels, teacher_contradicted)
        SELECT c.id, 0.93, 0.92, 0.94, 'teacher_confidence', 'teacher_calibrated', 0, FALSE
        FROM cycles c WHERE {_MEASURED}"""
    yield f"""
        INSERT INTO input_drift (cycle_id, reference_cycle_id, n, n_reference, accuracy, p_value, psi,
            psi_low, psi_high, js, js_low, js_high)
        SELECT c.id, CASE WHEN c.id > 100 THEN c.id - 100 ELSE 1 END, 1000, 1000, 0.51, 0.4, 0.01, 0.005,
            0.02, 0.001, 0.0005, 0.002
        FROM cycles c WHERE {_MEASURED}"""
    for reason in ("no_id", "not_json"):
        yield f"""
        INSERT INTO rejects (cycle_id, reason, n, example_hash, example_object)
        SELECT c.id, '{reason}', 3, 'h', '2026/11/24/10/part-1.jsonl.gz'
        FROM cycles c WHERE {_MEASURED} AND c.id % 5 = 0 AND c.monitor = '{MONITOR}'"""
    yield f"""
        INSERT INTO objects (cycle_id, name, version)
        SELECT c.id, l.label, 'etag' FROM cycles c CROSS JOIN ({labels}) l
        WHERE {_MEASURED} AND c.id > (SELECT MAX(id) FROM cycles) - {min(n, 720)}"""
    some = f"{_MEASURED} AND c.id % 10 = 0 AND c.monitor = '{MONITOR}'"
    yield f"""
        INSERT INTO labels (cycle_id, request_hash, label, teacher_label, student_label, weight, imported_at)
        SELECT c.id, l.label, 'intent-0', 'intent-0', 'intent-1', 1.0, c.finished_at
        FROM cycles c CROSS JOIN ({labels}) l WHERE {some}"""
    tallies = json.dumps({outcome: (int(outcome == "teacher_right"), 1.0, 1.0) for outcome in LabelOutcome})
    tallies = tallies.replace(":", "\\:")  # a colon begins a parameter
    yield f"""
        INSERT INTO correctness (cycle_id, n_labelled, n_disagreements, n_out_of_scope, teacher_right,
            teacher_right_low, teacher_right_high, tallies)
        SELECT c.id, 10, 1, 0, 1.0, 0.2, 1.0, '{tallies}' FROM cycles c WHERE {some}"""


#: A job in 200 cycles: its candidate is rejected, or in one of ten promoted and replaced by the one before.
_OF_JOBS: Final = (
    f"""
    INSERT INTO jobs (monitor, cycle_id, rule, reason, teacher_version, student_version, alpha_from, alpha_to,
        temperature, soft_labels, status, attempt, enqueued_at, announced_at, started_at, finished_at,
        candidate_version, decision, decision_reason, recovery)
    SELECT c.monitor, c.id, 'low-agreement', 'agreement 0.94 below 0.95 for 3 cycles', '{TEACHER}',
        '{STUDENT}', 0.7, 0.6, 3.0, 'online', CASE WHEN c.id % 10 = 0 THEN 'succeeded' ELSE 'rejected' END, 1,
        c.finished_at, c.finished_at, c.finished_at, c.finished_at, 'candidate-' || c.id,
        CASE WHEN c.id % 10 = 0 THEN 'promoted' ELSE 'rejected' END,
        'failed: accuracy (test) 0.9 against 0.905', CASE WHEN c.id % 10 = 0 THEN 'not_recovered' END
    FROM cycles c WHERE c.verdict_reason = 'rule_fired' AND EXISTS (
        SELECT 1 FROM cycles b WHERE b.monitor = c.monitor AND b.window_end = c.window_start
            AND b.verdict_reason = 'rule_fired')
    ORDER BY c.id""",
    """
    INSERT INTO models (monitor, version, role, uri, parent_version, job_id, alpha, temperature, created_at)
    SELECT monitor, candidate_version, 'student', 'registry/versions/' || candidate_version,
        student_version, id, alpha_to, temperature, finished_at
    FROM jobs ORDER BY id""",
    """
    INSERT INTO promotions (monitor, role, version, reason, promoted_at, retired_at)
    SELECT monitor, 'student', candidate_version, 'gates_passed', finished_at, finished_at
    FROM jobs WHERE decision = 'promoted' ORDER BY id""",
    *(
        f"""
    INSERT INTO evaluations (monitor, version, job_id, dataset, metric, value, low, high, n, spread)
    SELECT monitor, {version}, id, '{dataset}', '{metric}', 0.9, 0.89, 0.91, 2000, 0.0 FROM jobs"""
        for version in ("candidate_version", "student_version")
        for dataset in ("test", "condemned")
        for metric in METRICS
    ),
    *(
        f"""
    INSERT INTO gate_outcomes (job_id, gate, dataset, value, threshold, result)
    SELECT id, '{gate}', 'test', 0.9, 0.905, 'fail' FROM jobs"""
        for gate in METRICS
    ),
    *(
        f"""
    INSERT INTO training_epochs (job_id, epoch, n_steps, n_labelled, learning_rate, loss, clipped_share)
    SELECT id, {epoch}, 100, 6400, 0.0, 1.0, 0.5 FROM jobs"""
        for epoch in range(1, 6)
    ),
    """
    INSERT INTO shadows (monitor, job_id, candidate_version, incumbent_version, state, reason, started_at,
        ended_at)
    SELECT monitor, id, candidate_version, student_version, 'promoted', 'better', finished_at, finished_at
    FROM jobs ORDER BY id""",
    """
    INSERT INTO shadow_cycles (shadow_id, cycle_id, n, n_candidate_only, n_incumbent_only)
    SELECT s.id, j.cycle_id, 900, 30, 5 FROM shadows s JOIN jobs j ON j.id = s.job_id""",
    """
    INSERT INTO calibrations (monitor, version, temperature, n, dataset, sha256, nll_before, nll_after,
        ece_before, ece_after, ece_debiased_before, ece_debiased_after, reason, job_id, calibrated_at)
    SELECT monitor, candidate_version, 1.4, 1000, 'validation', 's', 0.4, 0.3, 0.05, 0.02, 0.05, 0.02, 'job',
        id, finished_at
    FROM jobs ORDER BY id""",
    """
    INSERT INTO worker_tasks (job_id, token, turn, state, asked_at, started_at, ended_at, reason, detail)
    SELECT id, 'token-' || id, 1, 'ended', enqueued_at, started_at, finished_at, 'job_ended',
        'the job has ended'
    FROM jobs ORDER BY id""",
)

#: An incident in 50 cycles, with four messages of which one in a hundred was given up.
_OF_INCIDENTS: Final = (
    """
    INSERT INTO incidents (monitor, kind, severity, state, summary, opened_at, resolved_at, cycle_id, since)
    SELECT c.monitor, 'drift', 'error', 'resolved', 'agreement 0.94 below 0.95', c.finished_at,
        c.finished_at, c.id, c.window_end
    FROM cycles c WHERE c.id % 50 = 0 ORDER BY c.id""",
    *(
        f"""
    INSERT INTO deliveries (incident_id, channel, event, dedup_key, payload, state, attempts,
        next_attempt_at, delivered_at, severity)
    SELECT i.id, '{channel}', '{event}', 'redistill-' || i.id, '{"x" * 1_500}',
        CASE WHEN i.id % 100 = 0 THEN 'dead' ELSE 'delivered' END, 1, i.opened_at, i.opened_at, 'error'
    FROM incidents i ORDER BY i.id"""
        for channel in CHANNELS
        for event in ("firing", "resolved")
    ),
)


def _lease_of_each_job(connection: Connection, at: datetime) -> None:
    """Leases of ended jobs stay; those of cycles do not."""
    ids = connection.execute(text("SELECT id FROM jobs")).scalars().all()
    rows = [{"name": f"job:{each}", "owner": "w", "token": 1, "expires_at": at} for each in ids]
    if rows:
        connection.execute(insert(leases), rows)


def _make_current(connection: Connection, since: datetime, *, calibrated_at: datetime) -> None:
    """Make the pair the one in service, whose student was calibrated lately."""
    for monitor, (role, version) in product((MONITOR, OTHER), (("teacher", TEACHER), ("student", STUDENT))):
        named = {"monitor": monitor, "role": role, "version": version}
        model = {"uri": f"models/{version}", "alpha": Decimal("0.7"), "created_at": since}
        connection.execute(insert(models).values(**named, **model))
        connection.execute(insert(promotions).values(**named, reason="configured", promoted_at=since))
    fit = TemperatureFit(
        temperature=1.4,
        n=1_000,
        nll_before=0.4,
        nll_after=0.3,
        ece_before=0.05,
        ece_after=0.02,
        ece_debiased_before=0.05,
        ece_debiased_after=0.02,
    )
    calibration = Calibration(version=STUDENT, dataset="test", sha256="s", fit=fit)
    add_calibration(connection, MONITOR, calibration, CalibrationReason.DUE, calibrated_at)
