"""A disk that is full or read-only, under each of the parts: one line says so, nothing is half written, and
all is well when there is room again.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import Table

from db.connection.session import connect
from db.tables import cycles, jobs
from monitor import distinct
from redistill.process import logs
from tests.support.processes.disks import Disk, mounts, small_disk
from tests.support.records.cycles import stored
from tests.support.world.project import LOGGED, run, said, start

pytestmark = mounts
AT = f"{LOGGED:%Y-%m-%dT%H:%M:%SZ}"
NEXT = f"{LOGGED:%Y-%m-%d}T11:00:00Z"

Trouble = Callable[[Disk], AbstractContextManager[None]]
troubles = pytest.mark.parametrize("trouble", [Disk.full, Disk.read_only], ids=["full", "read-only"])


@pytest.fixture
def disk(empty: Path) -> Iterator[Disk]:
    with small_disk(empty / "disk", kib=4 * 1024) as found:
        yield found


def files(folder: Path) -> set[str]:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    return found - {".filler"}


# --- the database ----------------------------------------------------------------------------------------


@pytest.fixture
def on_disk(project: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project, whose database is to lie on the small disk."""
    monkeypatch.setenv("REDISTILL__DATABASE__URL", f"sqlite:///{disk.folder}/redistill.db")
    return project


@pytest.mark.usefixtures("on_disk")
@troubles
def test_a_database_that_cannot_be_made_is_told_and_made_later(disk: Disk, trouble: Trouble) -> None:
    with trouble(disk):
        failed = run("db", "upgrade")
        assert failed.exit_code == 1
        assert said(failed).startswith(f"The database sqlite:///{disk.folder}/redistill.db can")
    assert run("db", "upgrade").exit_code == 0
    assert run("cycle", "--at", AT).exit_code == 0


@pytest.mark.usefixtures("on_disk")
@troubles
def test_a_command_that_cannot_write_says_so_and_leaves_nothing(
    disk: Disk, trouble: Trouble, sqlite_template: Path
) -> None:
    """A cycle, an order, a promotion: none of it is there afterwards."""
    shutil.copyfile(sqlite_template, disk.folder / "redistill.db")
    assert run("cycle", "--at", AT).exit_code == 0
    models = json.loads(run("models", "list", "--json").stdout)
    (student,) = [row["version"] for row in models if row["role"] == "student"]
    before = run("history", "--json").stdout, run("jobs", "list", "--json").stdout
    with trouble(disk):
        for command in (
            ("cycle", "--at", NEXT),
            ("jobs", "enqueue", "--reason", "x" * 100_000),
            ("models", "promote", student),
        ):
            failed = run(*command)
            assert failed.exit_code == 1, command
            assert said(failed).startswith("The database sqlite:///"), command
    assert (run("history", "--json").stdout, run("jobs", "list", "--json").stdout) == before
    assert run("cycle", "--at", NEXT).exit_code == 0
    assert len(json.loads(run("history", "--json").stdout)) == 2


@pytest.mark.usefixtures("on_disk")
def test_a_database_on_a_disk_that_is_read_only_is_told(disk: Disk, sqlite_template: Path) -> None:
    """SQLite cannot read it either: beside a file with a write-ahead log its readers write, too."""
    shutil.copyfile(sqlite_template, disk.folder / "redistill.db")
    with disk.read_only():
        failed = run("history")
        assert failed.exit_code == 1
        assert "its folder exists and is writable" in said(failed)
    assert run("history").exit_code == 0


# --- the archive -----------------------------------------------------------------------------------------


@troubles
def test_a_cycle_whose_sample_cannot_be_kept_fails_and_is_run_again(
    migrated: Path, disk: Disk, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A verdict without its sample could not be recomputed."""
    monkeypatch.setenv("REDISTILL__MONITOR__ARCHIVE", str(disk.folder / "archive"))
    assert run("cycle", "--at", AT).exit_code == 0
    kept = files(disk.folder)
    assert len(kept) == 2  # with the id of their owner
    with trouble(disk):
        failed = run("cycle", "--at", NEXT)
        assert failed.exit_code == 1
        line = failed.stderr.splitlines()[-1]
        assert f"The archive {disk.folder}/archive/mangaassist/" in line
        assert "Free space, fix the permissions" in line
        assert files(disk.folder) == kept
    assert run("cycle", "--at", NEXT).exit_code == 0
    assert len(files(disk.folder)) == 3
    rows = stored_in(migrated, cycles)
    assert [(row["status"], row["attempt"]) for row in rows] == [("evaluated", 1), ("evaluated", 2)]


def stored_in(project: Path, table: Table) -> list[dict[str, Any]]:
    engine = connect(f"sqlite:///{project / 'redistill.db'}")
    found = stored(engine, table)
    engine.dispose()
    return found


def test_a_disk_that_is_full_of_temporary_files_is_told(
    migrated: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distinct, "_HELD", 10)  # a window of this size goes to the disk
    monkeypatch.setattr(tempfile, "tempdir", str(disk.folder))
    with disk.full():
        failed = run("cycle", "--at", AT)
        assert failed.exit_code == 1
        assert f"No temporary file can be written to {disk.folder}: " in failed.stderr.splitlines()[-1]
    assert run("cycle", "--at", AT).exit_code == 0
    assert migrated.is_dir()
    assert files(disk.folder) == set()


# --- the registry ----------------------------------------------------------------------------------------


@troubles
def test_a_job_whose_candidate_cannot_be_saved_fails_and_can_be_retried(
    migrated: Path, disk: Disk, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoints cannot be written either, which is no more than told; nor can the link."""
    registry = disk.folder / "registry"
    monkeypatch.setenv("REDISTILL__REDISTILL__REGISTRY", str(registry))
    monkeypatch.setenv("REDISTILL__REDISTILL__CHECKPOINT_EVERY", "0s")
    monkeypatch.setenv("REDISTILL__REDISTILL__EPOCHS", "1")
    assert run("cycle", "--at", AT).exit_code == 0
    assert run("jobs", "enqueue", "--reason", "a test").exit_code == 0
    with trouble(disk):
        worked = run("worker", "--once")
        assert worked.exit_code == 0, worked.output
        told = [json.loads(line) for line in worked.stderr.splitlines()]
        if trouble is Disk.read_only:
            assert [each["event"] for each in told].count("current not set") == 1
        assert "checkpoint not written" in [each["event"] for each in told]
        assert not [each for each in told if "exception" in each]
        (job,) = stored_in(migrated, jobs)
        assert (job["status"], job["attempt"]) == ("failed", 1)
        assert job["error"].startswith(f"The registry {registry} cannot be written: ")
        assert files(disk.folder) == set()
    assert run("jobs", "retry", "1").exit_code == 0
    worked = run("worker", "--once")
    assert worked.exit_code == 0, worked.output
    (job,) = stored_in(migrated, jobs)
    assert job["status"] in {"succeeded", "rejected"}
    assert (registry / "versions" / job["candidate_version"]).is_dir()
    assert (registry / "current").exists()


# --- what is printed -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize("command", [("history",), ("status", "--json")], ids=" ".join)
def test_an_output_that_cannot_be_written_is_told_in_one_line(
    migrated: Path, command: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full, start(*command, folder=migrated, stdout=full) as process:
        _, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert error == (
        "redistill: the output cannot be written (No space left on device): free space or fix the mount\n"
    )


def test_a_log_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - closed below, which fails
    logs.configure()
    monkeypatch.setattr(sys, "stderr", full)
    structlog.get_logger().warning("not kept")
    structlog.get_logger().warning("x" * 100_000)
    monkeypatch.undo()
    with suppress(OSError):
        full.close()
