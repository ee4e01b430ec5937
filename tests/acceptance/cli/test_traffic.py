"""The same requests from a folder, a bucket and a table: the same numbers, and what came too late."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from monitor.sources.fields import read_rows
from tests.buckets import TestBucket, empty_bucket
from tests.project import LOGGED, run

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


def bucket_of(project: Path, bucket: TestBucket) -> None:
    """The folder's objects, and a configuration of them."""
    for path in (project / "logs").rglob("*.gz"):
        hour = path.relative_to(project / "logs").as_posix().partition(".")[0]
        bucket.put(f"intents/{hour}/part-0.gz", path.read_bytes())
    names = 'id = "request_id"\ntime = "timestamp"\ntext = "utterance"'
    configure(project, f'kind = "s3"\nuri = "s3://{bucket.name}/intents"\n{names}')


def test_a_cycle_on_a_bucket_gives_the_numbers_of_the_folder(migrated: Path, s3_url: str) -> None:
    from_folder = numbers("--at", AT)
    (migrated / "redistill.db").unlink()
    assert run("db", "upgrade").exit_code == 0
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


def test_a_cycle_on_a_table_gives_the_numbers_of_the_folder(migrated: Path) -> None:
    from_folder = numbers("--at", AT)
    (migrated / "redistill.db").unlink()
    assert run("db", "upgrade").exit_code == 0
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
        assert "none" in traffic_line()
        configure(migrated, 'kind = "s3"\nuri = "s3://nowhere-at-all"')
        assert "NoSuchBucket" in traffic_line()
    configure(migrated, 'kind = "sql"\nuri = "sqlite:///requests.db"\ntable = "requests"')
    assert "there is no such table" in traffic_line()


def traffic_line() -> str:
    (line,) = (line for line in run("doctor").stdout.splitlines() if line.startswith("traffic"))
    return line
