"""`redistill cycle --rejudge`: after the cause is fixed the windows that had no verdict have one."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.storage.zstandard import zstd
from tests.support.records.cycles import Cycles
from tests.support.world.project import LABELS, inside, run, said

RANGE = ("2026-03-02 10:00", "2026-03-02 13:00")


def set_to(project: Path, old: str, new: str) -> None:
    path = project / "redistill.toml"
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


def verdicts() -> list[tuple[str, str]]:
    return [(row["verdict"], row["verdict_reason"]) for row in json.loads(run("history", "--json").stdout)]


def archived(project: Path) -> list[dict[str, Any]]:
    """The requests of the newest sample."""
    path = max((project / "archive").rglob("*.zst"), key=lambda path: path.name)
    return [json.loads(line) for line in zstd.decompress(path.read_bytes()).splitlines()[1:]]


def answers(project: Path) -> dict[str, str]:
    return {
        each["id"]: LABELS[each["teacher_logits"].index(max(each["teacher_logits"]))]
        for each in archived(project)
    }


@pytest.fixture(scope="module")
def measured(common: Path) -> Path:
    with inside(common):
        assert run("cycle", "--at", "2026-03-02 10:30").exit_code == 0
        set_to(common, "min_samples = 50", 'min_samples = 150\nmax_window = "0s"')
        assert run("cycle", "--backfill", *RANGE).exit_code == 0
    return common


@pytest.fixture
def unjudged(empty: Path, measured: Path) -> Path:
    """Three windows of 100 requests each, the newest two with too few for a verdict."""
    shutil.copytree(measured, empty, dirs_exist_ok=True)
    assert verdicts() == [
        ("healthy", "within_rules"),
        *[("inconclusive", "too_few_samples")] * 2,
    ]
    return empty


def test_windows_without_a_verdict_are_judged_again_and_the_others_left(unjudged: Path) -> None:
    set_to(unjudged, "min_samples = 150", "min_samples = 50")
    before = json.loads(run("history", "--json").stdout)
    result = run("cycle", "--rejudge", *RANGE)
    assert result.exit_code == 0, result.output
    assert "2026-03-02 13:00  healthy" in result.stdout
    assert "1 of 3 windows were skipped: they have a verdict." in result.stdout
    assert verdicts() == [("healthy", "within_rules")] * 3
    after = json.loads(run("history", "--json").stdout)
    assert after[0] == before[0]
    for one, other in zip(before, after, strict=True):
        measured = ("cycle_id", "n_seen", "n_sampled", "agreement", "agreement_low", "kl", "js")
        assert [one[name] for name in measured] == [other[name] for name in measured]
    again = run("cycle", "--rejudge", *RANGE, "--json")
    assert json.loads(again.stdout) == after
    assert len(list((unjudged / "archive").rglob("*.zst"))) == 3


@pytest.mark.parametrize("option", ["--rejudge", "--backfill"])
def test_a_range_that_is_backwards_is_refused(unjudged: Path, option: str) -> None:
    result = run("cycle", option, *reversed(RANGE))
    assert result.exit_code == 2
    assert "FROM must be before TO" in result.stderr
    del unjudged


def test_a_cause_that_is_still_there_is_told_again(unjudged: Path) -> None:
    result = run("cycle", "--rejudge", *RANGE)
    assert result.exit_code == 0
    assert result.stdout.count("too_few_samples") == 2
    del unjudged


def test_labels_that_were_imported_count_again(unjudged: Path) -> None:
    """Also where the log has changed meanwhile: those of requests that are still in the sample."""
    known = answers(unjudged)
    ids = list(known)[:20]
    labels = [{"id": each, "label": known[each]} for each in ids]
    (unjudged / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in labels))
    assert run("labels", "import", "labels.jsonl").exit_code == 0
    set_to(unjudged, "min_samples = 150", "min_samples = 50")
    assert run("cycle", "--rejudge", *RANGE).exit_code == 0
    state = json.loads(run("status", "--json").stdout)
    assert state["n_labelled_cycles"] == 1
    assert (state["correctness"]["n_labelled"], state["correctness"]["teacher_accuracy"]["estimate"]) == (
        20,
        1,
    )


def expired(project: Path) -> None:
    for path in (project / "logs").rglob("12.jsonl.gz"):
        path.unlink()


def emptied(project: Path) -> None:
    for path in (project / "logs").rglob("12.jsonl.gz"):
        path.write_bytes(gzip.compress(b""))


def half_expired(project: Path) -> None:
    for path in (project / "logs").rglob("12.jsonl.gz"):
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        path.write_bytes(gzip.compress(b"".join(lines[: len(lines) // 2])))


@pytest.mark.parametrize(("lose", "left"), [(expired, 0), (emptied, 0), (half_expired, 50)])
def test_a_window_that_the_log_no_longer_holds_stays_as_it_is(
    unjudged: Path, lose: Callable[[Path], None], left: int
) -> None:
    """Nor is it judged by a rest of it: its larger sample would be lost."""
    set_to(unjudged, "min_samples = 150", "min_samples = 50")
    lose(unjudged)
    before = json.loads(run("history", "--json").stdout)
    requests = archived(unjudged)
    result = run("cycle", "--rejudge", *RANGE)
    assert result.exit_code == 1
    why = f"The request log holds {left} of the 100 records of the window that ended at 2026-03-02 13:00 UTC"
    assert f"2026-03-02 13:00: unchanged: {why}" in result.stdout
    last = result.stderr.splitlines()[-1]
    assert last.startswith("redistill: 1 of 3 windows could not be judged again and are unchanged; ")
    assert why in last
    after = json.loads(run("history", "--json").stdout)
    assert after[2] == before[2]
    assert after[1]["verdict"] == "healthy"
    assert archived(unjudged) == requests


def test_a_log_whose_fields_were_named_wrongly_is_read_anew(migrated: Path) -> None:
    set_to(migrated, 'text = "utterance"', 'text = "message"')
    assert run("cycle", "--backfill", *RANGE).exit_code == 0
    assert verdicts() == [("inconclusive", "too_many_rejects")] * 3
    set_to(migrated, 'text = "message"', 'text = "utterance"')
    result = run("cycle", "--rejudge", *RANGE)
    assert result.exit_code == 0, result.output
    assert verdicts() == [("healthy", "within_rules")] * 3
    assert [row["n_rejected"] for row in json.loads(run("history", "--json").stdout)] == [0, 0, 0]


def test_requests_that_arrived_late_are_in_the_new_sample(unjudged: Path) -> None:
    (path,) = (unjudged / "logs").rglob("12.jsonl.gz")
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    late = [{**row, "request_id": f"late-{row['request_id']}"} for row in rows]
    (path.parent / "late.jsonl").write_text("".join(json.dumps(row) + "\n" for row in late))
    assert run("cycle", "--rejudge", *RANGE).exit_code == 0
    assert verdicts()[1:] == [("inconclusive", "too_few_samples"), ("healthy", "within_rules")]
    assert len(archived(unjudged)) == 200


def test_what_was_erased_from_the_archive_stays_erased(unjudged: Path) -> None:
    """Though the log still has it; the numbers are of all requests, as those of any cycle stay."""
    gone, *_ = (each["id"] for each in archived(unjudged))
    assert run("archive", "erase", gone).exit_code == 0
    set_to(unjudged, "min_samples = 150", "min_samples = 50")
    assert run("cycle", "--rejudge", *RANGE).exit_code == 0
    assert verdicts()[2] == ("healthy", "within_rules")
    found = [each["id"] for each in archived(unjudged)]
    assert gone not in found
    assert len(found) == 99
    assert run("archive", "erase", gone).stdout.startswith("No archive contains any of these requests")


def test_an_archive_that_was_erased_from_and_cannot_be_read_refuses_its_window(unjudged: Path) -> None:
    """Nobody knows any more what was erased from it."""
    assert run("archive", "erase", archived(unjudged)[0]["id"]).exit_code == 0
    max((unjudged / "archive").rglob("*.zst")).unlink()
    set_to(unjudged, "min_samples = 150", "min_samples = 50")
    result = run("cycle", "--rejudge", *RANGE)
    assert result.exit_code == 1
    assert "there is no such file" in result.stderr.splitlines()[-1]
    assert verdicts()[1:] == [("healthy", "within_rules"), ("inconclusive", "too_few_samples")]


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--rejudge", *RANGE), 1, "run the windows with --backfill"),
        (("--rejudge", "soon", "later"), 2, "--rejudge: 'soon' is not a time"),
        (("--rejudge", *RANGE, "--at", "1h"), 2, "give at most one of --at, --backfill and --rejudge"),
        (
            ("--rejudge", *RANGE, "--backfill", *RANGE),
            2,
            "give at most one of --at, --backfill and --rejudge",
        ),
    ],
    ids=["nothing there", "no time", "at", "backfill"],
)
def test_what_cannot_be_judged_again_is_told(arguments: tuple[str, ...], code: int, message: str) -> None:
    result = run("cycle", *arguments)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())


def test_a_monitor_that_another_process_runs_is_told(cycles: Cycles) -> None:
    cycles.conclude(0)
    result = run("cycle", "--rejudge", "2026-11-24", "2026-11-25")
    assert result.exit_code == 1
    assert said(result).startswith("Another process is running the monitor 'mangaassist'")
