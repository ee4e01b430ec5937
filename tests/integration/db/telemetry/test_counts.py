"""Running counts: each end is counted once, with what it ends, whatever is deleted or tried again later."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, func, select

from db import outbox, queue
from db.connection.migrate import upgrade
from db.connection.session import reading, writing
from db.cycles import ledger
from db.records import Reject
from db.states import JobStatus, RejectReason
from db.tables import cycles, deliveries, incidents, jobs, rejects
from db.telemetry import counts
from db.telemetry.counts import count, observed
from tests.support.processes.product import ROOT
from tests.support.processes.races import in_threads
from tests.support.records.conclusions import conclude_drifts, end_open_job
from tests.support.records.cycles import MONITOR, Cycles, due_at, make_audience, taken
from tests.support.records.factories import (
    START,
    make_empty_result,
    make_measurement,
    make_new_job,
    make_result,
    make_slot,
    make_traffic,
)
from tests.support.records.long_history import write_history
from tests.support.servers.channels import make_channel
from tests.support.servers.endpoint import Reply, answering
from triggers.channels.outbox import Outbox

_MINE = cycles.c.monitor == MONITOR
EXPECTED = {
    "cycles_total": select(cycles.c.verdict, func.count()).where(_MINE).group_by(cycles.c.verdict),
    "jobs_total": select(jobs.c.status, func.count())
    .where(jobs.c.monitor == MONITOR)
    .group_by(jobs.c.status),
    "records_rejected_total": select(rejects.c.reason, func.sum(rejects.c.n))
    .join(cycles)
    .where(_MINE)
    .group_by(rejects.c.reason),
    "deliveries_total": select(deliveries.c.channel, deliveries.c.state, func.count())
    .join(incidents)
    .where(incidents.c.monitor == MONITOR)
    .group_by(deliveries.c.channel, deliveries.c.state),
}

Counted = dict[tuple[str, ...], float]


@pytest.fixture
def run(engine: Engine) -> Cycles:
    return Cycles(engine=engine, lease=taken(engine))


def counted(engine: Engine, name: str, *, monitor: str = MONITOR) -> Counted:
    """The counts of one name, by the values of their labels."""
    with reading(engine) as connection:
        found = counts.of_monitor(connection, monitor)
    return {tuple(labels.values()): value for labels, value in found.get(name, [])}


def test_each_end_of_an_attempt_is_counted_by_its_verdict(run: Cycles) -> None:
    run.conclude(0)
    run.conclude(1, make_result(measurement=make_measurement(disagreements=1_000)))
    run.fail(2)
    run.conclude(2)
    run.conclude(3, make_empty_result())
    assert counted(run.engine, "cycles_total") == {
        ("healthy",): 2,
        ("breached",): 1,
        ("failed",): 1,
        ("inconclusive",): 1,
    }


def test_an_attempt_that_is_given_back_has_not_ended(run: Cycles) -> None:
    first = run.claim(0)
    with writing(run.engine) as connection:
        ledger.give_back(connection, first)
    run.fail(0)
    again = run.claim(0)
    with writing(run.engine) as connection:
        ledger.give_back(connection, again)
    assert counted(run.engine, "cycles_total") == {("failed",): 1}


def test_skipped_and_abandoned_slots_are_inconclusive(run: Cycles) -> None:
    run.claim(0)
    with writing(run.engine) as connection:
        ledger.skip(connection, [make_slot(index) for index in (1, 2, 3)], START)
        ledger.skip(connection, [], START)
        ledger.abandon(connection, MONITOR, ended_before=due_at(9), now=due_at(9))
        ledger.abandon(connection, MONITOR, ended_before=due_at(9), now=due_at(9))
    assert counted(run.engine, "cycles_total") == {("inconclusive",): 4}


def test_rejected_records_and_stages_are_counted_with_their_cycle(run: Cycles) -> None:
    for index, (n, seconds) in enumerate([(3, 0.05), (4, 2.0)]):
        refused = (
            Reject(reason=RejectReason.NO_ID, n=n, example_hash="h", example_object="o"),
            Reject(reason=RejectReason.LATE_OBJECT, n=1, example_hash="h", example_object="o"),
        )
        result = make_result(traffic=make_traffic(rejects=refused))
        run.conclude(index, replace(result, stage_seconds={"score": seconds}))
    assert counted(run.engine, "records_rejected_total") == {("no_id",): 7, ("late_object",): 2}
    assert counted(run.engine, "cycle_stage_seconds_sum") == {("score",): 2.05}
    assert counted(run.engine, "cycle_stage_seconds_bucket") == {("0.1", "score"): 1, ("3.0", "score"): 1}


@pytest.mark.parametrize(
    "status", [JobStatus.SUCCEEDED, JobStatus.REJECTED, JobStatus.FAILED, JobStatus.CANCELLED]
)
def test_each_end_of_a_job_is_counted(engine: Engine, status: JobStatus) -> None:
    with writing(engine) as connection:
        queue.enqueue(connection, make_new_job(), START)
    assert counted(engine, "jobs_total") == {}
    end_open_job(engine, status, now=START)
    assert counted(engine, "jobs_total") == {(status,): 1}


def test_a_job_that_is_retried_ends_twice_and_one_that_is_requeued_has_not_ended(engine: Engine) -> None:
    with writing(engine) as connection:
        job_id = queue.enqueue(connection, make_new_job(), START)
        queue.cancel(connection, job_id, START)
        queue.retry(connection, job_id)
        claimed = queue.claim(connection, MONITOR, owner="w", lease_seconds=0, now=START)
        assert claimed is not None
        queue.requeue(connection, claimed[0], error="it died")
        job = queue.get(connection, job_id)
        assert queue.give_up(connection, job, owner="w", error="no worker", now=START)
    assert counted(engine, "jobs_total") == {("cancelled",): 1, ("failed",): 1}


def test_each_settled_message_is_counted_once_and_each_attempt_is_timed(engine: Engine) -> None:
    conclude_drifts(engine, "pager", "chat")
    with answering(Reply(status=202)) as receiver, answering(Reply(status=400)) as refusing:
        channels = {
            "pager": make_channel("webhook", receiver.url),
            "chat": make_channel("webhook", refusing.url),
        }
        sender = Outbox(
            engine=engine,
            channels=channels,
            audience=make_audience(alerts=()),
            rng=np.random.default_rng(2025),
        )
        receiver.replies = [Reply(status=503), Reply(status=202), Reply(status=202)]
        for days in range(3):
            sender.deliver_due(due_at(20) + timedelta(days=days))
    assert counted(engine, "deliveries_total") == {("pager", "delivered"): 2, ("chat", "dead"): 2}
    lasted = counted(engine, "delivery_seconds_bucket")
    assert sum(n for (channel, _), n in lasted.items() if channel == "pager") == 3
    assert sum(n for (channel, _), n in lasted.items() if channel == "chat") == 2


def test_a_message_that_was_given_up_and_arrives_late_is_counted_as_both(engine: Engine) -> None:
    conclude_drifts(engine, "pager", resolved=False)
    with writing(engine) as connection:
        outbox.mark_dead(connection, 1, "given up")
        outbox.mark_dead(connection, 1, "given up")
        outbox.mark_delivered(connection, 1, START)
        outbox.mark_retry(connection, 1, "too late", at=START)
    assert counted(engine, "deliveries_total") == {("pager", "dead"): 1, ("pager", "delivered"): 1}


def test_what_is_rolled_back_is_not_counted(engine: Engine) -> None:
    with writing(engine) as connection:
        counts.add(connection, MONITOR, [count("cycles_total", verdict="healthy")])
        connection.rollback()
    assert counted(engine, "cycles_total") == {}


def test_processes_that_count_at_the_same_time_lose_nothing_and_do_not_wait_for_each_other(
    engine: Engine,
) -> None:
    """Whatever the order in which they name the counts."""
    names = ["a", "b", "c"]

    def work(number: int) -> None:
        for _ in range(10):
            with writing(engine) as connection:
                counts.add(connection, MONITOR, [count(each) for each in (names if number else names[::-1])])

    in_threads(2, work)
    assert [counted(engine, name) for name in names] == [{(): 20}] * 3


def test_monitors_are_counted_apart(engine: Engine) -> None:
    with writing(engine) as connection:
        counts.add(connection, MONITOR, [count("x", 2)])
        counts.add(connection, "other", [count("x", 3)])
    assert counted(engine, "x") == {(): 2}
    assert counted(engine, "x", monitor="other") == {(): 3}


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, "0.1"), (0.1, "0.1"), (0.11, "0.3"), (10_000, "10000.0"), (10_001, "+Inf")]
)
def test_a_duration_belongs_to_the_first_bucket_that_holds_it(seconds: float, bucket: str) -> None:
    first, total = observed("x", seconds)
    assert first == count("x_bucket", le=bucket)
    assert total == count("x_sum", seconds)


def test_a_database_that_is_upgraded_counts_the_rows_that_it_has(empty_engine: Engine) -> None:
    revisions = ScriptDirectory(str(ROOT / "migrations")).walk_revisions()
    (own,) = (each for each in revisions if each.path.endswith("running_counts.py"))
    upgrade(empty_engine, str(own.down_revision))
    write_history(empty_engine, 400, newest=START)
    upgrade(empty_engine)
    with reading(empty_engine) as connection:
        expected = {
            name: {tuple(row[:-1]): row[-1] for row in connection.execute(query)}
            for name, query in EXPECTED.items()
        }
    assert {name: counted(empty_engine, name) for name in EXPECTED} == expected
    assert all(expected.values())
