"""`redistill monitors`: what it lists, what it says about a new name, and what a person has to change."""

import json
import shutil
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from db.connection.clock import Clock
from db.connection.session import connect, writing
from db.tables import leases
from tests.support.world.project import LOGGED, findings, inside, run, said, write_log

HOUR = timedelta(hours=1)


def measure(window_start: str) -> None:
    result = run("cycle", "--at", window_start)
    assert result.exit_code == 0, result.stderr


def let_time_pass(folder: Path) -> None:
    """As if the last process had stopped a minute ago."""
    engine = connect(f"sqlite:///{folder / 'redistill.db'}")
    with writing(engine) as connection:
        connection.execute(update(leases).values(expires_at=Clock(-60)))
    engine.dispose()


def test_a_monitor_is_renamed_and_goes_on(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its history is kept, no window is measured again, and its older archives expire with the newer ones."""
    monkeypatch.setenv("REDISTILL__MONITOR__ARCHIVE_DAYS", "1")
    measure(LOGGED.isoformat())
    let_time_pass(migrated)
    result = run("monitors", "rename", "mangaassist", "shop")
    assert (result.exit_code, result.stderr) == (0, "")
    assert " ".join(result.stdout.split()) == (
        'The monitor mangaassist is now called shop. Set name = "shop" in [monitor] of every configuration '
        "that names mangaassist; processes with the old name refuse to start. Archives stay where they are, "
        "and expire as before."
    )
    monkeypatch.setenv("REDISTILL__MONITOR__NAME", "shop")
    measure(LOGGED.isoformat())
    (row,) = json.loads(run("history", "--json").stdout)
    assert (row["monitor"], row["cycle_id"]) == ("shop", 1)
    assert [path.parent.name for path in (migrated / "archive").rglob("*.zst")] == ["mangaassist"]
    later = LOGGED + timedelta(days=3)
    write_log(migrated, first=later, hours=1)
    measure(later.isoformat())
    assert [path.parent.name for path in (migrated / "archive").rglob("*.zst")] == ["shop"]
    (listed,) = json.loads(run("monitors", "list", "--json").stdout)
    assert {**listed, "last_window_end": None} == {
        "monitor": "shop",
        "n_cycles": 2,
        "last_window_end": None,
        "n_jobs": 0,
        "earlier_names": ["mangaassist"],
    }


@pytest.fixture(scope="module")
def renamed_once(common: Path) -> Path:
    with inside(common):
        measure(LOGGED.isoformat())
        let_time_pass(common)
        assert run("monitors", "rename", "mangaassist", "shop").exit_code == 0
    return common


@pytest.fixture
def renamed(empty: Path, renamed_once: Path) -> Path:
    """A project whose configuration has the name that its monitor had."""
    return shutil.copytree(renamed_once, empty, dirs_exist_ok=True)


@pytest.mark.usefixtures("renamed")
@pytest.mark.parametrize(
    "command",
    [
        ("monitor",),
        ("worker",),
        ("worker", "--once"),
        ("cycle",),
        ("status",),
        ("jobs", "enqueue", "--reason", "x"),
        ("archive", "erase", "r-1"),
        ("monitors", "rename", "mangaassist", "other"),
    ],
    ids=" ".join,
)
def test_under_the_old_name_every_command_says_what_to_change(command: tuple[str, ...]) -> None:
    result = run(*command)
    assert result.exit_code == 1
    message = said(result) if len(result.stderr.splitlines()) == 1 else result.stderr
    assert "The monitor 'mangaassist' was renamed to 'shop' on" in message
    assert 'set name = "shop" in [monitor] of its configuration.' in message


@pytest.mark.usefixtures("renamed")
def test_doctor_names_the_new_name() -> None:
    finding = findings()["database"]
    assert finding["level"] == "problem"
    assert "was renamed to 'shop'" in finding["found"]


def test_doctor_says_that_a_name_is_new_in_the_database(
    migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody changed the name in the configuration alone: the monitor would begin a new history."""
    assert "monitor" not in findings()
    measure(LOGGED.isoformat())
    assert "monitor" not in findings()
    monkeypatch.setenv("REDISTILL__MONITOR__NAME", "shop")
    finding = findings()["monitor"]
    assert (finding["level"], finding["found"]) == (
        "warning",
        "'shop' is not in the database, which has mangaassist (1 cycle)",
    )
    let_time_pass(migrated)
    assert "`redistill monitors rename OLD shop` before its first cycle" in finding["fix"]
    assert run("monitors", "rename", "mangaassist", "shop").exit_code == 0
    assert "monitor" not in findings()


@pytest.mark.usefixtures("migrated")
def test_a_rename_that_changes_nothing_is_refused_at_once() -> None:
    measure(LOGGED.isoformat())
    began = time.monotonic()
    result = run("monitors", "rename", "mangaassist", "mangaassist")
    assert (result.exit_code, time.monotonic() - began < 5) == (1, True)
    assert "The monitor 'mangaassist' already has this name: choose another one." in said(result)


def test_a_daemon_that_ran_a_moment_ago_is_waited_for(migrated: Path) -> None:
    """A tick of a daemon that still runs would have come by then."""
    measure(LOGGED.isoformat())
    engine = connect(f"sqlite:///{migrated / 'redistill.db'}")
    with writing(engine) as connection:
        connection.execute(update(leases).values(expires_at=Clock(-14)))
    engine.dispose()
    result = run("monitors", "rename", "mangaassist", "shop")
    assert result.exit_code == 0
    assert "A daemon of mangaassist was running until a moment ago: waiting 1 s." in result.stdout


@pytest.mark.parametrize("name", ["", "a b", "../up", "-x"])
def test_a_name_that_is_none_is_refused(migrated: Path, name: str) -> None:
    assert migrated.is_dir()
    result = run("monitors", "rename", "mangaassist", "--", name)
    assert result.exit_code == 2
    assert f"{name!r} is not a name of a monitor: use at most 200 letters" in said(result)


@pytest.mark.usefixtures("migrated")
def test_without_cycles_there_is_no_monitor() -> None:
    assert run("monitors", "list").stdout == "No monitors yet. The first cycle records the configured one.\n"
    result = run("monitors", "rename", "mangaassist", "shop")
    assert (result.exit_code, said(result)) == (
        1,
        "There is no monitor 'mangaassist' in the database: choose one from `redistill monitors list`.",
    )
