"""What a user has said of himself stays in the request log."""

import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.storage.zstandard import zstd
from tests.support.world.project import LOGGED, run

AT = f"{LOGGED:%Y-%m-%dT%H:%M:%SZ}"
PLANTED = ("ann.lee@example.org", "+49 170 7654321", "4111 1111 1111 1111", "99887766", "CUST-abc")


@pytest.fixture
def planted(migrated: Path) -> Path:
    """Every request of the window says all of it."""
    for path in (migrated / "logs").rglob("*.gz"):
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        for row in rows:
            row["utterance"] = f"{row['utterance']}: {', '.join(PLANTED)}"
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    return migrated


def found(project: Path, said: str) -> Iterator[tuple[str, str]]:
    for path in project.rglob("*"):
        if path.is_file() and not path.is_relative_to(project / "logs"):
            content = path.read_bytes()
            text = (zstd.decompress(content) if path.suffix == ".zst" else content).decode(errors="replace")
            yield from ((str(path.relative_to(project)), word) for word in PLANTED if word in text)
    yield from (("output", word) for word in PLANTED if word in said)


def configure(project: Path, lines: str) -> None:
    path = project / "redistill.toml"
    path.write_text(path.read_text().replace("[monitor]\n", f"[monitor]\n{lines}\n"))


def test_nothing_that_was_planted_is_in_the_archive_the_database_or_the_logs(planted: Path) -> None:
    configure(planted, "redact_patterns = ['CUST-\\w+']")
    result = run("cycle", "--at", AT)
    assert result.exit_code == 0, result.output
    assert [*found(planted, result.output)] == []
    (archived,) = (planted / "archive").rglob("*.zst")
    assert (
        ": [email], [phone], [card], [number], [redacted]" in zstd.decompress(archived.read_bytes()).decode()
    )


def test_it_is_kept_where_that_is_asked_for(planted: Path) -> None:
    """In the archive and nowhere else."""
    configure(planted, "redact = false")
    result = run("cycle", "--at", AT)
    places = {place.partition("/")[0] for place, _ in found(planted, result.output)}
    assert places == {"archive"}


def test_archives_expire_by_the_clock_also_while_nobody_sends_requests(migrated: Path) -> None:
    configure(migrated, "archive_days = 1")
    run("cycle", "--at", AT)
    assert [*(migrated / "archive").rglob("*.zst")]
    result = run("cycle", "--at", f"{LOGGED + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}")
    assert result.exit_code == 0, result.output
    assert [*(migrated / "archive").rglob("*.zst")] == []


def test_a_request_is_erased_on_demand(planted: Path) -> None:
    run("cycle", "--at", AT)
    (archived,) = (planted / "archive").rglob("*.zst")
    ids = [json.loads(line)["id"] for line in zstd.decompress(archived.read_bytes()).splitlines()[1:]]
    erased = run("archive", "erase", ids[0], ids[7])
    assert (erased.exit_code, erased.stdout) == (0, "Erased: 2 requests from 1 archive.\n")
    left = [json.loads(line)["id"] for line in zstd.decompress(archived.read_bytes()).splitlines()[1:]]
    assert left == [each for each in ids if each not in {ids[0], ids[7]}]
    nothing = {"n_requests": 0, "n_archives": 0, "n_labels": 0}
    assert json.loads(run("archive", "erase", ids[0], "--json").stdout) == nothing
    again = run("archive", "erase", ids[0])
    assert again.stdout == "No archive contains any of these requests; archives are kept for 30 days.\n"
