"""Another student or teacher: streaks and ladders start anew."""

from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy import Connection, Engine, event

from db.connection.session import writing
from db.records import CycleResult
from db.states import JobDecision, JobStatus, OrderReason, Verdict
from db.tables import incidents, jobs
from tests.support.records.conclusions import FAR, LOW, end_job, job_list, streaks
from tests.support.records.cycles import Cycles, due_at, stored, taken
from tests.support.records.factories import START


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


def test_a_new_teacher_is_trusted_anew_by_a_student_far_down_the_ladder_of_the_last(run: Cycles) -> None:
    """What was distilled from the old one at the floor is no reason to order nothing from the new one."""
    run.promote(now=START)
    for index in range(2):
        run.conclude(index, FAR)
        end_job(run, JobStatus.REJECTED, index=index)
    with writing(run.engine) as connection:
        values = {"candidate_version": "student-2", "alpha_to": Decimal("0.1"), "status": "succeeded"}
        connection.execute(jobs.update().where(jobs.c.id == 2).values(**values, decision="held"))
    run.promote("student-2", now=due_at(2), alpha=Decimal("0.1"))
    at_floor = replace(FAR, student_version="student-2", alpha=Decimal("0.1"))
    assert run.conclude(3, at_floor).order.reason is OrderReason.AT_FLOOR
    ended = run.conclude(4, replace(at_floor, teacher_version="teacher-2"))
    assert (ended.order.reason, ended.order.alpha_to) == (OrderReason.ORDERED, Decimal("0.6"))


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
