"""A promoted student has some cycles to end the drift; if it does not, its job was an attempt in vain."""

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import Engine, update

from db import queue, versions
from db.connection.session import writing
from db.records import CycleResult, GateOutcome, ModelVersion
from db.states import GateResult, JobDecision, JobStatus, OrderReason, PromotionReason, Role
from db.tables import deliveries, incidents, jobs, promotions
from tests.support.records.conclusions import FAR, HEALTHY, TOO_FEW, incident_list, job_list, with_policy
from tests.support.records.cycles import MONITOR, Cycles, due_at, make_policy, stored, taken
from tests.support.records.factories import START, STUDENT, make_new_job, make_result
from triggers.settings import AlphaPolicy

IN_VAIN = ["not_recovered"]


def by(student: str, result: CycleResult = FAR) -> CycleResult:
    return replace(result, student_version=student)


def promote_candidate(run: Cycles, index: int, number: int = 2) -> str:
    """What a worker does whose candidate has passed; the index-th window begins after it."""
    candidate = f"student-{number}"
    model = ModelVersion(monitor=MONITOR, version=candidate, role=Role.STUDENT, uri=f"models/{candidate}")
    now = due_at(index)
    with writing(run.engine) as connection:
        claimed = queue.claim(connection, MONITOR, owner="worker", lease_seconds=60, now=now)
        assert claimed is not None
        versions.record(connection, model, now)
        versions.promote(connection, model, PromotionReason.GATES_PASSED, now)
        queue.finish(
            connection,
            claimed[0],
            JobStatus.SUCCEEDED,
            now=now,
            candidate_version=candidate,
            decision=JobDecision.PROMOTED,
        )
    return candidate


def recoveries(run: Cycles) -> list[str | None]:
    return [row["recovery"] for row in stored(run.engine, jobs)]


@pytest.fixture
def watched(run: Cycles) -> Cycles:
    """A student that drifted at the first window, and whose successor serves from the second on."""
    run.promote(now=START, alpha=Decimal("0.7"))
    assert run.conclude(0, FAR).order.reason is OrderReason.ORDERED
    promote_candidate(run, 0)
    return run


def test_a_healthy_cycle_ends_the_watch(watched: Cycles) -> None:
    """The job has helped. Until the recovery has held for longer, what drifts then is the same drift."""
    assert recoveries(watched) == [None]
    watched.conclude(1, by("student-2", HEALTHY))
    assert recoveries(watched) == ["recovered"]
    assert incident_list(watched) == [("drift", "error", "resolved")]
    ended = watched.conclude(2, replace(by("student-2"), alpha=Decimal("0.6")))
    assert (ended.order.reason, ended.order.alpha_to) == (OrderReason.ORDERED, Decimal("0.5"))


@pytest.mark.parametrize(("reset", "alphas"), [("recovery", ["0.6"] * 3), ("never", ["0.6", "0.5", "0.4"])])
def test_each_drift_that_was_repaired_is_an_episode_of_its_own(
    run: Cycles, reset: Literal["recovery", "never"], alphas: list[str]
) -> None:
    """Three drifts with three healthy cycles after each; the third reaches no floor by success."""
    run = with_policy(run, alpha=AlphaPolicy(cooldown=timedelta(0), alpha_reset=reset))
    run.promote(now=START, alpha=Decimal("0.7"))
    student, alpha, index = STUDENT, Decimal("0.7"), 0
    for number in range(3):
        ended = run.conclude(index, replace(by(student), alpha=alpha))
        assert ended.order.reason is OrderReason.ORDERED
        student, alpha = promote_candidate(run, index, number + 2), ended.order.alpha_to
        for healthy in range(index + 1, index + 4):
            run.conclude(healthy, replace(by(student, HEALTHY), alpha=alpha))
        index += 4
    assert [str(alpha_to) for _, alpha_to, _ in job_list(run)] == alphas
    assert recoveries(run) == ["recovered"] * 3


def test_a_job_belongs_to_the_episode_of_its_window_whatever_the_clocks_say(watched: Cycles) -> None:
    """It was ordered by a daemon whose clock is days ahead of the one that saw the recovery."""
    with writing(watched.engine) as connection:
        connection.execute(update(jobs).values(enqueued_at=due_at(99)))
    for index in (1, 2, 3):
        watched.conclude(index, replace(by("student-2", HEALTHY), alpha=Decimal("0.6")))
    ended = watched.conclude(4, replace(by("student-2"), alpha=Decimal("0.6")))
    assert (ended.order.alpha_from, ended.order.alpha_to) == (Decimal("0.7"), Decimal("0.6"))


def test_two_healthy_cycles_end_no_episode(watched: Cycles) -> None:
    """The recovery has to hold for watch_cycles evaluated cycles; those without evidence do not count."""
    for index, result in enumerate((HEALTHY, TOO_FEW, HEALTHY), start=1):
        watched.conclude(index, replace(by("student-2", result), alpha=Decimal("0.6")))
    ended = watched.conclude(4, replace(by("student-2"), alpha=Decimal("0.6")))
    assert (ended.order.alpha_from, ended.order.alpha_to) == (Decimal("0.6"), Decimal("0.5"))


def test_nothing_is_ordered_while_the_candidate_is_watched(watched: Cycles) -> None:
    """Cycles without evidence are no part of it."""
    reasons = [
        watched.conclude(index, by("student-2", result)).order.reason
        for index, result in enumerate((FAR, TOO_FEW, FAR, TOO_FEW), start=1)
    ]
    assert reasons == [
        OrderReason.WATCHING,
        OrderReason.NOT_WANTED,
        OrderReason.WATCHING,
        OrderReason.NOT_WANTED,
    ]
    assert recoveries(watched) == [None]


def test_without_recovery_the_job_was_an_attempt_in_vain(watched: Cycles) -> None:
    """The on-call is told, and the next job starts one step below it."""
    ended = [watched.conclude(index, by("student-2")) for index in (1, 2, 3)]
    assert recoveries(watched) == ["not_recovered", None]
    assert ended[-1].order.reason is OrderReason.ORDERED
    assert job_list(watched)[1][:2] == (Decimal("0.6"), Decimal("0.5"))
    assert incident_list(watched) == [
        ("drift", "error", "firing"),
        ("candidate-rejected", "warning", "firing"),
    ]
    assert stored(watched.engine, jobs)[1]["student_version"] == "student-2"
    assert [row["reason"] for row in stored(watched.engine, promotions)] == ["manual", "gates_passed"]


def test_three_promotions_in_vain_are_the_end_of_the_ladder(watched: Cycles) -> None:
    """Each passed the gates, none ended the drift: the teacher needs retraining, and nothing is ordered."""
    index = 1
    for number in (3, 4):
        for _ in range(3):
            watched.conclude(index, by(f"student-{number - 1}"))
            index += 1
        promote_candidate(watched, index - 1, number)
    reasons = [watched.conclude(index + more, by("student-4")).order.reason for more in range(4)]
    assert reasons[-2:] == [OrderReason.ATTEMPTS_EXHAUSTED] * 2
    assert [str(alpha_to) for _, alpha_to, _ in job_list(watched)] == ["0.6", "0.5", "0.4"]
    assert recoveries(watched) == IN_VAIN * 3
    assert ("retrain-teacher", "critical", "firing") in incident_list(watched)


def test_a_student_that_true_labels_decided_for_does_not_make_way(run: Cycles) -> None:
    """It goes on to disagree with its teacher, because the teacher is wrong."""
    run = with_policy(run, alpha=AlphaPolicy(rollback="auto", watch_cycles=1, cooldown=timedelta(0)))
    run.promote(now=START)
    run.conclude(0, FAR)
    candidate = promote_candidate(run, 0)
    reported = GateOutcome(
        gate="agreement", dataset="condemned", value=0.9, threshold=0.95, result=GateResult.REPORTED
    )
    with writing(run.engine) as connection:
        versions.add_gate_outcomes(connection, 1, [reported])
    run.conclude(1, by("student-2"))
    assert recoveries(run)[0] == "not_recovered"
    assert [row["version"] for row in stored(run.engine, promotions)][-1] == candidate
    told = json.loads(stored(run.engine, deliveries)[-1]["payload"])
    assert "the student stays: by true labels it is better than the one before" in told["summary"]


@pytest.mark.parametrize("result", [GateResult.IMPROVES, GateResult.INCONCLUSIVE])
def test_improvements_that_do_not_end_the_drift_stay_and_end_the_ladder(
    run: Cycles, result: GateResult
) -> None:
    """No rollback undoes one. The drift stays open, and after max_attempts the teacher is to be retrained."""
    run = with_policy(run, alpha=AlphaPolicy(rollback="auto", watch_cycles=1, cooldown=timedelta(0)))
    run.promote(now=START)
    outcome = GateOutcome(gate="agreement", dataset="condemned", value=0.9, threshold=0.95, result=result)
    run.conclude(0, FAR)
    for number in (2, 3, 4):
        promote_candidate(run, number - 2, number)
        with writing(run.engine) as connection:
            versions.add_gate_outcomes(connection, number - 1, [outcome])
        ended = run.conclude(number - 1, by(f"student-{number}"))
    assert ended.order.reason is OrderReason.ATTEMPTS_EXHAUSTED
    assert recoveries(run) == IN_VAIN * 3
    assert [row["version"] for row in stored(run.engine, promotions)][1:] == [
        "student-2",
        "student-3",
        "student-4",
    ]
    assert incident_list(run) == [
        ("drift", "error", "firing"),
        ("candidate-rejected", "warning", "firing"),
        ("retrain-teacher", "critical", "firing"),
    ]
    summaries = [row["summary"] for row in stored(run.engine, incidents)]
    assert any("the student stays: it agrees with its teacher more" in summary for summary in summaries)


def test_a_student_that_did_not_help_can_make_way(run: Cycles, tmp_path: Path) -> None:
    """With `rollback = "auto"`: the one before serves again, its ladder goes on, and the next job starts
    from it.
    """
    (tmp_path / "config.json").write_text("{}")
    run = replace(
        run, policy=make_policy(alpha=AlphaPolicy(cooldown=timedelta(0), rollback="auto", watch_cycles=1))
    )
    first = ModelVersion(monitor=MONITOR, version="student-1", role=Role.STUDENT, uri=str(tmp_path))
    with writing(run.engine) as connection:
        versions.record(connection, first, START)
        versions.promote(connection, first, PromotionReason.CONFIGURED, START)
    run.conclude(0, FAR)
    promote_candidate(run, 0)
    ended = run.conclude(1, by("student-2"))
    assert recoveries(run) == ["not_recovered", None]
    assert [(row["version"], row["reason"]) for row in stored(run.engine, promotions)] == [
        ("student-1", "configured"),
        ("student-2", "gates_passed"),
        ("student-1", "not_recovered"),
    ]
    assert (ended.order.alpha_from, ended.order.alpha_to) == (Decimal("0.6"), Decimal("0.5"))
    assert stored(run.engine, jobs)[1]["student_version"] == "student-1"
    with writing(run.engine) as connection:
        assert versions.ladder_since(connection, MONITOR) == START


def test_no_rollback_overrides_what_a_person_promotes_meanwhile(postgres_engine: Engine) -> None:
    """While the files of the earlier student are looked for. SQLite lets nobody else write meanwhile."""

    def looked_for(_student: ModelVersion) -> bool:
        run.promote("student-9", now=due_at(1))
        return True

    automatic = AlphaPolicy(cooldown=timedelta(0), rollback="auto", watch_cycles=1)
    policy = make_policy(alpha=automatic, may_be_found=looked_for)
    run = Cycles(engine=postgres_engine, lease=taken(postgres_engine), policy=policy)
    run.promote(now=START, alpha=Decimal("0.7"))
    run.conclude(0, FAR)
    promote_candidate(run, 0)
    run.conclude(1, by("student-2"))
    assert [row["version"] for row in stored(run.engine, promotions)][-2:] == ["student-2", "student-9"]


def test_a_student_whose_files_are_gone_or_changed_is_named(watched: Cycles) -> None:
    run = with_policy(watched, alpha=AlphaPolicy(cooldown=timedelta(0), rollback="auto", watch_cycles=1))
    run.conclude(1, by("student-2"))
    (summary,) = [
        row["summary"] for row in stored(run.engine, incidents) if row["kind"] == "candidate-rejected"
    ]
    assert summary.endswith("and student student-1 cannot serve again: its files are gone or changed")


def test_who_makes_way_makes_way_for_the_student_that_served_before(watched: Cycles, tmp_path: Path) -> None:
    """It need not be the one that the job began with: a person had chosen another meanwhile."""
    (tmp_path / "config.json").write_text("{}")
    run = with_policy(watched, alpha=AlphaPolicy(cooldown=timedelta(0), rollback="auto", watch_cycles=1))
    run.conclude(1, by("student-2", HEALTHY))
    run.conclude(2, by("student-2"))
    chosen = ModelVersion(monitor=MONITOR, version="student-9", role=Role.STUDENT, uri=str(tmp_path))
    with writing(run.engine) as connection:
        versions.record(connection, chosen, due_at(2))
        versions.promote(connection, chosen, PromotionReason.MANUAL, due_at(2) + timedelta(minutes=1))
    assert stored(run.engine, jobs)[1]["student_version"] == "student-2"
    promote_candidate(run, 3, number=3)
    run.conclude(4, by("student-3"))
    assert [row["version"] for row in stored(run.engine, promotions)][-3:] == [
        "student-9",
        "student-3",
        "student-9",
    ]


def test_what_a_person_promotes_anew_is_not_watched_either(watched: Cycles) -> None:
    """They went back behind a candidate that was on trial, and then chose it themselves."""
    run = with_policy(watched, alpha=AlphaPolicy(cooldown=timedelta(0), rollback="auto", watch_cycles=1))
    run.promote("student-1", now=due_at(0) + timedelta(minutes=1))
    run.promote("student-2", now=due_at(0) + timedelta(minutes=2))
    ended = run.conclude(1, by("student-2"))
    assert ended.order.reason is OrderReason.ORDERED
    assert recoveries(run) == [None, None]


def test_a_candidate_that_was_replaced_on_trial_is_in_nobody_s_way(watched: Cycles) -> None:
    """A job by hand has brought the next one, which does not help: the ladder goes on."""
    with writing(watched.engine) as connection:
        queue.enqueue(connection, make_new_job(), due_at(0) + timedelta(minutes=1))
    promote_candidate(watched, 0, number=3)
    reasons = [watched.conclude(index, by("student-3")).order.reason for index in (1, 2, 3)]
    assert reasons == [OrderReason.WATCHING] * 2 + [OrderReason.ORDERED]
    assert recoveries(watched) == [None, "not_recovered", None]


def test_nothing_makes_way_for_a_student_whose_files_are_gone(watched: Cycles) -> None:
    run = with_policy(watched, alpha=AlphaPolicy(cooldown=timedelta(0), rollback="auto", watch_cycles=1))
    run.conclude(1, by("student-2"))
    assert [row["reason"] for row in stored(run.engine, promotions)] == ["manual", "gates_passed"]


def test_what_a_person_promotes_is_not_watched(run: Cycles) -> None:
    run.promote(now=START)
    run.conclude(0, FAR)
    promote_candidate(run, 0)
    run.promote("student-9", now=due_at(0) + timedelta(minutes=1))
    ended = run.conclude(1, by("student-9"))
    assert ended.order.reason is OrderReason.ORDERED
    assert recoveries(run) == [None, None]


def test_another_teacher_ends_the_watch_without_a_result(watched: Cycles) -> None:
    ended = watched.conclude(1, make_result(student_version="student-2", teacher_version="teacher-2"))
    assert ended.order.reason is not OrderReason.WATCHING
    assert recoveries(watched) == [None]


def test_cycles_before_the_revision_say_whether_it_helped(watched: Cycles) -> None:
    """A promotion from before the watch existed is not taken for one that did not help."""
    watched.conclude(1, by("student-2", HEALTHY))
    with writing(watched.engine) as connection:
        queue.set_recovery(connection, 1, None)
    for index in (2, 3, 4):
        watched.conclude(index, by("student-2"))
    assert recoveries(watched)[0] == "recovered"
