"""A candidate in shadow, through the command line: a better one is promoted, a worse one stopped."""

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from db.connection.session import connect, reading
from db.tables import promotions, shadow_cycles
from db.views import rows
from redistill.checks import job_queue
from redistill.checks.result import Level
from tests.support.processes.product import fork, run, running
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import stored
from tests.support.world.installation import MONITOR, Site, hours, make_site
from tests.support.world.tiny_world import World

SHADOW = {"promote": "shadow", "cooldown": "0s"}
#: Gates that pass any candidate, which only the shadow can then stop.
OPEN = {
    "accuracy": 0.0,
    "rare_class_accuracy": 0.0,
    "ece": 1.0,
    "latency_p95_ms": "off",
    "agreement": 0.0,
    "margin": "off",
}


def history(engine: Engine, view: str, order_by: str) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        return [dict(row) for row in rows(connection, view, monitor=MONITOR, order_by=order_by)]


def backfill(site: Site, first: int, last: int) -> None:
    """Run the cycles of these windows, counted from 0."""
    start, end = site.slots[first].window_start, site.slots[last].window_end
    run(fork, site, "cycle", "--backfill", start.isoformat(), end.isoformat())


def drifted(site: Site) -> None:
    """A healthy window, one that orders a job, and the worker that makes the candidate."""
    backfill(site, 0, 1)
    run(fork, site, "worker", "--once")


def test_a_better_candidate_serves_after_one_cycle_beside_the_student(
    sqlite_url: str, world: World, tmp_path: Path
) -> None:
    site = make_site(tmp_path, world, hours(healthy=1, drifted=4), url=sqlite_url, redistill=SHADOW)
    engine = connect(sqlite_url)
    drifted(site)
    (job,) = history(engine, "job_history", "job_id")
    assert (job["status"], job["decision"], job["promoted_at"]) == ("succeeded", "shadowed", None)
    assert site.served == world.student.name
    assert "0 of 3 cycles" in run(fork, site, "status")
    assert json.loads(run(fork, site, "status", "--json"))["shadow"]["candidate_version"] in site.versions
    assert "shadow" in run(fork, site, "models", "list")
    assert "0 of 3 cycles" in run(fork, site, "jobs", "show", "1")
    backfill(site, 2, 2)
    (row,) = history(engine, "shadow_history", "cycle_id")
    assert (row["state"], row["reason"], row["cycle_id"]) == ("promoted", "better", 3)
    assert row["e_better"] >= 20
    assert row["e_worse"] < 1
    assert row["candidate_agreement"] > row["incumbent_agreement"]
    assert row["candidate_kl"] < row["incumbent_kl"]
    run(fork, site, "worker", "--once")  # sets the link
    assert site.served == job["candidate_version"]
    backfill(site, 3, 3)
    cycle = history(engine, "cycle_history", "window_end")[-1]
    assert (cycle["verdict"], cycle["student_version"]) == ("healthy", job["candidate_version"])
    (job,) = history(engine, "job_history", "job_id")
    assert (job["decision"], job["recovery"]) == ("promoted", "recovered")
    engine.dispose()


def test_a_worse_candidate_that_passed_the_gates_is_stopped(
    sqlite_url: str, world: World, tmp_path: Path
) -> None:
    """Its training was ruined by the learning rate, and nothing but the traffic shows it."""
    ruined = {**SHADOW, "learning_rate": 0.9, "max_attempts": 1}
    site = make_site(
        tmp_path, world, hours(healthy=1, drifted=3), url=sqlite_url, redistill=ruined, gates=OPEN
    )
    engine = connect(sqlite_url)
    drifted(site)
    backfill(site, 2, 2)
    (row,) = history(engine, "shadow_history", "cycle_id")
    assert (row["state"], row["reason"]) == ("stopped", "worse")
    assert row["n_incumbent_only"] > row["n_candidate_only"]
    assert site.served == world.student.name
    found = {each["kind"]: each["state"] for each in history(engine, "incident_history", "incident_id")}
    assert found["candidate-rejected"] == "firing"
    assert found["retrain-teacher"] == "firing"  # max_attempts is 1, and the shadow counts
    assert "discordant texts" in run(fork, site, "jobs", "show", "1")
    engine.dispose()


@pytest.mark.slow
def test_a_candidate_whose_files_are_gone_does_not_stop_the_cycles(
    sqlite_url: str, world: World, tmp_path: Path
) -> None:
    site = make_site(tmp_path, world, hours(healthy=1, drifted=5), url=sqlite_url, redistill=SHADOW)
    engine = connect(sqlite_url)
    drifted(site)
    (candidate,) = (each for each in site.versions)
    (site.registry / "versions" / candidate).rename(tmp_path / "elsewhere")
    backfill(site, 2, 3)
    (check,) = job_queue.shadow(site.settings)
    assert check.level is Level.WARNING
    assert "in none of its places" in check.found
    backfill(site, 4, 4)
    found = history(engine, "shadow_history", "cycle_id")
    assert [row["state"] for row in found] == ["stopped"] * 3
    assert all("in none of its places" in row["error"] for row in found)
    verdicts = [row["verdict"] for row in history(engine, "cycle_history", "window_end")]
    assert verdicts == ["healthy"] + ["breached"] * 4
    assert len(site.events("shadow not scored")) == 3
    engine.dispose()


@pytest.mark.slow
def test_a_daemon_that_is_killed_while_it_scores_the_candidate_counts_no_cycle_twice(
    database_url: str, world: World, tmp_path: Path
) -> None:
    """kill -9 in the first cycle beside the student; the next process decides, once."""
    site = make_site(tmp_path, world, hours(healthy=1, drifted=3), url=database_url, redistill=SHADOW)
    engine = connect(database_url)
    drifted(site)
    with running(fork, site, "monitor", lease_seconds=1) as daemon:
        wait_until(lambda: len(site.events("cycle started")) >= 3, "in the cycle beside the student")
        time.sleep(0.05)
        daemon.signal(signal.SIGKILL)
        daemon.wait(10)
    before = len(stored(engine, shadow_cycles))
    with running(fork, site, "monitor", lease_seconds=1):
        wait_until(lambda: len(history(engine, "cycle_history", "window_end")) == 4, "all windows")
        wait_until(lambda: all(row["verdict"] for row in history(engine, "cycle_history", "window_end")), "")
    assert before <= 1
    assert [row["cycle_id"] for row in stored(engine, shadow_cycles)] == [3]
    reasons = [row["reason"] for row in stored(engine, promotions) if row["role"] == "student"]
    assert reasons == ["configured", "shadow_passed"]
    engine.dispose()
