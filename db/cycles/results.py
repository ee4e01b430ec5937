"""The results of a cycle, measurements and rule outcomes, written in the transaction of its verdict."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from db.connection.upsert import insert_for
from db.cycles import labels
from db.cycles.rows import columns_of, rows_of_slices
from db.records import (
    Claim,
    CycleResult,
    InputDrift,
    Interval,
    Measurement,
    MixShift,
    ObjectVersion,
    RuleOutcome,
    Serving,
    TeacherMeasurement,
)
from db.states import CycleStatus, OrderReason, TeacherHealth, TeacherReason, Verdict, VerdictReason
from db.tables import (
    class_metrics,
    cycles,
    evidence,
    input_drift,
    metadata,
    objects,
    rejects,
    rule_outcomes,
    rule_texts,
    slices,
    strata,
    teacher_metrics,
)
from db.telemetry import counts
from db.telemetry.counts import Count, count, observed

_OBJECTS_KEPT = timedelta(days=30)
#: The objects of windows in this time before are deleted, as those of earlier ones are already.
_OBJECTS_SWEPT = timedelta(days=30)
#: The tables to which a conclusion writes besides the cycle's own row.
PARTS: Final = tuple(
    table
    for table in metadata.sorted_tables
    if "cycle_id" in table.primary_key.columns and table.name not in {"erasures", "labels"}
)
#: The columns of the cycle's row that a conclusion fills.
CONCLUDED: Final = tuple(each.name for each in cycles.c if each.nullable and each.name != "started_at")


def finish(
    connection: Connection,
    claim: Claim,
    result: CycleResult,
    *,
    status: CycleStatus,
    verdict: Verdict,
    reason: VerdictReason,
    now: datetime,
) -> None:
    """Store what the cycle measured, with its status and verdict."""
    traffic, measurement, archive = result.traffic, result.measurement, result.archive
    connection.execute(
        update(cycles)
        .where(cycles.c.id == claim.cycle_id)
        .values(
            status=status,
            verdict=verdict,
            verdict_reason=reason,
            error=None,
            finished_at=now,
            n_seen=traffic.n_seen,
            n_sampled=traffic.n_sampled,
            n_scored=measurement.n if measurement else 0,
            n_rejected=traffic.n_rejected,
            temperature=result.temperature,
            teacher_version=result.teacher_version,
            student_version=result.student_version,
            alpha=result.alpha,
            archive=archive.uri if archive else None,
            archive_sha256=archive.sha256 if archive else None,
            **(_measured(measurement) if measurement else {}),
        )
    )
    by_label = [
        {
            "cycle_id": claim.cycle_id,
            "label": label.label,
            "n": label.n,
            "share": label.share,
            "agreement": label.agreement.estimate,
            "agreement_low": label.agreement.low,
            "agreement_high": label.agreement.high,
            "kl": label.kl,
        }
        for label in (measurement.per_label if measurement else ())
    ]
    if by_label:
        connection.execute(insert(class_metrics), by_label)
    by_stratum = [
        {
            "cycle_id": claim.cycle_id,
            "student_label": stratum.label or "",
            "n_seen": stratum.n_seen,
            "n": stratum.n,
            "n_disagreements": measurement.by_stratum[index] if measurement else 0,
        }
        for index, stratum in enumerate(traffic.strata)
    ]
    if by_stratum:
        connection.execute(insert(strata), by_stratum)
    if measurement and measurement.correctness:
        labels.set_correctness(connection, claim.cycle_id, measurement.correctness)
    labels.set_answers(connection, claim.cycle_id, result.late)
    if measurement and measurement.input_drift:
        connection.execute(insert(input_drift).values(_drifted(claim, measurement.input_drift)))
    found = rows_of_slices(claim.cycle_id, measurement.slices if measurement else ())
    if found:
        connection.execute(insert(slices), found)
    refused = [{"cycle_id": claim.cycle_id, **asdict(reject)} for reject in traffic.rejects]
    if refused:
        connection.execute(insert(rejects), refused)
    _keep_objects(connection, claim, traffic.objects)
    counts.add(connection, claim.slot.monitor, _counted(result, verdict))


def _counted(result: CycleResult, verdict: Verdict) -> Iterator[Count]:
    yield count("cycles_total", verdict=verdict)
    for reject in result.traffic.rejects:
        yield count("records_rejected_total", reject.n, reason=reject.reason)
    for stage, seconds in result.stage_seconds.items():
        yield from observed("cycle_stage_seconds", seconds, stage=stage)


def discard(connection: Connection, claim: Claim) -> None:
    """Delete the result of an earlier attempt at the cycle, and make its row that of the new attempt."""
    for part in PARTS:
        connection.execute(delete(part).where(part.c.cycle_id == claim.cycle_id))
    connection.execute(
        update(cycles)
        .where(cycles.c.id == claim.cycle_id)
        .values({**dict.fromkeys(CONCLUDED), "attempt": claim.attempt, "started_at": claim.started_at})
    )


def _keep_objects(connection: Connection, claim: Claim, read: Iterable[ObjectVersion]) -> None:
    rows = [{"cycle_id": claim.cycle_id, **asdict(each)} for each in read]
    if not rows:
        return
    connection.execute(insert(objects), rows)
    kept_from = claim.slot.window_end - _OBJECTS_KEPT
    old = select(cycles.c.id).where(
        cycles.c.monitor == claim.slot.monitor,
        cycles.c.window_end < kept_from,
        cycles.c.window_end >= kept_from - _OBJECTS_SWEPT,
    )
    connection.execute(delete(objects).where(objects.c.cycle_id.in_(old)))


def _measured(measurement: Measurement) -> dict[str, float | str]:
    return {
        "n_disagreements": measurement.disagreements,
        "agreement": measurement.agreement.estimate,
        "agreement_exact": str(measurement.exact_agreement),
        "agreement_low": measurement.agreement.low,
        "agreement_high": measurement.agreement.high,
        "kl": measurement.kl.estimate,
        "kl_low": measurement.kl.low,
        "kl_high": measurement.kl.high,
        "kl_p50": measurement.kl_p50,
        "kl_p95": measurement.kl_p95,
        "kl_p99": measurement.kl_p99,
        "kl_t1": measurement.kl_t1,
        "js": measurement.js,
        **(_served(measurement.serving) if measurement.serving else {}),
    }


def _served(serving: Serving) -> dict[str, float | str]:
    counts: dict[str, float | str] = {"n_recorded": serving.n_recorded, "n_rescored": serving.n_rescored}
    if serving.skew is None:
        return counts
    return {
        **counts,
        "serving_skew": serving.skew.estimate,
        "serving_skew_low": serving.skew.low,
        "serving_skew_high": serving.skew.high,
    }


def _drifted(claim: Claim, found: InputDrift) -> dict[str, float]:
    return {
        "cycle_id": claim.cycle_id,
        "reference_cycle_id": found.reference_cycle_id,
        "n": found.n,
        "n_reference": found.n_reference,
        "accuracy": found.accuracy,
        "p_value": found.p_value,
        "psi": found.psi.estimate,
        "psi_low": found.psi.low,
        "psi_high": found.psi.high,
        "js": found.js.estimate,
        "js_low": found.js.low,
        "js_high": found.js.high,
    }


def add_order(connection: Connection, claim: Claim, reason: OrderReason, detail: str) -> None:
    """Store whether the cycle ordered a re-distillation, and why."""
    connection.execute(
        update(cycles).where(cycles.c.id == claim.cycle_id).values(order_reason=reason, order_detail=detail)
    )


def add_outcomes(connection: Connection, claim: Claim, outcomes: Iterable[RuleOutcome]) -> None:
    """Store the outcome of each rule at this cycle."""
    rows = [{"cycle_id": claim.cycle_id, **asdict(outcome)} for outcome in outcomes]
    for row in rows:
        del row["window_end"], row["side"]
    if rows:
        connection.execute(insert(rule_outcomes), rows)


def add_teacher(
    connection: Connection,
    claim: Claim,
    measured: TeacherMeasurement,
    *,
    health: TeacherHealth,
    reason: TeacherReason,
    detail: str,
    accuracy: Interval | None,
    mix: MixShift | None,
    reference_version: str | None,
) -> None:
    """Store the cycle's measurement of the teacher by itself, and the teacher's health."""
    connection.execute(
        insert(teacher_metrics).values(
            cycle_id=claim.cycle_id,
            **columns_of("confidence", measured.confidence),
            **columns_of("entropy", measured.entropy),
            n_effective=measured.n_effective,
            **(columns_of("accuracy", accuracy) if accuracy else {}),
            label_gap=measured.label_gap,
            **(asdict(mix) if mix else {}),
            reference_version=reference_version,
            health=health,
            reason=reason,
            detail=detail,
        )
    )


def add_log_increments(
    connection: Connection, claim: Claim, log_increments: Mapping[str, tuple[float, ...]]
) -> None:
    """Store the cycle's log increments for each level that a sequential rule watches."""
    rows = [
        {"cycle_id": claim.cycle_id, "key": key, "gains": json.dumps(values)}
        for key, values in log_increments.items()
    ]
    if rows:
        connection.execute(insert(evidence), rows)


def keep_rule_texts(connection: Connection, texts: Mapping[str, str], now: datetime) -> None:
    """Store the texts of the rules that judge, by version, unless they are stored already."""
    insert_new = insert_for(connection)
    rows = [
        {"version": version, "text": text, "first_used_at": now} for version, text in sorted(texts.items())
    ]
    if rows:
        connection.execute(insert_new(rule_texts).on_conflict_do_nothing(), rows)
