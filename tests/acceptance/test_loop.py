"""The whole loop, through the command line, as its users run it."""

import hashlib
import json
import signal
import socket
import time
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, select

from db.connection.session import connect, reading
from db.tables import cycles, leases
from db.views import rows
from distill.evaluation.relative_gates import RELATIVE
from tests.support.processes.product import Process, fork, run, running, spawn
from tests.support.processes.waiting import wait_until
from tests.support.records.leaks import leaks
from tests.support.servers.metrics import parsed, series
from tests.support.servers.receiver import Receiver, receiving
from tests.support.world.installation import MONITOR, Site, hours, make_site, seconds, webhook
from tests.support.world.tiny_world import World

Row = Mapping[str, Any]


def history(engine: Engine, view: str, order_by: str) -> list[Row]:
    with reading(engine) as connection:
        return rows(connection, view, monitor=MONITOR, order_by=order_by)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def stop(process: Process) -> None:
    """Asked to stop, it does, within the time that orchestrators give."""
    process.signal(signal.SIGTERM)
    assert process.wait(10) == 0


def test_a_drift_is_seen_repaired_and_told(empty_database_url: str, world: World, tmp_path: Path) -> None:
    """From an empty database to a promoted student and a resolved incident, in real time, with no restart."""
    engine = connect(empty_database_url)
    start = spawn if engine.dialect.name == "sqlite" else fork  # one of the two is enough for the slow start
    with receiving() as receiver:
        port = free_port()
        site = make_site(
            tmp_path,
            world,
            seconds(4, past=4, healthy=2, drifted=60),
            url=empty_database_url,
            web={"port": port},
            alerts=[webhook(receiver.url), {"kind": "log"}],
        )
        run(fork, site, "db", "upgrade")
        judge_the_past(site)
        with running(start, site, "monitor") as daemon, running(start, site, "worker") as worker:
            wait_until(lambda: len(receiver.received) == 2, "fired and resolved")
            wait_until(lambda: n_healthy_at_the_end(engine) >= 2, "healthy again")
            assert_the_probes_are_content(port)
            assert_the_metrics_are_of_this_run(port, engine)
            stop(worker)
            stop(daemon)
        assert receiver.refused == []
        candidate = assert_one_repair(engine, site)
        assert_every_window_was_judged_once(engine, site)
        assert_the_daemon_followed(engine, candidate)
        assert_the_pager_heard_both_in_order(engine, receiver)
        assert_the_registry_tells_how_it_came(engine, site, world, candidate)
        assert_the_candidate_was_calibrated(engine, candidate)
        assert leaks(site, engine) == []
    engine.dispose()


def judge_the_past(site: Site) -> None:
    first, every = site.timeline.start, site.timeline.every
    said = run(
        fork, site, "cycle", "--backfill", first.isoformat(), (first + 4 * every).isoformat(), "--json"
    )
    assert [row["verdict"] for row in json.loads(said)] == ["healthy"] * 4


def notified(engine: Engine) -> list[Row]:
    """The incidents of which somebody was notified: by chance, one window can miss the threshold alone."""
    return [row for row in history(engine, "incident_history", "incident_id") if row["state"] != "pending"]


def n_healthy_at_the_end(engine: Engine) -> int:
    verdicts = [row["verdict"] for row in history(engine, "cycle_history", "window_end") if row["verdict"]]
    return next((n for n, verdict in enumerate(reversed(verdicts)) if verdict != "healthy"), len(verdicts))


def assert_the_probes_are_content(port: int) -> None:
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").text == "ok\n"
    ready = httpx.get(f"http://127.0.0.1:{port}/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)
    assert set(ready.json()["checks"]) == {"database", "models", "scheduler", "slots"}


def assert_the_metrics_are_of_this_run(port: int, engine: Engine) -> None:
    healthy = [row for row in history(engine, "cycle_history", "window_end") if row["verdict"] == "healthy"]
    found = parsed(httpx.get(f"http://127.0.0.1:{port}/metrics").text)
    assert found[series("redistill_cycles_total", monitor=MONITOR, verdict="healthy")] >= len(healthy) > 0
    assert found[series("redistill_jobs_total", monitor=MONITOR, status="succeeded")] == 1
    assert found[series("redistill_training_seconds_count", monitor=MONITOR)] == 1
    assert found[series("redistill_cycle_stage_seconds_count", monitor=MONITOR, stage="score")] > 0


def assert_one_repair(engine: Engine, site: Site) -> str:
    """One job, ordered by the first cycle in which a rule fired, with one step less weight on the teacher."""
    (job,) = history(engine, "job_history", "job_id")
    fired = next(row for row in history(engine, "rule_history", "window_end") if row["fired"])
    assert fired["window_end"] == site.timeline.drifts_at + site.timeline.every
    assert (job["cycle_id"], job["rule"]) == (fired["cycle_id"], fired["rule"])
    assert (str(job["alpha_from"]), str(job["alpha_to"])) == ("0.7", "0.6")
    assert (job["status"], job["decision"], job["attempt"]) == ("succeeded", "promoted", 1)
    (incident,) = notified(engine)
    assert (incident["kind"], incident["state"], incident["job_id"]) == ("drift", "resolved", job["job_id"])
    assert (incident["deliveries_ok"], incident["deliveries_pending"], incident["deliveries_dead"]) == (
        4,
        0,
        0,
    )
    return str(job["candidate_version"])


def assert_every_window_was_judged_once(engine: Engine, site: Site) -> None:
    found = history(engine, "cycle_history", "window_end")
    assert [row["window_end"] for row in found] == [slot.window_end for slot in site.slots[: len(found)]]
    assert {row["status"] for row in found} == {"evaluated"}
    started = [event["cycle_id"] for event in site.events("cycle started")]
    judged = sorted(row["cycle_id"] for row in found)
    assert sorted(started)[: len(judged)] == judged
    assert len(started) <= len(judged) + 1  # the next one may have begun when the daemon was asked to stop


def assert_the_daemon_followed(engine: Engine, candidate: str) -> None:
    """The first student until the promotion, the candidate ever after, and no streak goes across."""
    found = history(engine, "cycle_history", "window_end")
    students = [row["student_version"] for row in found]
    assert set(students[students.index(candidate) :]) == {candidate}
    before, after = next(pair for pair in pairwise(found) if pair[1]["student_version"] == candidate)
    assert before["kl_streak"] >= 1
    assert (after["agreement_streak"] <= 1, after["kl_streak"]) == (True, 0)
    assert (str(before["alpha"]), str(after["alpha"])) == ("None", "0.6")


def assert_the_pager_heard_both_in_order(engine: Engine, receiver: Receiver) -> None:
    (incident,) = notified(engine)
    with reading(engine) as connection:
        query = select(cycles.c.window_end).where(cycles.c.id == incident["cycle_id"])
        opened = connection.execute(query).scalar_one()
    key = receiver.received[0].document["dedup_key"]
    assert key.startswith(f"redistill:{MONITOR}:{incident['incident_id']}:{opened:%Y%m%dT%H%M%SZ}:")
    assert [message.key for message in receiver.received] == [f"{key}:firing:error", f"{key}:resolved:error"]
    firing, resolved = (message.document for message in receiver.received)
    assert (firing["schema"], firing["dedup_key"]) == ("redistill.incident/1", key)
    assert (firing["order"]["reason"], firing["order"]["alpha_to"]) == ("ordered", "0.6")
    assert (firing["cycle_id"], firing["order"]["job_id"]) == (incident["cycle_id"], incident["job_id"])
    assert (resolved["event"], resolved["verdict"]) == ("resolved", "healthy")


def assert_the_registry_tells_how_it_came(engine: Engine, site: Site, world: World, candidate: str) -> None:
    """What serves is the candidate, and its manifest leads back to all that it was made of."""
    assert site.served == candidate
    manifest = json.loads((site.registry / "current" / "manifest.json").read_text())
    (job,) = history(engine, "job_history", "job_id")
    with reading(engine) as connection:
        condemned = connection.execute(select(cycles).where(cycles.c.id == job["cycle_id"])).one()
    assert manifest["version"] == candidate
    assert manifest["parents"] == {
        "teacher": condemned.teacher_version,
        "incumbent": condemned.student_version,
        "student_init": condemned.student_version,
    }
    assert (manifest["alpha"], manifest["temperature"], manifest["job_id"]) == (0.6, 3.0, job["job_id"])
    assert manifest["data"] == {
        "train": hashlib.sha256(world.train.read_bytes()).hexdigest(),
        "test": hashlib.sha256(world.test.read_bytes()).hexdigest(),
        f"archive:{Path(condemned.archive).name}": condemned.archive_sha256,
    }
    measured = {
        each["dataset"]: {m["name"]: m["value"] for m in each["metrics"]} for each in manifest["evaluations"]
    }
    (model,) = [row for row in model_history(engine) if row["version"] == candidate]
    for metric in ("accuracy", "macro_f1", "rare_class_accuracy", "ece", "agreement", "kl", "latency_p95_ms"):
        assert measured["test"][metric] == model[metric]
    assert measured["condemned"]["agreement"] >= 0.95
    assert {gate["result"] for gate in manifest["gates"] if gate["gate"] not in RELATIVE} == {"pass"}
    (fit,) = [
        row for row in history(engine, "calibration_history", "calibrated_at") if row["version"] == candidate
    ]
    assert manifest["calibration"] == {
        "temperature": fit["temperature"],
        "n": fit["n"],
        "dataset": fit["dataset"],
        "sha256": hashlib.sha256(world.test.read_bytes()).hexdigest(),
    }


def assert_the_candidate_was_calibrated(engine: Engine, candidate: str) -> None:
    """With its job, on the test set: there is no validation file. The first one by the worker, or not yet."""
    (job,) = history(engine, "job_history", "job_id")
    *others, row = history(engine, "calibration_history", "calibrated_at")
    assert (row["version"], row["reason"], row["job_id"]) == (candidate, "job", job["job_id"])
    assert (row["dataset"], row["n"], row["calibrated_at"]) == ("test", 500, job["finished_at"])
    assert row["nll_after"] <= row["nll_before"]
    assert {each["reason"] for each in others} <= {"due"}


def model_history(engine: Engine) -> list[Row]:
    with reading(engine) as connection:
        return rows(connection, "model_history", order_by="created_at")


# The slow one of both: what the stop writes is the same, and the SQL has tests of its own.
@pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True
)
def test_a_daemon_asked_to_stop_leaves_no_half_cycle(database_url: str, world: World, tmp_path: Path) -> None:
    """In the middle of a cycle: it exits with 0 within 10 s, gives the slot and its lease back, and the next
    process takes up where it was.
    """
    site = make_site(
        tmp_path,
        world,
        hours(healthy=6, drifted=0),
        url=database_url,
        scoring={"tokens_per_batch": 4, "threads": 1},
    )
    run(fork, site, "cycle", "--at", site.timeline.start.isoformat())
    with running(fork, site, "monitor", lease_seconds=60) as daemon:
        wait_until(lambda: len(site.events("cycle started")) == 3, "in the second of its cycles")
        time.sleep(0.1)
        asked_at = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
        assert time.monotonic() - asked_at < 10
    engine = connect(database_url)
    assert [row["status"] for row in history(engine, "cycle_history", "window_end")] == ["evaluated"] * 2
    assert len(site.events("cycle given back")) == 1
    run(fork, site, "cycle", "--backfill", site.timeline.start.isoformat(), site.timeline.end.isoformat())
    found = history(engine, "cycle_history", "window_end")
    assert [row["status"] for row in found] == ["evaluated"] * 6
    with reading(engine) as connection:
        assert set(connection.scalars(select(cycles.c.attempt))) == {1}
        assert connection.scalar(select(leases.c.token)) == 3  # one for each process
    engine.dispose()


def test_a_candidate_can_wait_for_a_person(sqlite_url: str, world: World, tmp_path: Path) -> None:
    """With promote = "manual" the student serves on, and nothing more is ordered, until somebody promotes."""
    site = make_site(
        tmp_path,
        world,
        hours(healthy=1, drifted=4),
        url=sqlite_url,
        redistill={"promote": "manual", "cooldown": "0s"},
    )
    engine = connect(sqlite_url)
    ends = [slot.window_end.isoformat() for slot in site.slots]
    run(fork, site, "cycle", "--backfill", site.timeline.start.isoformat(), ends[1])
    run(fork, site, "worker", "--once")
    run(fork, site, "cycle", "--backfill", ends[1], ends[2])
    (job,) = history(engine, "job_history", "job_id")
    assert (job["status"], job["decision"], job["promoted_at"]) == ("succeeded", "held", None)
    assert site.served == world.student.name
    run(fork, site, "models", "promote", job["candidate_version"][:12])
    assert site.served == job["candidate_version"]
    run(fork, site, "cycle", "--backfill", ends[2], ends[3])
    verdicts = [
        (row["verdict"], row["student_version"] == job["candidate_version"])
        for row in history(engine, "cycle_history", "window_end")
    ]
    assert verdicts == [("healthy", False), ("breached", False), ("breached", False), ("healthy", True)]
    engine.dispose()
