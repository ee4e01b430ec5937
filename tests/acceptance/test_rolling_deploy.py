"""A rolling deploy, rehearsed: the database is migrated while the version before works, the new one starts
beside it, and for some slots both work, through a drift, its job and its end. Nothing is lost or done twice.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine, text
from structlog.testing import capture_logs

from db.connection.migrate import head
from db.connection.session import connect, reading
from db.states import CycleStatus, DeliveryState, IncidentState
from db.tables import cycles, deliveries, incidents, jobs
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.processes.daemons import has_a_cycle, hold, is_ready, monitoring, run_by, stop_in_a_cycle
from tests.support.processes.earlier import unpacked
from tests.support.processes.product import Process, run, running, spawn
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import stored
from tests.support.servers.receiver import Receiver, receiving
from tests.support.world.installation import MONITOR, Site, drift, make_site, now, seconds, webhook
from tests.support.world.reruns import measured, rerun
from tests.support.world.tiny_world import World

#: The version that is replaced, which moves on with the releases; its schema is another than the present one.
BEFORE: Final = "549b1294e53e4e32eb2c0dccddc9109bf51b1e23"
OVERLAP: Final = 10  #: so many slots at least are run while both versions work
EACH: Final = 3  #: so many of them at least by each of the two
_EVERY: Final = 3  #: seconds; no multiple of the daemons' tick, so that either may be first to see a slot
_WINDOWS: Final = 120


@dataclass(frozen=True, kw_only=True)
class Rehearsal:
    site: Site
    engine: Engine
    receiver: Receiver
    before: Path  #: the source tree of the version that is replaced

    @property
    def revision(self) -> str:
        with reading(self.engine) as connection:
            return str(connection.scalar(text("SELECT version_num FROM alembic_version")))


@pytest.fixture
def rehearsal(empty_database_url: str, world: World, tmp_path: Path) -> Iterator[Rehearsal]:
    """An installation of the version before: a database, a configuration, one cycle."""
    before = unpacked(BEFORE, tmp_path / "before")
    engine = connect(empty_database_url)
    with receiving() as receiver:
        site = make_site(
            tmp_path / "site",
            world,
            seconds(_EVERY, past=2, healthy=_WINDOWS, drifted=0),
            url=empty_database_url,
            scoring={"tokens_per_batch": 60},  # so that a cycle lasts long enough to be stopped in
            alerts=[webhook(receiver.url)],
        )
        run(spawn, site, "db", "upgrade", tree=before)
        run(spawn, site, "cycle", "--at", site.timeline.start.isoformat(), tree=before)
        yield Rehearsal(site=site, engine=engine, receiver=receiver, before=before)
    engine.dispose()


@pytest.mark.slow
def test_two_versions_work_side_by_side_while_one_replaces_the_other(
    rehearsal: Rehearsal, tmp_path: Path
) -> None:
    site, revision = rehearsal.site, rehearsal.revision
    assert revision != head(), "there is nothing to migrate: BEFORE has the present schema"
    with monitoring(site, tree=rehearsal.before) as old:
        wait_until(lambda: len(run_by(old)) >= 2, "the version before at work")
        assert_new_one_waits_for_the_migration(rehearsal)
        migrate(rehearsal, old)
        with monitoring(site, "--with-worker") as new:
            began = now()
            drift(site, since=began)
            overlap(rehearsal, old, new, began)
            shares = [len(run_by(each, since=began)) for each in (old, new)]
            seconds_to_stop = stop_in_a_cycle(old, beside=new)
            n_alone = len(run_by(new))
            wait_until(lambda: len(run_by(new)) > n_alone + 1, "the new version at work alone")
            wait_until(lambda: is_over(rehearsal), "the end of all incidents")
            stop_in_a_cycle(new)
    print(  # noqa: T201 - pytest -s shows it
        f"\n{rehearsal.engine.dialect.name}: revision {revision} to {head()}; slots of the old and the new"
        f" version: {shares}; the old one stopped within {seconds_to_stop:.1f} s"
    )
    assert sum(shares) >= OVERLAP
    assert min(shares) >= EACH
    assert_each_slot_once(rehearsal)
    assert_nothing_went_wrong(old, new)
    assert_told_once(rehearsal)
    assert_the_same_numbers(rehearsal, tmp_path)


def assert_new_one_waits_for_the_migration(rehearsal: Rehearsal) -> None:
    """It says what is to be done, and does nothing."""
    with running(spawn, rehearsal.site, "monitor") as early:
        assert early.wait() == 1
        (line,) = early.log.read_text().splitlines()
    assert f"at revision {rehearsal.revision}, but this version of redistill needs {head()}" in line
    assert "run `redistill db upgrade`" in line


def migrate(rehearsal: Rehearsal, old: Process) -> None:
    """By two commands at once, as where each new task begins with it. What runs stays ready, and works on."""
    with (
        running(spawn, rehearsal.site, "db", "upgrade") as one,
        running(spawn, rehearsal.site, "db", "upgrade") as other,
    ):
        assert [one.wait(), other.wait()] == [0, 0], one.log.read_text() + other.log.read_text()
    assert rehearsal.revision == head()
    n_before = len(run_by(old))
    wait_until(lambda: len(run_by(old)) > n_before, "the version before at work after the migration")
    assert is_ready(old)


def overlap(rehearsal: Rehearsal, old: Process, new: Process, began: datetime) -> None:
    """Until a drift has come and gone, and both have run slots enough."""
    wait_until(lambda: is_over(rehearsal), "the end of the drift", timeout=240)
    wait_until(lambda: len(run_by(old, new, since=began)) >= OVERLAP, "so many slots")
    for each, other in ((old, new), (new, old)):
        wait_until(partial(has_its_share, each, other, began), "slots by each")


def has_its_share(daemon: Process, other: Process, began: datetime) -> bool:
    """If not, the other is held still for a slot."""
    if len(run_by(daemon, since=began)) >= EACH:
        return True
    hold(other, until=lambda: has_a_cycle(daemon))
    return False


def is_over(rehearsal: Rehearsal) -> bool:
    """The drift was told and is over, and no message waits."""
    told = {row["state"] for row in stored(rehearsal.engine, incidents) if row["kind"] == "drift"}
    states = {row["state"] for row in stored(rehearsal.engine, deliveries)}
    return told == {IncidentState.RESOLVED} and states == {DeliveryState.DELIVERED}


def assert_each_slot_once(rehearsal: Rehearsal) -> None:
    """None is missing and none was begun twice, but what the one has given back the other has begun anew."""
    site = rehearsal.site
    found = sorted(stored(rehearsal.engine, cycles), key=lambda row: row["window_end"])
    assert [row["window_end"] for row in found] == [slot.window_end for slot in site.slots[: len(found)]]
    assert {(row["status"], row["attempt"]) for row in found} == {(CycleStatus.EVALUATED, 1)}
    events = {
        event: Counter(line["window_end"] for line in site.events(f"cycle {event}"))
        for event in ("started", "given back", "ended")
    }
    assert events["ended"] == Counter(row["window_end"].isoformat() for row in found)
    assert events["started"] == events["ended"] + events["given back"]


def assert_nothing_went_wrong(*daemons: Process) -> None:
    """Every line of their logs, and those of their workers, tells of work in order."""
    for daemon in daemons:
        for line in daemon.log.read_text().splitlines():
            assert json.loads(line)["level"] == "info", line


def assert_told_once(rehearsal: Rehearsal) -> None:
    """There was one drift, with one job, and each message came in once, under its key, as it was written."""
    (job,) = stored(rehearsal.engine, jobs)
    (told,) = [row for row in stored(rehearsal.engine, incidents) if row["kind"] == "drift"]
    assert (job["status"], job["decision"], told["job_id"]) == ("succeeded", "promoted", job["id"])
    came = rehearsal.receiver.received
    assert rehearsal.receiver.refused == []
    assert Counter(each.body for each in came) == Counter(
        row["payload"] for row in stored(rehearsal.engine, deliveries)
    )
    assert len({each.key for each in came}) == len(came)
    stories = [
        (each.key.removeprefix(f"redistill:{MONITOR}:"), each.document["event"])
        for each in came
        if each.document["kind"] == "drift"
    ]
    assert [event for _, event in stories] == ["firing", "resolved"]
    assert all(key.startswith(f"{told['id']}:") and f":{event}" in key for key, event in stories)


def assert_the_same_numbers(rehearsal: Rehearsal, folder: Path) -> None:
    """Each slot's are those of one run by the new version alone, with the student that served then."""
    site = rehearsal.site
    found = measured(rehearsal.engine)
    slots = {slot.window_end: slot for slot in site.slots}
    expected: dict[Any, Any] = {}
    for student in {student for _, student in found}:
        version = site.registry / "versions" / student
        uri = version if version.exists() else site.settings.student.uri
        own = [slots[end] for end, served in sorted(found) if served == student]
        again = rerun(site, folder / f"rerun {student[:8]}", student={"uri": uri})
        with again as (settings, reference), capture_logs():
            assembly.slot_runner(settings, reference, show_nothing).run(own, never_stopped)
            expected |= measured(reference)
    assert found == expected
