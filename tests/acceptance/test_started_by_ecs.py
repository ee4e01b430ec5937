"""The daemon as a process, and an ECS that starts its workers as processes: `redistill worker --once`."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from db.connection.session import connect
from db.tables import incidents, jobs, worker_tasks
from tests.support.processes.product import Process, amazon_of_this_test, fork, run, running
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import stored
from tests.support.servers.ecs import CLUSTER, DEFINITION, Answer, SmallEcs, refusal, small_ecs
from tests.support.world.installation import MONITOR, Site, hours, make_site
from tests.support.world.tiny_world import World
from triggers.worker_tasks import steps

ECS = {"cluster": CLUSTER, "task_definition": DEFINITION, "subnets": ["subnet-1"], "launch_type": "FARGATE"}


@contextmanager
def ordered(folder: Path, world: World, url: str, **redistill: object) -> Iterator[tuple[Site, Engine]]:
    """An installation in which a job waits, and whose daemon starts workers in ECS."""
    site = make_site(folder, world, hours(healthy=0, drifted=1), url=url, redistill=redistill, ecs=ECS)
    run(fork, site, "cycle", "--at", site.timeline.start.isoformat())
    engine = connect(url)
    try:
        yield site, engine
    finally:
        engine.dispose()


def hurry(find_amazon: Callable[[], None]) -> None:
    """For the processes that are forked: they look at tasks all the time, and find the test's ECS."""
    find_amazon()
    steps.LOOK = steps.LOOK_AT_WORK = steps._FIRST_WAIT = timedelta(seconds=0.5)  # type: ignore[misc]
    steps.ANSWER = timedelta(seconds=2)


def in_a_hurry() -> dict[str, Any]:
    return {"prepare": partial(hurry, amazon_of_this_test()), "lease_seconds": 6.0}


def ended(engine: Engine) -> bool:
    (job,) = stored(engine, jobs)
    return job["finished_at"] is not None


def worker_of(amazon: SmallEcs, number: int) -> Process:
    process = amazon.tasks[number].process
    assert isinstance(process, Process)
    return process


def test_a_job_that_a_person_orders_is_done_by_a_worker_that_ecs_starts(
    sqlite_url: str, world: World, tmp_path: Path
) -> None:
    """As a team would have it: the daemon runs all the time, and a worker only while there is a job."""
    with small_ecs() as amazon:
        site = make_site(tmp_path, world, hours(healthy=1, drifted=0), url=sqlite_url, ecs=ECS)
        amazon.launch = lambda: fork(site, "worker", "--once")
        run(fork, site, "cycle")
        engine = connect(sqlite_url)
        with running(fork, site, "monitor", prepare=amazon_of_this_test()) as daemon:
            wait_until(lambda: site.events("monitor started"), "started")
            assert not amazon.calls
            run(fork, site, "jobs", "enqueue", "--reason", "a rehearsal", "--alpha", "0.5")
            wait_until(lambda: ended(engine), "ended", timeout=240)
            assert worker_of(amazon, 0).wait() == 0
            wait_until(lambda: stored(engine, worker_tasks)[0]["ended_at"], "let go")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait(30) == 0
        (job,), (task,) = stored(engine, jobs), stored(engine, worker_tasks)
        assert job["status"] in {"succeeded", "rejected"}, job["error"]
        assert (job["attempt"], job["error"]) == (1, None)
        assert (task["state"], task["reason"], task["arn"]) == ("ended", "job_ended", amazon.tasks[0].arn)
        (request,) = amazon.called("RunTask")
        assert request["startedBy"] == f"redistill/{MONITOR}/1"
        assert [event["task"] for event in site.events("worker task started")] == [task["arn"]]
        engine.dispose()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_taken_away_is_replaced_by_one_that_goes_on(
    database_url: str, world: World, tmp_path: Path, number: signal.Signals
) -> None:
    """Killed, as for memory: ECS reports 137. Asked to stop, as for a spot reclaim: it gives the job back."""
    with small_ecs() as amazon, ordered(tmp_path, world, database_url, checkpoint_every="0s") as found:
        site, engine = found
        amazon.launch = lambda: fork(site, "worker", "--once", **in_a_hurry())
        with running(fork, site, "monitor", **in_a_hurry()) as daemon:
            wait_until(lambda: site.events("checkpoint written"), "at work", every=0.01)
            worker_of(amazon, 0).signal(number)
            wait_until(lambda: len(amazon.tasks) == 2, "replaced")
            wait_until(lambda: ended(engine), "ended", timeout=240)
            wait_until(lambda: stored(engine, worker_tasks)[-1]["ended_at"], "let go")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait(30) == 0
        assert worker_of(amazon, 1).wait() == 0
        (job,) = stored(engine, jobs)
        assert job["status"] in {"succeeded", "rejected"}, job["error"]
        first, second = stored(engine, worker_tasks)
        assert second["reason"] == "job_ended"
        assert len(site.events("training resumed")) == 1
        if number is signal.SIGKILL:
            assert worker_of(amazon, 0).exit_code == -signal.SIGKILL
            assert (job["attempt"], first["reason"]) == (2, "exited")
            assert "exit code 137" in first["detail"]
            told = [event["reason"] for event in site.events("worker task ended")]
            assert told == ["exited", "job_ended"]
        else:
            assert worker_of(amazon, 0).wait() == 0
            assert job["attempt"] == 1
            assert first["reason"] in {"idle", "worker_gone"}


@pytest.mark.slow
def test_a_daemon_that_is_killed_while_ecs_answers_leaves_one_task_for_the_job(
    database_url: str, world: World, tmp_path: Path
) -> None:
    """The next one asks under the token of the row that was left, and is told of the task that there is."""
    with small_ecs() as amazon, ordered(tmp_path, world, database_url) as (site, engine):
        amazon.answer("RunTask", Answer(fault="stuck"))
        with running(fork, site, "monitor", **in_a_hurry()) as daemon:
            wait_until(lambda: amazon.tasks, "asked")
            daemon.kill()
        (task,) = stored(engine, worker_tasks)
        assert (task["state"], task["arn"]) == ("asked", None)
        with running(fork, site, "monitor", **in_a_hurry()) as daemon:
            wait_until(lambda: len(amazon.called("RunTask")) == 2, "asked again")
            amazon.tasks[0].process = fork(site, "worker", "--once", **in_a_hurry())
            wait_until(lambda: ended(engine), "ended", timeout=240)
            wait_until(lambda: stored(engine, worker_tasks)[-1]["ended_at"], "let go")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait(30) == 0
        (started,) = amazon.tasks
        rows = stored(engine, worker_tasks)
        assert [(row["reason"], row["arn"]) for row in rows] == [
            ("unanswered", None),
            ("job_ended", started.arn),
        ]
        assert len({row["token"] for row in rows}) == 1


def test_a_task_that_cannot_be_started_fails_its_job_and_pages(
    sqlite_url: str, world: World, tmp_path: Path
) -> None:
    """The daemon says why each time, and once more in the end."""
    told = "User: daemon is not authorized to perform: ecs:RunTask"
    with small_ecs() as amazon, ordered(tmp_path, world, sqlite_url) as (site, engine):
        amazon.answer("RunTask", *[refusal("AccessDeniedException", told)] * 5)
        with running(fork, site, "monitor", **in_a_hurry()):
            wait_until(lambda: ended(engine), "given up")
            wait_until(lambda: site.events("job given up"), "told")
        (job,) = stored(engine, jobs)
        expected = f"given up: no worker could be started in 5 tries; the last: AccessDeniedException: {told}"
        assert (job["status"], job["attempt"], job["error"]) == ("failed", 0, expected)
        assert [event["reason"] for event in site.events("worker task ended")] == ["forbidden"] * 5
        failed = [each for each in stored(engine, incidents) if each["kind"] == "job-failed"]
        assert [(each["state"], each["summary"].partition(": ")[2]) for each in failed] == [
            ("firing", expected)
        ]
