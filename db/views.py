"""The public views of docs/sql-cookbook.md, which the command line reads as analysts do."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Boolean, Connection, TableClause, column, select, table
from sqlalchemy.types import TypeEngine

from db.tables import ExactAlpha, UTCDateTime

VIEWS: Final[Mapping[str, str]] = {
    "cycle_history": "monitor cycle_id window_start window_end status verdict verdict_reason n_seen "
    "n_sampled n_scored n_rejected agreement agreement_low agreement_high kl kl_low kl_high kl_t1 js "
    "agreement_streak kl_streak teacher_version student_version alpha started_at finished_at seconds "
    "order_reason order_detail error n_slots",
    "class_history": "monitor cycle_id window_end label n share agreement agreement_low agreement_high kl",
    "rule_history": "monitor cycle_id window_end rule metric value threshold breached streak fired reason "
    "statistic rule_version",
    "job_history": "job_id monitor cycle_id rule reason alpha_from alpha_to temperature soft_labels status "
    "attempt enqueued_at started_at finished_at candidate_version decision decision_reason promoted_at "
    "evidence recovery n_labelled_traffic",
    "worker_task_history": "task_id job_id monitor state reason detail arn cluster last_status asked_at "
    "started_at ended_at",
    "incident_history": "incident_id monitor kind severity state opened_at acknowledged_at resolved_at "
    "cycle_id job_id deliveries_ok deliveries_pending deliveries_dead since acknowledged_by",
    "model_history": "version role parent_version job_id alpha temperature accuracy accuracy_low "
    "accuracy_high macro_f1 rare_class_accuracy ece agreement kl latency_p95_ms created_at promoted_at "
    "retired_at monitor files_deleted_at",
    "calibration_history": "monitor version temperature n dataset nll_before nll_after ece_before ece_after "
    "ece_debiased_before ece_debiased_after reason job_id calibrated_at source rows_until",
    "training_history": "monitor job_id version epoch n_steps n_labelled learning_rate loss kl ce "
    "kl_gradient_share kl_gradient_share_weights gradient_norm clipped_share validation_accuracy "
    "validation_agreement",
    "shadow_history": "monitor shadow_id job_id candidate_version incumbent_version state reason detail "
    "started_at ended_at cycle_id window_end n n_candidate_only n_incumbent_only e_better e_worse "
    "candidate_agreement incumbent_agreement candidate_kl incumbent_kl error",
    "strata_history": "monitor cycle_id window_end student_label n_seen n n_disagreements weight",
    "serving_history": "monitor cycle_id window_end n_recorded n_rescored serving_skew serving_skew_low "
    "serving_skew_high",
    "correctness_history": "monitor cycle_id window_end n_labelled n_disagreements n_out_of_scope "
    "teacher_right teacher_right_low teacher_right_high student_right student_right_low student_right_high "
    "both_wrong both_wrong_low both_wrong_high teacher_accuracy teacher_accuracy_low teacher_accuracy_high "
    "student_accuracy student_accuracy_low student_accuracy_high",
    "accuracy_history": "monitor cycle_id window_end estimated_accuracy estimated_accuracy_low "
    "estimated_accuracy_high estimated_accuracy_method estimated_accuracy_reason n_labels rectifier "
    "contradicted teacher_temperature teacher_version student_version",
    "teacher_history": "monitor cycle_id window_end teacher_version teacher_confidence "
    "teacher_confidence_low teacher_confidence_high teacher_entropy teacher_entropy_low "
    "teacher_entropy_high teacher_accuracy teacher_accuracy_low teacher_accuracy_high "
    "label_shift label_gap reference_version health reason detail familiar_share familiar_shift familiar_gap",
    "input_history": "monitor cycle_id window_end reference_cycle_id reference_window_end n n_reference "
    "input_drift p_value psi psi_low psi_high js js_low js_high",
    "slice_history": "monitor cycle_id window_end rank kind name student_label n n_texts n_disagreements "
    "share rate excess part p_value q_value reference_share reference_rate reference_excess q_moved",
    "reject_history": "monitor cycle_id reason n example_object",
}


def _type(field: str) -> TypeEngine[Any] | None:
    if field.endswith(("_at", "window_start", "window_end", "since", "until")):
        return UTCDateTime()
    if field.startswith("alpha"):
        return ExactAlpha()
    return Boolean() if field in {"breached", "fired", "contradicted"} else None


def view(name: str) -> TableClause:
    """Return the view as a table to select from, with its times typed as UTC."""
    return table(
        name,
        *(column(field, _type(field)) for field in VIEWS[name].split()),
    )


def rows(
    connection: Connection,
    name: str,
    *,
    monitor: str | None = None,
    order_by: str,
    newest: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Mapping[str, object]]:
    """Return the view's rows with since <= `order_by` < until, or their `newest`, in ascending order."""
    source = view(name)
    key = source.c[order_by]
    query = select(source).order_by(key.desc())
    if monitor is not None:
        query = query.where(source.c.monitor == monitor)
    if since is not None:
        query = query.where(key >= since)
    if until is not None:
        query = query.where(key < until)
    if newest is not None:
        query = query.limit(newest)
    return [dict(row) for row in reversed(connection.execute(query).mappings().all())]
