"""The same requests from a folder, a bucket and a table: the same numbers, and what came too late."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from sqlalchemy import Engine

from db.connection.session import connect
from db.tables import cycles
from monitor.sources.fields import read_rows
from monitor.stop import never_stopped
from monitor.storage import s3
from redistill import assembly
from redistill.configuration.settings import load
from redistill.display.progress import show_nothing
from tests.support.records.cycles import stored
from tests.support.servers.buckets import TestBucket, empty_bucket
from tests.support.servers.s3_faults import Fault, faulty, refused, silent
from tests.support.world.project import LOGGED, run

AT = f"{LOGGED:%Y-%m-%dT%H:%M:%SZ}"
NEXT = f"{LOGGED:%Y-%m-%dT}11:00:00Z"

NUMBERS = ("n_seen", "n_sampled", "agreement", "agreement_low", "kl", "kl_high", "js")


def configure(project: Path, traffic: str) -> None:
    path = project / "redistill.toml"
    text = path.read_text()
    begin = text.index("[traffic]")
    path.write_text(text[:begin] + f"[traffic]\n{traffic}\n" + text[text.index("[teacher]") :])


def numbers(*arguments: str) -> dict[str, Any]:
    result = run("cycle", "--json", *arguments)
    assert result.exit_code == 0, result.output
    (cycle,) = json.loads(result.stdout)
    return {name: cycle[name] for name in NUMBERS}


def new_database(project: Path) -> None:
    """Begin anew, also with the archive, which is that of the old database."""
    (project / "redistill.db").unlink()
    shutil.rmtree(project / "archive")
    assert run("db", "upgrade").exit_code == 0


def bucket_of(project: Path, bucket: TestBucket) -> None:
    """The folder's objects, and a configuration of them."""
    for path in (project / "logs").rglob("*.gz"):
        hour = path.relative_to(project / "logs").as_posix().partition(".")[0]
        bucket.put(f"intents/{hour}/part-0.gz", path.read_bytes())
    names = 'id = "request_id"\ntime = "timestamp"\ntext = "utterance"'
    configure(project, f'kind = "s3"\nuri = "s3://{bucket.name}/intents"\n{names}')


def test_a_cycle_on_a_bucket_gives_the_numbers_of_the_folder(migrated: Path, s3_url: str) -> None:
    from_folder = numbers("--at", AT)
    new_database(migrated)
    with empty_bucket(s3_url) as bucket:
        bucket_of(migrated, bucket)
        assert numbers("--at", AT) == from_folder


def test_what_came_too_late_is_told_in_the_next_cycle(migrated: Path, s3_url: str) -> None:
    with empty_bucket(s3_url) as bucket:
        bucket_of(migrated, bucket)
        numbers("--at", AT)
        bucket.put(f"intents/{LOGGED:%Y/%m/%d/%H}/part-1", b"")
        numbers("--at", NEXT)
    database = sqlite3.connect(migrated / "redistill.db")
    late = "SELECT n, example_object FROM reject_history WHERE reason = 'late_object'"
    assert database.execute(late).fetchall() == [(1, f"intents/{LOGGED:%Y/%m/%d/%H}/part-1")]
    kept = database.execute("SELECT cycle_id, COUNT(*) FROM objects GROUP BY cycle_id").fetchall()
    assert kept == [(1, 2), (2, 2)]
    database.close()


def test_a_broken_file_that_was_copied_later_is_named_by_status_and_in_sql(migrated: Path) -> None:
    (migrated / "logs" / "copied").write_text("no record\n")
    numbers("--at", AT)
    assert "1 object without a usable time, modified after the window" in run("status").stdout
    database = sqlite3.connect(migrated / "redistill.db")
    undated = "SELECT n, example_object FROM reject_history WHERE reason = 'undated_object'"
    assert database.execute(undated).fetchall() == [(1, "copied")]
    assert database.execute("SELECT n_rejected FROM cycle_history").fetchone() == (0,)
    database.close()


def test_a_bucket_that_cannot_be_read_fails_the_cycle_which_can_be_run_again(
    migrated: Path, s3_url: str
) -> None:
    with empty_bucket(s3_url) as bucket:
        bucket_of(migrated, bucket)
        configured = (migrated / "redistill.toml").read_text()
        (migrated / "redistill.toml").write_text(configured.replace(bucket.name, "nowhere-at-all"))
        failed = run("cycle", "--at", AT)
        assert failed.exit_code == 1
        assert "NoSuchBucket" in failed.output
        (migrated / "redistill.toml").write_text(configured)
        assert numbers("--at", AT)["n_seen"] == 100


def archive_in(project: Path, bucket: TestBucket) -> None:
    """The log stays in its folder."""
    path = project / "redistill.toml"
    name = '[monitor]\nname = "mangaassist"\n'
    assert name in path.read_text()
    path.write_text(path.read_text().replace(name, f'{name}archive = "s3://{bucket.name}/samples"\n'))


@pytest.mark.parametrize("lies_in_s3", [bucket_of, archive_in])
@pytest.mark.parametrize("fault", [refused(503, "SlowDown"), silent])
def test_a_slot_that_s3_fails_is_tried_again_by_itself(
    migrated: Path,
    s3_url: str,
    lies_in_s3: Callable[[Path, TestBucket], None],
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reason stands in its row; a minute later it is measured, and nothing of the failure is left."""
    retries = {"mode": "standard", "total_max_attempts": 2}
    monkeypatch.setattr(s3, "_CONFIG", s3._CONFIG.merge(Config(retries=retries, read_timeout=0.5)))
    monkeypatch.setattr("monitor.daemon.slot_runner.utc_now", lambda: LOGGED + timedelta(hours=1, minutes=15))
    with empty_bucket(s3_url) as bucket, faulty(s3_url) as proxy, engine_of(migrated) as engine:
        lies_in_s3(migrated, bucket)
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        runner = assembly.slot_runner(load(migrated / "redistill.toml"), engine, show_nothing)
        proxy.faults.extend([fault] * 30)
        assert runner.run_due(never_stopped) == 1
        (failed,) = stored(engine, cycles)
        assert (failed["status"], failed["attempt"]) == ("failed", 1)
        assert failed["error"].startswith(
            f"The {'request log at' if lies_in_s3 is bucket_of else 'archive'} s3:"
        )
        proxy.faults.clear()
        assert runner.run_due(never_stopped) == 0
        monkeypatch.setattr(
            "monitor.daemon.slot_runner.utc_now", lambda: LOGGED + timedelta(hours=1, minutes=16, seconds=1)
        )
        assert runner.run_due(never_stopped) == 1
        (row,) = stored(engine, cycles)
        assert (row["status"], row["attempt"], row["n_seen"], row["error"]) == ("evaluated", 2, 100, None)


@contextmanager
def engine_of(project: Path) -> Iterator[Engine]:
    engine = connect(f"sqlite:///{project / 'redistill.db'}")
    yield engine
    engine.dispose()


def test_a_cycle_on_a_table_gives_the_numbers_of_the_folder(migrated: Path) -> None:
    from_folder = numbers("--at", AT)
    new_database(migrated)
    with sqlite3.connect(migrated / "requests.db") as database:
        database.execute("CREATE TABLE requests (id TEXT, time DATETIME, text TEXT)")
        database.executemany(
            "INSERT INTO requests VALUES (?, ?, ?)",
            [(row["request_id"], row["timestamp"], row["utterance"]) for row in read_rows(migrated / "logs")],
        )
    database.close()
    configure(migrated, f'kind = "sql"\nuri = "sqlite:///{migrated}/requests.db"\ntable = "requests"')
    assert numbers("--at", AT) == from_folder


def test_doctor_says_what_is_wrong_with_a_bucket_or_a_table(migrated: Path, s3_url: str) -> None:
    with empty_bucket(s3_url) as bucket:
        bucket_of(migrated, bucket)
        assert "no requests" in traffic_line()
        configure(migrated, 'kind = "s3"\nuri = "s3://nowhere-at-all"')
        assert "NoSuchBucket" in traffic_line()
    configure(migrated, 'kind = "sql"\nuri = "sqlite:///requests.db"\ntable = "requests"')
    assert "there is no such table" in traffic_line()


def traffic_line() -> str:
    (line,) = (line for line in run("doctor").stdout.splitlines() if line.startswith("traffic"))
    return line
