"""Invariant 8: every number can be recomputed."""

from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from db import queue, tables
from db.connection.session import reading
from db.cycles import cycle_points, history, teachers
from db.records import Evaluation, Job, Metric, Slot
from db.states import JobDecision, JobStatus, OrderReason, Role, SliceKind
from db.tables import (
    class_metrics,
    cycles,
    evaluations,
    gate_outcomes,
    jobs,
    models,
    promotions,
    rule_outcomes,
)
from distill.evaluation import gates
from distill.evaluation.relative_gates import RELATIVE
from distill.settings import GatesSection
from monitor.archive import files
from monitor.archive.places import ArchiveReadError
from monitor.measure import measure
from monitor.scoring.models import fingerprint
from monitor.storage.zstandard import zstd
from redistill.archived_slices import find, read_slices
from tests.support.records.cycles import stored
from tests.support.world.installation import MONITOR
from tests.support.world.repaired import Repaired
from triggers.orders import alpha
from triggers.rules import evaluation
from triggers.rules.cycle_point import teacher_point_of
from triggers.rules.verdict import SampleQuality, judge
from triggers.teacher.trust import judge_teacher


def test_a_cycle_follows_from_its_archive(repaired: Repaired) -> None:
    for cycle in stored(repaired.engine, cycles):
        sample = files.read(cycle["archive"], sha256=cycle["archive_sha256"])
        found = measure(
            sample.teacher_logits,
            sample.student_logits,
            sample.labels,
            temperature=cycle["temperature"],
            strata=sample.strata,
        )
        assert (sample.teacher_version, sample.student_version) == (
            cycle["teacher_version"],
            cycle["student_version"],
        )
        assert (found.n, found.disagreements) == (cycle["n_scored"], cycle["n_disagreements"])
        for name in ("agreement", "kl"):
            interval = getattr(found, name)
            stored_interval = (cycle[name], cycle[f"{name}_low"], cycle[f"{name}_high"])
            assert (interval.estimate, interval.low, interval.high) == stored_interval
        for name in ("kl_p50", "kl_p95", "kl_p99", "kl_t1", "js"):
            assert getattr(found, name) == cycle[name]
        strata = {
            row["student_label"]: row
            for row in stored(repaired.engine, tables.strata)
            if row["cycle_id"] == cycle["id"]
        }
        assert len(strata) == 6
        total = sum(
            Fraction(row["n_seen"] * (row["n"] - row["n_disagreements"]), row["n"]) for row in strata.values()
        )
        assert Fraction(cycle["agreement_exact"]) == total / cycle["n_seen"] == found.exact_agreement
        assert dict(zip(sample.stratum_labels, sample.strata.sizes, strict=True)) == {
            label: row["n_seen"] for label, row in strata.items()
        }
        by_label = {
            row["label"]: row
            for row in stored(repaired.engine, class_metrics)
            if row["cycle_id"] == cycle["id"]
        }
        assert {(each.label, each.n, each.agreement.estimate, each.kl) for each in found.per_label} == {
            (label, row["n"], row["agreement"], row["kl"]) for label, row in by_label.items()
        }


def test_the_slices_of_a_cycle_follow_from_its_archive_and_that_of_its_reference(
    repaired: Repaired,
) -> None:
    n_found = 0
    for cycle in stored(repaired.engine, cycles):
        with reading(repaired.engine) as connection:
            pair = find(connection, MONITOR, cycle["id"], archive_days=30)
            kept = history.slices_of(connection, cycle["id"])
        found = [each.slice for each in read_slices(pair, n_examples=0).slices]
        assert tuple(each for each in found if each.kind is not SliceKind.WORD) == kept
        n_found += len(kept)
    assert n_found > 0


def test_an_archive_that_was_changed_is_noticed(repaired: Repaired, tmp_path: Path) -> None:
    cycle = stored(repaired.engine, cycles)[0]
    forged = tmp_path / "forged.jsonl.zst"
    text = zstd.decompress(Path(cycle["archive"]).read_bytes()).replace(b'"r-0-1"', b'"r-0-x"')
    forged.write_bytes(zstd.compress(text))
    assert files.read(str(forged)).slot.monitor == MONITOR
    with pytest.raises(ArchiveReadError):
        files.read(str(forged), sha256=cycle["archive_sha256"])


def test_outcomes_and_verdicts_follow_from_the_numbers(repaired: Repaired) -> None:
    with reading(repaired.engine) as connection:
        points = cycle_points.read(connection, MONITOR)
    outcomes = {
        (outcome.window_end, outcome.rule): outcome
        for rule in repaired.settings.rules
        for outcome in evaluation.replay(rule, points)
    }
    for cycle in stored(repaired.engine, cycles):
        own = [row for row in stored(repaired.engine, rule_outcomes) if row["cycle_id"] == cycle["id"]]
        assert len(own) == len(repaired.settings.rules)
        for row in own:
            expected = outcomes[cycle["window_end"], row["rule"]]
            assert {name: getattr(expected, name) for name in row if name != "cycle_id"} == {
                name: value for name, value in row.items() if name != "cycle_id"
            }
        judgement = judge(
            SampleQuality(
                n_scored=cycle["n_scored"],
                n_seen=cycle["n_seen"],
                n_rejected=cycle["n_rejected"],
                min_samples=repaired.settings.monitor.min_samples,
                max_reject_share=repaired.settings.monitor.max_reject_share,
            ),
            [outcomes[cycle["window_end"], rule.name] for rule in repaired.settings.rules],
        )
        assert (judgement.verdict, judgement.reason) == (cycle["verdict"], cycle["verdict_reason"])


def test_the_teachers_health_follows_from_its_cycles(repaired: Repaired) -> None:
    """The numbers of the cycle and of its reference, from SQL and the archive, give the stored health."""
    policy = repaired.settings.teacher
    found = stored(repaired.engine, tables.teacher_metrics)
    by_id = {row["id"]: row for row in stored(repaired.engine, cycles)}
    for row in found:
        cycle = by_id[row["cycle_id"]]
        sample = files.read(cycle["archive"], sha256=cycle["archive_sha256"])
        measured = measure(
            sample.teacher_logits,
            sample.student_logits,
            sample.labels,
            temperature=cycle["temperature"],
            strata=sample.strata,
        )
        slot = Slot(monitor=MONITOR, window_start=cycle["window_start"], window_end=cycle["window_end"])
        with reading(repaired.engine) as connection:
            known = teachers.known_teacher(
                connection, slot, cycle["teacher_version"], reference_cycles=policy.reference_cycles
            )
        judged = judge_teacher(teacher_point_of(measured), known, policy)
        assert judged.accuracy is None  # the log has no true labels
        expected = {**vars(judged), **(vars(judged.mix) if judged.mix else {})}
        del expected["mix"]
        assert {name: row[name] for name in expected} == expected
        assert (row["confidence"], row["entropy_high"]) == (
            measured.teacher.confidence.estimate,
            measured.teacher.entropy.high,
        )
    assert [row["health"] for row in found] == ["unknown"] * 3 + ["healthy"] * (len(found) - 3)


def test_orders_and_their_alpha_follow_from_what_was_known(repaired: Repaired) -> None:
    """The jobs and the student as they stood at each cycle's end give the stored order."""
    with reading(repaired.engine) as connection:
        all_jobs = queue.of_monitor(connection, MONITOR)
    fired = {row["cycle_id"] for row in stored(repaired.engine, rule_outcomes) if row["fired"]}
    reasons = []
    for cycle in stored(repaired.engine, cycles):
        at_its_end = cycle["finished_at"]
        serving = student_at(repaired.engine, at_its_end)
        ladder = alpha.ladder_of(
            [as_it_stood(job, at_its_end) for job in all_jobs if job.enqueued_at < at_its_end],
            began_at=serving["promoted_at"],
            student_alpha=cycle["alpha"],
            wanted=cycle["id"] in fired,
            is_latest=serving["version"] == cycle["student_version"],
        )
        order = alpha.decide(repaired.settings.redistill, ladder, at_its_end)
        ordered = [(job.alpha_from, job.alpha_to) for job in all_jobs if job.cycle_id == cycle["id"]]
        expected = [(order.alpha_from, order.alpha_to)] if order.reason is OrderReason.ORDERED else []
        assert ordered == expected
        reasons.append(order.reason)
    assert (
        reasons
        == [OrderReason.NOT_WANTED] * 2
        + [OrderReason.ORDERED]
        + [OrderReason.JOB_OPEN] * 2
        + [OrderReason.NOT_WANTED] * 2
    )


def student_at(engine: Engine, time: datetime) -> dict[str, Any]:
    (serving,) = [
        row
        for row in stored(engine, promotions)
        if row["role"] == Role.STUDENT and row["promoted_at"] <= time and (row["retired_at"] or time) >= time
    ]
    return serving


def as_it_stood(job: Job, time: datetime) -> Job:
    is_open = job.finished_at is None or job.finished_at > time
    return replace(job, status=JobStatus.RUNNING, finished_at=None, decision=None) if is_open else job


def test_a_promotion_follows_from_what_was_measured(repaired: Repaired) -> None:
    """The metrics give the gates' outcomes, the gates the decision, and the files the version."""
    (job,) = stored(repaired.engine, jobs)
    outcomes = stored(repaired.engine, gate_outcomes)
    absolute = [row for row in outcomes if row["gate"] not in RELATIVE]
    thresholds = GatesSection(**{row["gate"]: row["threshold"] for row in absolute})
    assert {row["gate"] for row in outcomes} >= {"relative_accuracy", "relative_rare_class_accuracy"}
    candidate, incumbent = (
        [
            Evaluation(dataset=dataset, metrics=metrics_of(repaired.engine, job[role], dataset))
            for dataset in (gates.TEST, gates.CONDEMNED)
        ]
        for role in ("candidate_version", "student_version")
    )
    judged = gates.check(thresholds, candidate, incumbent)
    names = ("gate", "dataset", "metric", "value", "incumbent_value", "result")
    assert {tuple(getattr(each, name) for name in names) for each in judged} == {
        tuple(row[name] for name in names) for row in outcomes
    }
    assert gates.passed(judged) == (job["decision"] == JobDecision.PROMOTED)
    (made,) = [row for row in stored(repaired.engine, models) if row["job_id"] == job["id"]]
    assert fingerprint(Path(made["uri"])) == made["version"] == job["candidate_version"]
    assert (made["parent_version"], made["alpha"]) == (job["student_version"], job["alpha_to"])
    promoted = [row for row in stored(repaired.engine, promotions) if row["version"] == made["version"]]
    assert [row["promoted_at"] for row in promoted] == [job["finished_at"]]


def metrics_of(engine: Engine, version: str, dataset: str) -> tuple[Metric, ...]:
    return tuple(
        Metric(name=row["metric"], value=row["value"], low=row["low"], high=row["high"], n=row["n"])
        for row in stored(engine, evaluations)
        if (row["version"], row["dataset"]) == (version, dataset)
    )
