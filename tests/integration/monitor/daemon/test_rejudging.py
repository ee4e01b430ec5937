"""A process judges windows again: what fails, stops or is held by another leaves them as they were."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from db.errors import RedistillError
from db.records import Archive, Claim, CycleResult
from db.tables import cycles
from monitor.archive import files
from monitor.daemon.slot_runner import MonitorBusyError, SlotRunner
from monitor.settings import MonitorSection
from monitor.stop import Stopped, StoppedError, never_stopped
from tests.support.processes.races import in_threads
from tests.support.records.conclusions import HEALTHY, TOO_FEW
from tests.support.records.cycles import MONITOR, Cycles, make_policy, release, stored, taken
from tests.support.records.factories import HOUR, START, make_slot
from tests.support.records.samples import make_sample
from tests.support.records.tables import everything

pytestmark = pytest.mark.usefixtures("logs")

SLOTS = [make_slot(index) for index in range(3)]
Meanwhile = Callable[[Claim], object]


class GoneError(RedistillError):
    """The window is gone."""


@pytest.fixture
def unjudged(engine: Engine, tmp_path: Path) -> Engine:
    """Three windows without a verdict, whose samples are archived."""
    run = Cycles(engine=engine, lease=taken(engine))
    for index in range(3):
        run.conclude(index, replace(TOO_FEW, archive=archived(tmp_path, index, seed=1)))
    release(engine, run.lease)
    return engine


def archived(folder: Path, index: int, *, seed: int, beside: bool = False) -> Archive:
    sample = make_sample(end=START + (index + 1) * HOUR, monitor=MONITOR, seed=seed)
    return files.write(folder, sample, beside=beside)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / MONITOR).iterdir())


def make_runner(engine: Engine, folder: Path, meanwhile: Meanwhile = lambda _claim: None) -> SlotRunner:
    """It measures every window as healthy, with another sample; what else happens is its test's."""

    def measure(claim: Claim, _stopped: Stopped) -> CycleResult:
        index = (claim.slot.window_end - START) // HOUR - 1
        written = archived(folder, index, seed=2, beside=claim.earlier is not None)
        meanwhile(claim)
        return replace(HEALTHY, archive=written)

    section = MonitorSection.model_validate(
        {"name": MONITOR, "every": "1h", "archive": folder, "catch_up": "720h"}
    )
    return SlotRunner(engine, section, measure, make_policy(alerts=()))


def test_each_window_is_judged_again_and_has_one_archive(unjudged: Engine, tmp_path: Path) -> None:
    runner = make_runner(unjudged, tmp_path)
    assert runner.rejudge(SLOTS, never_stopped) == 3
    assert runner.unchanged == {}
    rows = stored(unjudged, cycles)
    assert [(row["verdict"], row["attempt"]) for row in rows] == [("healthy", 2)] * 3
    assert names(tmp_path) == sorted(Path(row["archive"]).name for row in rows)
    assert all(files.read(row["archive"], sha256=row["archive_sha256"]).requests for row in rows)
    assert runner.rejudge(SLOTS, never_stopped) == 0


def test_a_window_that_fails_stays_as_it_was_and_the_others_are_judged(
    unjudged: Engine, tmp_path: Path
) -> None:
    def fail(claim: Claim) -> None:
        if claim.slot == SLOTS[1]:
            raise GoneError

    before = stored(unjudged, cycles)
    runner = make_runner(unjudged, tmp_path, fail)
    assert runner.rejudge(SLOTS, never_stopped) == 3
    assert runner.unchanged == {SLOTS[1].window_end: "The window is gone."}
    rows = stored(unjudged, cycles)
    assert rows[1] == before[1]
    assert [row["verdict"] for row in rows] == ["healthy", "inconclusive", "healthy"]
    assert names(tmp_path)[1] == "20261124T120000Z.jsonl.zst"
    assert len(names(tmp_path)) == 3
    assert files.read(rows[1]["archive"], sha256=rows[1]["archive_sha256"]).requests


def test_a_process_that_is_asked_to_stop_leaves_the_window_as_it_was(
    unjudged: Engine, tmp_path: Path
) -> None:
    def stop(_claim: Claim) -> None:
        raise StoppedError

    before = everything(unjudged)
    there = names(tmp_path)
    make_runner(unjudged, tmp_path, stop).rejudge(SLOTS, never_stopped)
    found = everything(unjudged)
    assert {name: rows for name, rows in found.items() if name != "leases"} == {
        name: rows for name, rows in before.items() if name != "leases"
    }
    assert names(tmp_path) == there


def test_the_archive_of_a_killed_attempt_goes_with_the_next(unjudged: Engine, tmp_path: Path) -> None:
    """It lies beside the earlier one, which can be read all the time."""
    left = archived(tmp_path, 0, seed=3, beside=True)
    (row, *_) = stored(unjudged, cycles)
    assert files.read(row["archive"], sha256=row["archive_sha256"]).requests
    make_runner(unjudged, tmp_path).rejudge(SLOTS[:1], never_stopped)
    assert not Path(left.uri).exists()
    assert len(names(tmp_path)) == 3


def test_archives_of_windows_that_were_judged_again_expire_as_all(unjudged: Engine, tmp_path: Path) -> None:
    make_runner(unjudged, tmp_path).rejudge(SLOTS, never_stopped)
    gone = files.expire(tmp_path, MONITOR, before=SLOTS[2].window_end)
    assert len(gone) == 2
    assert names(tmp_path) == [Path(stored(unjudged, cycles)[2]["archive"]).name]


def test_the_daemon_has_nothing_to_do_with_it(unjudged: Engine, tmp_path: Path) -> None:
    """A window without a verdict is an end for it, also where a process died that judged it again."""
    before = stored(unjudged, cycles)
    make_runner(unjudged, tmp_path).run(SLOTS, never_stopped)
    assert stored(unjudged, cycles) == before


def test_of_two_processes_one_judges_and_the_other_is_told(unjudged: Engine, tmp_path: Path) -> None:
    def attempt(_number: int) -> int | str:
        try:
            return make_runner(unjudged, tmp_path).rejudge(SLOTS, never_stopped)
        except MonitorBusyError:
            return "busy"

    found = in_threads(3, attempt)
    assert sum(each for each in found if isinstance(each, int)) == 3
    assert [(row["verdict"], row["attempt"]) for row in stored(unjudged, cycles)] == [("healthy", 2)] * 3
    lease = taken(unjudged)
    with pytest.raises(MonitorBusyError):
        make_runner(unjudged, tmp_path).rejudge(SLOTS, never_stopped)
    release(unjudged, lease)
