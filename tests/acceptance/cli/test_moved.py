"""An installation that was moved to another folder, or restored in one, goes on there."""

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.world.project import LOGGED, findings, run, write_config

HOUR = timedelta(hours=1)


def measured(hour: int) -> dict[str, object]:
    result = run("cycle", "--at", (LOGGED + hour * HOUR).isoformat(), "--json")
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)
    assert isinstance(row, dict)
    return row


@pytest.mark.parametrize("by", ["rename", "copy"])
def test_an_installation_in_another_folder_goes_on(
    by: str,
    migrated: Path,
    models: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Models, link, archive and database are where the configuration is; nothing has to be corrected."""
    shutil.copytree(models, migrated / "models")
    write_config(migrated, Path("models"))
    first = measured(0)
    version = str(first["student_version"])
    assert run("models", "promote", version).exit_code == 0
    place = tmp_path_factory.mktemp("moved") / "there"
    (migrated.rename if by == "rename" else lambda to: shutil.copytree(migrated, to, symlinks=True))(place)
    if by == "copy":
        shutil.rmtree(migrated / "models")
    monkeypatch.chdir(place)
    assert (place / "registry/current").resolve() == place / "models/student"
    found = findings()
    assert (found["in service"]["level"], found["current"]["level"]) == ("ok", "ok")
    assert found["in service"]["found"].endswith(f"in {place}/models/student")
    assert run("models", "promote", version).exit_code == 1  # it serves already, and its link is correct
    assert measured(1)["student_version"] == version
    assert run("jobs", "enqueue", "--reason", "moved").exit_code == 0
    assert run("worker", "--once").exit_code == 0
    job = json.loads(run("jobs", "show", "1", "--json").stdout)
    assert job["status"] in {"succeeded", "rejected"}, job["error"]
    assert str(migrated) not in run("archive", "erase", "10-1").stdout


def test_archives_in_another_folder_are_found_where_the_configuration_says(
    migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An erasure that looked at the old place alone would say that nobody has the request."""
    monkeypatch.setenv("REDISTILL__MONITOR__ARCHIVE_DAYS", "3650")
    measured(0)
    monkeypatch.setenv("REDISTILL__MONITOR__ARCHIVE", "samples")
    shutil.copytree(migrated / "archive", migrated / "samples")
    shutil.rmtree(migrated / "archive")
    assert "Erased: 1 request from 1 archive." in run("archive", "erase", "10-7").stdout
    assert run("jobs", "enqueue", "--reason", "moved").exit_code == 0
    assert run("worker", "--once").exit_code == 0
    job = json.loads(run("jobs", "show", "1", "--json").stdout)
    assert job["status"] in {"succeeded", "rejected"}, job["error"]
    assert job["payload"]["archive"] == f"samples/mangaassist/{LOGGED + HOUR:%Y%m%dT%H%M%SZ}.jsonl.zst"
    (migrated / "labels.csv").write_text("id,label\n10-8,escalation\n")
    assert run("labels", "import", "labels.csv").exit_code == 0


def test_staging_does_not_touch_the_archive_of_production(
    migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One configuration, two databases: the cycle, `doctor` and the erasure say so, and the files stay."""
    measured(0)
    kept = {path: path.read_bytes() for path in (migrated / "archive").rglob("*.*")}
    monkeypatch.setenv("REDISTILL__DATABASE__URL", "sqlite:///staging.db")
    assert run("db", "upgrade").exit_code == 0
    for refused in (run("cycle", "--at", LOGGED.isoformat()), run("archive", "erase", "10-7")):
        assert refused.exit_code == 1
        assert "are those of another database" in refused.stderr.splitlines()[-1]
    found = findings()["archive owner"]
    assert (found["level"], "set another 'archive'" in found["found"]) == ("problem", True)
    assert {path: path.read_bytes() for path in (migrated / "archive").rglob("*.*")} == kept
    monkeypatch.delenv("REDISTILL__DATABASE__URL")
    assert findings()["archive owner"]["level"] == "ok"
    assert measured(1)["n_scored"] == 100


def test_an_archive_that_is_in_both_folders_stays_where_it_was_recorded(
    migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured(0)
    shutil.copytree(migrated / "archive", migrated / "samples")
    monkeypatch.setenv("REDISTILL__MONITOR__ARCHIVE", "samples")
    assert "Erased: 1 request from 1 archive." in run("archive", "erase", "10-7").stdout
    assert measured(1)["status"] == "evaluated"
    with closing(sqlite3.connect(migrated / "redistill.db")) as connection:
        found = [
            row[0].partition("/")[0] for row in connection.execute("SELECT archive FROM cycles ORDER BY id")
        ]
    assert found == ["archive", "samples"]
