"""Daemon and worker as processes, with a queue of messages between them, and an order by hand."""

import json
import signal
import uuid
from pathlib import Path

from sqlalchemy import select

from db.connection.session import connect, reading
from db.tables import evaluations, jobs
from tests.support.processes.product import amazon_of_this_test, fork, run, running
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import stored
from tests.support.servers.queues import fifo_queue
from tests.support.world.installation import MONITOR, hours, make_site
from tests.support.world.tiny_world import World


def test_a_worker_is_called_to_what_a_person_orders_and_by_nobody_else(
    sqlite_url: str, world: World, tmp_path: Path, s3_url: str
) -> None:
    """The job looks back from a healthy cycle. What a forger sends does nothing; both stop when asked."""
    with fifo_queue(s3_url, visibility_seconds=10) as made:
        site = make_site(
            tmp_path,
            world,
            hours(healthy=1, drifted=0),
            url=sqlite_url,
            queue={"kind": "sqs", "url": made.url},
        )
        run(fork, site, "cycle")
        engine, aws = connect(sqlite_url), {"prepare": amazon_of_this_test()}
        with running(fork, site, "worker", **aws) as worker, running(fork, site, "monitor", **aws) as daemon:
            forgery = {"schema": "redistill.job/1", "monitor": MONITOR, "job_id": 7}
            made.send(json.dumps(forgery), group=uuid.uuid4().hex)
            wait_until(lambda: site.events("message does nothing"), "refused")
            run(fork, site, "jobs", "enqueue", "--reason", "a rehearsal", "--alpha", "0.5", **aws)
            wait_until(lambda: site.events("called to a job"), "called")
            wait_until(lambda: stored(engine, jobs)[0]["finished_at"], "ended")
            wait_until(lambda: site.events("job ended"), "waiting again")
            for process in (worker, daemon):
                process.signal(signal.SIGTERM)
            assert [worker.wait(30), daemon.wait(30)] == [0, 0]
        assert {event["reason"] for event in site.events("message does nothing")} == {"unknown_job"}
        assert {event["job_id"] for event in site.events("workers called")} == {1}
        (job,) = stored(engine, jobs)
        assert job["status"] in {"succeeded", "rejected"}, job["error"]
        assert (job["rule"], job["reason"], job["cycle_id"], job["attempt"]) == (None, "a rehearsal", 1, 1)
        assert str(job["alpha_to"]) == "0.5"
        with reading(engine) as connection:
            judged_on = set(connection.scalars(select(evaluations.c.dataset).distinct()))
        assert judged_on == {"test", "condemned"}
        engine.dispose()
