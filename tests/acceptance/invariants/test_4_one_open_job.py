"""Invariant 4: at most one open job per student, and one alpha step per completed job."""

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from db import queue
from db.connection.session import connect, writing
from db.states import JobStatus
from db.tables import jobs
from tests.support.processes.races import in_threads
from tests.support.records.conclusions import end_open_job, make_drifted_result
from tests.support.records.cycles import Cycles, due_at, stored, taken
from tests.support.records.factories import make_new_job
from tests.support.world.installation import MONITOR


def test_one_open_job_and_one_step_for_each_that_completes(engine: Engine) -> None:
    """While the drift lasts, a failed job does not use up its alpha; a rejected candidate does."""
    cycle = Cycles(engine=engine, lease=taken(engine))
    ends = iter(
        [None, JobStatus.FAILED, None, JobStatus.REJECTED, JobStatus.CANCELLED, JobStatus.SUCCEEDED, None]
    )
    for index, status in enumerate(ends):
        cycle.conclude(index, make_drifted_result())
        assert sum(row["status"] in queue.OPEN for row in stored(engine, jobs)) == 1
        if status is not None:
            end_open_job(engine, status, now=due_at(index))
    steps = [(str(row["alpha_from"]), str(row["alpha_to"])) for row in stored(engine, jobs)]
    assert steps == [("0.7", "0.6"), ("0.7", "0.6"), ("0.6", "0.5"), ("0.6", "0.5"), ("0.5", "0.4")]


def test_the_database_refuses_a_second_open_job(database_url: str) -> None:
    """Concurrent inserts that check nothing first end with one job."""

    def order(_number: int) -> bool:
        engine = connect(database_url)
        try:
            with writing(engine) as connection:
                queue.enqueue(connection, make_new_job(MONITOR), due_at(0))
        except IntegrityError:
            return False
        finally:
            engine.dispose()
        return True

    assert sorted(in_threads(4, order)) == [False, False, False, True]
