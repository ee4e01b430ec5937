"""A drift that was missed since the teacher was not believed: once it is, its windows order the job."""

import gzip
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine

import monitor.daemon.slot_runner
import triggers.conclude
from db.connection.session import connect
from db.tables import cycles, incidents, jobs, rule_outcomes
from monitor.archive import files
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.processes.product import fork, run
from tests.support.records.cycles import stored
from tests.support.world.installation import Site, hours, make_site
from tests.support.world.reruns import measured, rerun
from tests.support.world.tiny_world import NEW, USUAL, World

#: The teacher is right in all but the ambiguous requests, so this asks too much of it.
TIGHT, LOOSE = "min_accuracy = 0.9999", "min_accuracy = 0.5"
_INTENTS: Final = {word: intent for kind in (USUAL, NEW) for intent, words in kind.items() for word in words}


@dataclass(frozen=True, kw_only=True)
class Missed:
    """Three healthy windows, and three drifted ones without a verdict; the bound is fixed by now."""

    site: Site
    engine: Engine

    @property
    def rejudge(self) -> tuple[str, ...]:
        timeline = self.site.timeline
        return ("cycle", "--rejudge", timeline.start.isoformat(), timeline.end.isoformat())

    def drifted(self) -> list[dict[str, Any]]:
        return stored(self.engine, cycles)[3:]


@pytest.fixture(scope="module")
def made(world: World, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The windows are measured once; each test has a copy."""
    site = make_site(
        tmp_path_factory.mktemp("missed") / "site",
        world,
        hours(healthy=3, drifted=3),
        url="sqlite:///redistill.db",
        rules=[{"name": "low-agreement", "metric": "agreement", "below": 0.95, "for_cycles": 3}],
        teacher={"min_accuracy": 0.5},
    )
    label_traffic(site)
    shutil.copyfile(sqlite_template, site.folder / "redistill.db")
    timeline = site.timeline
    run(fork, site, "cycle", "--backfill", timeline.start.isoformat(), timeline.drifts_at.isoformat())
    set_bound(site, LOOSE, TIGHT)
    run(fork, site, "cycle", "--backfill", timeline.drifts_at.isoformat(), timeline.end.isoformat())
    set_bound(site, TIGHT, LOOSE)
    return site


@pytest.fixture(scope="module")
def believed(made: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The database of a run that had the right bound from the start."""
    with rerun(made, tmp_path_factory.mktemp("believed") / "run") as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(made.slots, never_stopped)
        yield engine


@pytest.fixture
def missed(made: Site, tmp_path: Path) -> Iterator[Missed]:
    site = Site(folder=shutil.copytree(made.folder, tmp_path / "site"), timeline=made.timeline)
    engine = connect(f"sqlite:///{site.folder / 'redistill.db'}")
    found = Missed(site=site, engine=engine)
    assert [row["verdict_reason"] for row in found.drifted()] == ["teacher_unhealthy"] * 3
    assert stored(engine, jobs) == []
    yield found
    engine.dispose()


def set_bound(site: Site, old: str, new: str) -> None:
    content = site.config.read_text(encoding="utf-8")
    assert old in content
    site.config.write_text(content.replace(old, new), encoding="utf-8")


def label_traffic(site: Site) -> None:
    """Let the log carry true labels: the intent of each request's first keyword."""
    for path in site.traffic.glob("*.gz"):
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        path.write_bytes(gzip.compress("".join(f"{labelled(line)}\n" for line in lines).encode()))


def labelled(line: str) -> str:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return line
    intents = [_INTENTS[word] for word in row["text"].split() if word in _INTENTS]
    return json.dumps({**row, "label": intents[0]} if intents else row)


def test_windows_that_had_no_verdict_order_the_job(missed: Missed, believed: Engine) -> None:
    """All are left when they are judged once more."""
    said = run(fork, missed.site, *missed.rejudge)
    assert "3 of 6 windows were skipped: they have a verdict." in said
    assert_as_if_believed_from_the_start(missed, believed)
    before = stored(missed.engine, cycles)
    assert "6 of 6 windows were skipped: they have a verdict." in run(fork, missed.site, *missed.rejudge)
    assert stored(missed.engine, cycles) == before


def die_before_the_second_verdict() -> None:
    """Its sample is measured and archived."""
    conclude, calls = monitor.daemon.slot_runner.conclude, []  # type: ignore[attr-defined]

    def dying(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as `conclude`
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return conclude(*arguments, **named)

    monitor.daemon.slot_runner.conclude = dying  # type: ignore[assignment, attr-defined]


def die_in_the_transaction_of_the_second_verdict() -> None:
    """The earlier numbers are deleted, and the new ones written."""
    order_job, calls = triggers.conclude.order_job, []  # type: ignore[attr-defined]

    def dying(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - as `order_job`
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return order_job(*arguments, **named)

    triggers.conclude.order_job = dying  # type: ignore[assignment, attr-defined]


@pytest.mark.parametrize("die", [die_before_the_second_verdict, die_in_the_transaction_of_the_second_verdict])
def test_a_process_that_is_killed_leaves_whole_windows_and_the_next_one_ends_it(
    missed: Missed, believed: Engine, die: Callable[[], None]
) -> None:
    before = missed.drifted()
    assert fork(missed.site, *missed.rejudge, prepare=die).wait() == -signal.SIGKILL
    after = missed.drifted()
    assert [row["verdict"] for row in after] == ["breached", "inconclusive", "inconclusive"]
    assert after[1:] == before[1:]
    for row in after:
        assert files.read(str(missed.site.folder / row["archive"]), sha256=row["archive_sha256"]).requests
    assert len(list(missed.site.archive.glob("*.zst"))) == 7
    time.sleep(1.1)  # so long is the lease of a process that died
    run(fork, missed.site, *missed.rejudge)
    assert_as_if_believed_from_the_start(missed, believed)


def assert_as_if_believed_from_the_start(missed: Missed, believed: Engine) -> None:
    """The same numbers, verdicts and job as those of a run that had the right bound, and an incident less."""
    engine = missed.engine
    assert measured(engine) == measured(believed)
    for table, names in (
        (cycles, ("verdict", "verdict_reason", "teacher_version", "student_version", "n_scored")),
        (rule_outcomes, ("rule", "value", "streak", "fired", "reason")),
        (jobs, ("cycle_id", "rule", "reason", "alpha_from", "alpha_to", "status")),
    ):
        found, expected = (
            [[row[name] for name in names] for row in stored(each, table)] for each in (engine, believed)
        )
        assert found == expected
    assert [row["attempt"] for row in stored(engine, cycles)] == [1, 1, 1, 2, 2, 2]
    (job,) = stored(engine, jobs)
    assert job["cycle_id"] == missed.drifted()[-1]["id"]
    told = {row["kind"]: row["state"] for row in stored(engine, incidents) if row["state"] != "pending"}
    assert told == {"teacher-unhealthy": "resolved", "drift": "firing"}
    assert len(list(missed.site.archive.glob("*.zst"))) == 6
