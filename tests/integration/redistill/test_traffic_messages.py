"""What `doctor` and `init` say of a log from which nothing can be used: the fact, the place and the fix."""

import json
import os
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db.states import RejectReason
from redistill.checks.data import NewestSample, traffic
from redistill.checks.result import CheckResult
from redistill.configuration.settings import load
from redistill.configuration.traffic_profile import profile_traffic
from redistill.display.words.reject_words import ADVICE
from tests.support.servers.buckets import empty_bucket

NOW = datetime(2026, 11, 24, 11, 30, tzinfo=UTC)
TEN = datetime(2026, 11, 24, 10, 5, tzinfo=UTC)
ROWS: list[dict[str, object]] = [
    {"id": f"r-{number}", "time": TEN.isoformat(), "text": "where is it?"} for number in range(20)
]


def checked(folder: Path, section: str) -> list[CheckResult]:
    path = folder / "redistill.toml"
    path.write_text(
        f"[traffic]\n{section}\n[teacher]\nuri = 't'\n[student]\nuri = 's'\n[redistill]\ntrain = 'a'\n"
        "test = 'b'\n[monitor]\nmin_samples = 5\n"
    )
    return list(traffic(load(path), (), NOW, NewestSample()))


def json_array(folder: Path) -> str:
    (folder / "log").write_text(json.dumps(ROWS))
    return 'uri = "log"'


def json_array_over_lines(folder: Path) -> str:
    (folder / "log").write_text(json.dumps(ROWS, indent=1))
    return 'uri = "log"'


def milliseconds(folder: Path) -> str:
    rows = [{**row, "time": int(TEN.timestamp() * 1000)} for row in ROWS]
    (folder / "log").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return 'uri = "log"'


def milliseconds_in_a_table(folder: Path) -> str:
    database = sqlite3.connect(folder / "log.db")
    database.execute("CREATE TABLE requests (id, time INTEGER, text)")
    database.executemany(
        "INSERT INTO requests VALUES (?, ?, ?)",
        [(row["id"], int(TEN.timestamp() * 1000), row["text"]) for row in ROWS],
    )
    database.commit()
    database.close()
    return 'kind = "sql"\nuri = "sqlite:///log.db"\ntable = "requests"'


CASES = {
    json_array: ("not_json", "`jq -c '.[]'` turns a JSON array into such lines"),
    json_array_over_lines: ("not_json", "`jq -c '.[]'` turns a JSON array into such lines"),
    milliseconds: ("bad_time", "or in epoch seconds: milliseconds divided by 1,000"),
    milliseconds_in_a_table: ("bad_time", "or in epoch seconds: milliseconds divided by 1,000"),
}


@pytest.mark.parametrize(("make", "expected"), CASES.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_a_log_that_cannot_be_used_has_a_reason_and_a_fix(
    make: Callable[[Path], str], expected: tuple[str, str], tmp_path: Path
) -> None:
    (found,) = checked(tmp_path, make(tmp_path))
    reason, fix = expected
    assert not found.ok
    assert reason in found.found
    assert found.fix is not None
    assert fix in found.fix


def test_init_says_the_fix_too(tmp_path: Path) -> None:
    json_array(tmp_path)
    problem = profile_traffic(tmp_path / "log", ()).survey.problem
    assert problem is not None
    assert "jq" in ADVICE[problem.reason]


def test_repeated_ids_are_counted_and_named(tmp_path: Path) -> None:
    rows = [{**row, "id": f"u-{number % 6}"} for number, row in enumerate(ROWS)]
    (tmp_path / "log").write_text("".join(json.dumps(row) + "\n" for row in rows))
    warned, found = checked(tmp_path, 'uri = "log"')
    assert warned.found == "20 records have only 6 ids, and each id counts once"
    assert warned.fix == "set 'id' in [traffic] to a field that is different in each record, instead of 'id'"
    assert "6 requests, 0 unusable records, 14 repeated ids" in found.found


def test_a_request_that_is_logged_twice_is_no_reason_for_a_warning(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(json.dumps(row) + "\n" for row in (*ROWS, *ROWS[:3])))
    (found,) = checked(tmp_path, 'uri = "log"')
    assert found.ok
    assert "20 requests, 0 unusable records, 3 repeated ids" in found.found


@pytest.mark.parametrize("n_others", [0, 3])
def test_files_without_a_usable_time_that_were_copied_later_are_named(tmp_path: Path, n_others: int) -> None:
    (tmp_path / "logs").mkdir()
    other = {"id": "old", "time": "2026-11-20T10:00:00Z", "text": "of another day"}
    rows = [other, *ROWS[:n_others]]
    (tmp_path / "logs" / "good").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "logs" / "broken").write_text("no record\n" * 5)
    later = NOW.timestamp()
    os.utime(tmp_path / "logs" / "broken", (later, later))
    (found,) = checked(tmp_path, 'uri = "logs"')
    assert not found.ok
    assert "1 object without a usable time, modified after the window, for example broken" in found.found
    assert found.fix == ADVICE[RejectReason.UNDATED_OBJECT]


def test_keys_that_begin_with_a_slash_are_found_once_they_are_named(tmp_path: Path, s3_url: str) -> None:
    with empty_bucket(s3_url) as bucket:
        bucket.put("/2026/11/24/10/part-0", "".join(json.dumps(row) + "\n" for row in ROWS).encode())
        (found,) = checked(tmp_path, f'kind = "s3"\nuri = "s3://{bucket.name}"')
        assert f"its first hour is read from s3://{bucket.name}/2026/11/24/10/" in found.found
        assert found.fix is not None
        assert "two slashes after the bucket" in found.fix
        (found,) = checked(tmp_path, f'kind = "s3"\nuri = "s3://{bucket.name}//"')
        assert found.ok
        assert "20 requests" in found.found


def test_every_reason_has_a_fix() -> None:
    assert ADVICE.keys() == set(RejectReason)
