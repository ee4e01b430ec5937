"""The database is restored from a backup that is older than a promotion: docs/restoring.md, rehearsed."""

import json
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from db.connection.session import connect, reading
from db.views import rows
from tests.support.processes.product import Process, fork, run, running
from tests.support.processes.waiting import wait_until
from tests.support.servers.backups import back_up, restore
from tests.support.servers.receiver import Received, Receiver, receiving
from tests.support.world.installation import MONITOR, Site, make_site, seconds, webhook
from tests.support.world.tiny_world import World


@dataclass(frozen=True, kw_only=True)
class Installation:
    """It was backed up in its fifth window, and has since seen a drift, repaired it and said so."""

    engine: Engine
    site: Site
    receiver: Receiver
    backup: Path
    candidate: str  #: the version that was promoted after the backup, to which `current` leads
    before: Mapping[object, Mapping[str, Any]]  #: the cycles at its end, by the ends of their windows

    def restore(self) -> None:
        self.engine.dispose()
        restore(self.engine.url.render_as_string(hide_password=False), self.backup)


def stop(*processes: Process) -> None:
    for process in processes:
        process.signal(signal.SIGTERM)
    assert [process.wait(30) for process in processes] == [0 for _ in processes]


def history(engine: Engine, view: str, order_by: str) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        return [dict(row) for row in rows(connection, view, monitor=MONITOR, order_by=order_by)]


def cycles_of(engine: Engine) -> dict[object, Mapping[str, Any]]:
    return {row["window_end"]: row for row in history(engine, "cycle_history", "window_end")}


def n_healthy_at_the_end(engine: Engine) -> int:
    verdicts = [row["verdict"] for row in cycles_of(engine).values() if row["verdict"]]
    return next((n for n, verdict in enumerate(reversed(verdicts)) if verdict != "healthy"), len(verdicts))


def lived(engine: Engine, receiver: Receiver, world: World, folder: Path) -> Installation:
    url = engine.url.render_as_string(hide_password=False)
    alerts = [webhook(receiver.url), {"kind": "log"}]
    site = make_site(folder, world, seconds(3, past=4, healthy=2, drifted=300), url=url, alerts=alerts)
    first, every = site.timeline.start, site.timeline.every
    run(fork, site, "cycle", "--backfill", first.isoformat(), (first + 4 * every).isoformat())
    backup = folder / "backup"
    with running(fork, site, "monitor") as daemon, running(fork, site, "worker") as worker:
        wait_until(lambda: len(cycles_of(engine)) >= 5, "a cycle of the daemon")
        back_up(url, backup)
        wait_until(lambda: len(receiver.received) == 2, "a drift that was reported and resolved")
        wait_until(lambda: n_healthy_at_the_end(engine) >= 2, "two healthy cycles")
        stop(worker, daemon)
    return Installation(
        engine=engine,
        site=site,
        receiver=receiver,
        backup=backup,
        candidate=site.served,
        before=cycles_of(engine),
    )


@pytest.mark.slow
def test_an_older_backup_is_restored(database_url: str, world: World, tmp_path: Path) -> None:
    engine = connect(database_url)
    with receiving() as receiver:
        found = lived(engine, receiver, world, tmp_path)
        found.restore()
        assert len(cycles_of(engine)) < len(found.before)
        assert_doctor_names_the_version(found)
        assert_the_lost_story_is_repeated(found)
        found.restore()
        assert_the_version_can_be_kept(found)
    engine.dispose()


def assert_doctor_names_the_version(found: Installation) -> None:
    doctor = fork(found.site, "doctor", "--json")
    doctor.wait()
    checks = {each["check"]: each for each in json.loads(doctor.said)}
    expected = f"current points to {found.candidate[:12]}, a version that the database does not know"
    assert expected in checks["current"]["found"]
    assert "see docs/restoring.md" in checks["current"]["fix"]


def assert_the_lost_story_is_repeated(found: Installation) -> None:
    """Nothing is done: windows are measured and the drift is found again, and the same version repairs it.

    That version serves all the while.
    """
    with running(fork, found.site, "monitor") as daemon, running(fork, found.site, "worker") as worker:
        wait_until(lambda: bool(found.site.events("current not set")), "the worker's report")
        assert found.site.served == found.candidate
        wait_until(lambda: len(found.receiver.received) == 4, "the messages again")
        wait_until(lambda: n_healthy_at_the_end(found.engine) >= 2, "two healthy cycles")
        stop(worker, daemon)
    assert found.site.served == found.candidate
    assert_windows_have_the_same_numbers(found)
    first, again = found.receiver.received[:2], found.receiver.received[2:]
    assert [story(message) for message in again] == [story(message) for message in first]
    assert {message.key for message in again}.isdisjoint(message.key for message in first)
    (job,) = history(found.engine, "job_history", "job_id")
    assert (job["decision"], job["candidate_version"]) == ("promoted", found.candidate)


def story(message: Received) -> list[object]:
    """What was told; when a drift is over depends on how long its job takes."""
    told = [message.document[name] for name in ("monitor", "kind", "event", "severity")]
    return told if message.document["event"] == "resolved" else [*told, message.document["window_end"]]


def assert_windows_have_the_same_numbers(found: Installation) -> None:
    """All windows are there, each once; those with the same student are measured as before."""
    again = cycles_of(found.engine)
    ends = [slot.window_end for slot in found.site.slots[: len(again)]]
    assert list(again) == ends
    same = [end for end, row in found.before.items() if row["student_version"] != found.candidate]
    assert len(same) > 5
    for end in same:
        for name in ("n_seen", "n_sampled", "agreement", "kl", "verdict", "student_version"):
            assert again[end][name] == found.before[end][name]


def assert_the_version_can_be_kept(found: Installation) -> None:
    """The configuration names its folder: it is the student from the next cycle on; nothing is ordered."""
    site, text = found.site, found.site.config.read_text()
    own = site.registry / "versions" / found.candidate
    site.config.write_text(text.replace(f'"{site.settings.student.uri}"', f'"{own}"'))
    assert site.settings.student.uri == own
    with running(fork, site, "monitor") as daemon, running(fork, site, "worker") as worker:
        wait_until(lambda: n_measured_with(found.engine, found.candidate) > 12, "cycles with the version")
        stop(worker, daemon)
    assert site.served == found.candidate
    (current,) = [row for row in students(found.engine) if row["promoted_at"] and not row["retired_at"]]
    assert current["version"] == found.candidate
    assert history(found.engine, "job_history", "job_id") == []
    assert len(found.receiver.received) == 4


def n_measured_with(engine: Engine, version: str) -> int:
    return sum(row["student_version"] == version for row in cycles_of(engine).values())


def students(engine: Engine) -> list[dict[str, Any]]:
    with reading(engine) as connection:
        found = rows(connection, "model_history", order_by="created_at")
    return [dict(row) for row in found if row["role"] == "student"]
