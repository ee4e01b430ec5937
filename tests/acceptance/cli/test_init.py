"""A new user's first commands: `init`, and what it writes works with the next ones."""

import gzip
import json
import shutil
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from monitor.sources.fields import read_rows
from monitor.sources.kinds import open_source
from monitor.stop import never_stopped
from redistill.configuration.settings import load
from tests.support.world.models import CORPUS
from tests.support.world.project import LABELS, LOGGED, run, said, write_labelled, write_log
from triggers.rule_sets import SUSTAINED_RULES


@pytest.fixture
def whole(empty: Path, models: Path) -> Path:
    """Two models, a log and labelled files below one folder."""
    for role, name in (("teacher", "big"), ("student", "small")):
        target = empty / "models" / name
        target.mkdir(parents=True)
        for path in (models / role).iterdir():
            (target / path.name).write_bytes(path.read_bytes())
    with (empty / "models/big/model.safetensors").open("ab") as weights:
        weights.write(b"\0" * 1_000)  # larger, as teachers are
    write_log(empty)
    write_labelled(empty / "train.jsonl", [f"{text} again" for text in CORPUS])
    write_labelled(empty / "test.jsonl", CORPUS)
    return empty


def test_in_an_empty_folder_it_says_what_is_missing_and_writes_a_file_that_loads(empty: Path) -> None:
    result = run("init")
    assert result.exit_code == 0
    for part in ("teacher", "student", "traffic", "train", "test"):
        (line,) = [line for line in result.stdout.splitlines() if line.startswith(f"{part} ")]
        assert "not found: name" in line
    settings = load(empty / "redistill.toml")
    assert settings.teacher.uri == empty / "models/teacher"
    assert settings == load(empty / "redistill.toml")


def test_the_defaults_that_it_writes_are_the_defaults(empty: Path) -> None:
    """But for what is deleted some day: a configuration of an earlier version must keep what it has."""
    run("init")
    text = (empty / "redistill.toml").read_text()
    written = load(empty / "redistill.toml")
    smallest = '[traffic]\nuri="logs"\n[teacher]\nuri="models/teacher"\n[student]\nuri="models/student"\n'
    smallest += '[redistill]\ntrain="data/train.jsonl"\ntest="data/test.jsonl"\nkeep_versions=20\n'
    smallest += '[monitor]\nevery="1h"\n'
    smallest += f'name="{written.monitor.name}"\n[database]\nkeep="3y"\n'
    (empty / "redistill.toml").write_text(smallest)
    assert written == load(empty / "redistill.toml")
    assert "# not found" in text


def test_a_rule_set_is_written_by_its_name(empty: Path) -> None:
    result = run("init", "--rules", "sustained")
    assert "18 of 24 cycles: orders a re-distillation" in result.stdout
    assert load(empty / "redistill.toml").rules == SUSTAINED_RULES


def test_the_rule_that_it_only_mentions_is_one(empty: Path) -> None:
    """Its comment marks taken away, it stands beside the two."""
    run("init")
    path = empty / "redistill.toml"
    before, mark, after = path.read_text().partition("# [[rules]]\n")
    rule, end, rest = after.partition("\n\n")
    path.write_text(
        before + mark.removeprefix("# ") + rule.replace("\n# ", "\n").removeprefix("# ") + end + rest
    )
    assert [(each.mode, each.action) for each in load(path).rules][2:] == [("sequential", "alert")]


def test_it_names_what_it_finds_by_paths_below_the_file(whole: Path) -> None:
    result = run("init")
    assert "not found" not in result.stdout
    settings = load(whole / "redistill.toml")
    assert settings.teacher.uri == whole / "models/big"
    assert settings.student.uri == whole / "models/small"
    assert settings.traffic.uri == whole / "logs"
    assert settings.redistill.train == whole / "train.jsonl"
    assert settings.redistill.test == whole / "test.jsonl"
    assert 'uri = "models/big"' in (whole / "redistill.toml").read_text()


@pytest.mark.usefixtures("whole")
def test_it_finds_the_names_of_the_fields() -> None:
    run("init")
    traffic = load(Path("redistill.toml")).traffic
    assert (traffic.id, traffic.time, traffic.text) == ("request_id", "timestamp", "utterance")


def test_it_finds_the_true_label_and_says_that_it_must_not_be_the_students(whole: Path) -> None:
    for path in (whole / "logs").rglob("*.gz"):
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        path.write_bytes(gzip.compress(lines_of([{**row, "gold_label": LABELS[0]} for row in rows])))
    run("init")
    assert load(whole / "redistill.toml").traffic.label == "gold_label"
    assert 'label = "gold_label"' in (whole / "redistill.toml").read_text()
    assert "true label, given by people; not the student's" in (whole / "redistill.toml").read_text()


def parquet_of(rows: list[dict[str, Any]]) -> bytes:
    times = ({"timestamp": datetime.fromisoformat(row["timestamp"])} for row in rows)
    sink = pa.BufferOutputStream()
    parquet.write_table(
        pa.Table.from_pylist([row | time for row, time in zip(rows, times, strict=True)]), sink
    )
    return sink.getvalue().to_pybytes()


def captures_of(rows: list[dict[str, Any]]) -> bytes:
    lines = (
        {
            "captureData": {
                "endpointInput": {"data": json.dumps({"inputs": row["utterance"]}), "encoding": "JSON"}
            },
            "eventMetadata": {"eventId": row["request_id"], "inferenceTime": row["timestamp"]},
        }
        for row in rows
    )
    return lines_of(list(lines))


def glued(pack: Callable[[list[dict[str, Any]]], bytes]) -> Callable[[list[dict[str, Any]]], bytes]:
    """Without line feeds, as Firehose writes."""
    return lambda rows: pack(rows).replace(b"\n", b"")


def lines_of(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize(("rows", "epochs"), [(100, 30), (2_400, 16), (9_000, 5)])
def test_few_rows_are_trained_on_for_more_epochs(rows: int, epochs: int, empty: Path) -> None:
    """So that a job has 600 steps or more; the design's 44,000 rows have the design's 5 epochs."""
    write_labelled(empty / "train.jsonl", [f"where is order {number}" for number in range(rows)])
    assert run("init").exit_code == 0
    assert load(empty / "redistill.toml").redistill.epochs == epochs


@pytest.mark.parametrize("arguments", [[], ["--traffic", "logs/endpoint"]], ids=["found", "named"])
@pytest.mark.parametrize(
    ("name", "pack", "written"),
    [
        ("x.snappy.parquet", parquet_of, {"format", "id", "time", "text"}),
        ("x.jsonl", captures_of, {"format"}),
        ("x.jsonl", glued(captures_of), {"format"}),
        ("x.jsonl", glued(lines_of), {"id", "time", "text"}),
    ],
    ids=["parquet", "sagemaker-capture", "glued captures", "glued lines"],
)
def test_it_finds_the_format_and_what_it_writes_reads_the_log(
    empty: Path,
    arguments: list[str],
    name: str,
    pack: Callable[[list[dict[str, Any]]], bytes],
    written: set[str],
) -> None:
    write_log(empty)
    rows = list(read_rows(empty / "logs"))
    shutil.rmtree(empty / "logs")
    target = empty / "logs/endpoint/AllTraffic/2026/03/02/10" / name
    target.parent.mkdir(parents=True)
    (target.parent / "_SUCCESS").touch()
    target.write_bytes(pack(rows))
    assert "requests in the last day of the log" in run("init", *arguments).stdout
    keys = tomllib.loads((empty / "redistill.toml").read_text())["traffic"]
    assert keys.keys() - {"uri", "key"} == written
    source = open_source(load(empty / "redistill.toml").traffic, LABELS, lambda _end: None)
    found = source.read_window(LOGGED, LOGGED + timedelta(hours=1), k=1, stopped=never_stopped).traffic
    assert (found.n_seen, found.n_sampled) == (100, 1)


def test_a_log_without_a_usable_request_says_why(empty: Path) -> None:
    (empty / "log.jsonl").write_bytes(
        captures_of([{"request_id": "r-1", "timestamp": "soon", "utterance": "hi"}])
    )
    assert "no usable request yet: log.jsonl, line 1 is bad_time" in run("init").stdout


def test_parquet_that_cannot_be_read_here_is_not_looked_into_unless_it_is_named(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty / "requests.parquet").write_bytes(parquet_of([{"timestamp": LOGGED.isoformat(), "text": "hi"}]))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "Parquet (with redistill[parquet])" in run("init").stdout
    (empty / "redistill.toml").unlink()
    assert "`pip install 'redistill[parquet]'`" in said(run("init", "--traffic", "requests.parquet"))


@pytest.mark.parametrize(
    ("per_hour", "every"),
    [
        (1_500, timedelta(hours=1)),
        (700, timedelta(hours=2)),
        (400, timedelta(hours=3)),
        (5, timedelta(days=7)),
    ],
)
def test_it_chooses_a_window_with_requests_enough(per_hour: int, every: timedelta, empty: Path) -> None:
    """Case 64."""
    write_log(empty, hours=3, per_hour=per_hour)
    run("init")
    assert load(empty / "redistill.toml").monitor.every == every


def test_the_quietest_hours_decide_and_the_report_says_so(empty: Path) -> None:
    for first, per_hour in ((LOGGED, 1_400), (LOGGED + timedelta(hours=2), 400)):
        write_log(empty, first=first, hours=2, per_hour=per_hour)
    write_log(empty, first=LOGGED + timedelta(hours=4), hours=3, per_hour=1_400)
    shown = run("init").stdout
    assert "every = '3h': the quietest window of 3h has 2,200 requests; a verdict needs 1,000" in shown, shown


def test_it_lists_the_rules_in_force(empty: Path) -> None:
    shown = run("init").stdout
    assert "agreement below 0.95 for 3 cycles in a row: orders a re-distillation (error)" in shown
    assert "kl above 0.15 for 1 cycle: orders a re-distillation (error)" in shown
    assert len(load(empty / "redistill.toml").rules) == 2


def test_what_the_log_has_is_filled_in_first_oldest_windows_first(empty: Path) -> None:
    """Case 63. Of an old log all windows; of today's those that are complete."""
    write_log(empty, hours=3, per_hour=1_500)
    write_log(empty, first=LOGGED - timedelta(minutes=40), hours=1, per_hour=1_500)  # from 9:20 on
    shown = run("init").stdout
    assert "`redistill cycle --backfill 2026-03-02T10:00:00Z 2026-03-02T13:00:00Z` first (a window" in shown
    shutil.rmtree(empty / "logs")
    (empty / "redistill.toml").unlink()
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # noqa: TID251 - as the command does
    write_log(empty, first=hour - timedelta(hours=40), hours=41, per_hour=1_010)
    _, _, times = run("init").stdout.partition("`redistill cycle --backfill ")
    begin, end = (datetime.fromisoformat(each) for each in times.partition("`")[0].split())
    now = datetime.now(UTC)  # noqa: TID251 - as the command does
    assert timedelta(hours=22) <= end - begin <= timedelta(hours=24)
    assert now - timedelta(hours=3) < end <= now - timedelta(minutes=10)


@pytest.mark.usefixtures("whole")
def test_a_log_that_ends_long_ago_is_told_with_the_cycle_that_can_run() -> None:
    last = LOGGED + timedelta(hours=2, minutes=59, seconds=24)
    assert f"then `redistill cycle --at {last:%Y-%m-%dT%H:%M:%SZ}` (the log" in run("init").stdout


def test_a_log_of_today_needs_no_other_time(empty: Path) -> None:
    hour = timedelta(hours=1)
    now = datetime.now(UTC)  # noqa: TID251 - the command compares with the clock
    write_log(empty, first=now - hour, hours=1)
    assert run("init").stdout.endswith("then `redistill cycle`\n")


def test_the_options_win_over_what_is_found(whole: Path) -> None:
    result = run(
        "init", "elsewhere", "--teacher", "models/small", "--student", "models/small", "--train", "test.jsonl"
    )
    assert result.exit_code == 0
    settings = load(whole / "elsewhere/redistill.toml")
    assert settings.teacher.uri == whole / "models/small"
    assert settings.redistill.train == whole / "test.jsonl"


@pytest.mark.parametrize(
    ("option", "path", "message"),
    [
        ("--teacher", "logs", "--teacher: logs is not a classifier"),
        ("--student", "nowhere", "--student: nowhere is not a classifier"),
        ("--traffic", "nowhere", "--traffic: nowhere does not exist"),
        (
            "--traffic",
            "s3://bucket/log",
            "--traffic takes a path, not a URL: run `redistill init` without it",
        ),
        ("--test", "nowhere", "--test: nowhere does not exist"),
    ],
)
def test_an_option_that_names_nothing_is_refused_and_nothing_is_written(
    option: str, path: str, message: str, whole: Path
) -> None:
    result = run("init", option, path)
    assert result.exit_code == 2
    assert said(result).startswith(message)
    assert not (whole / "redistill.toml").exists()


def test_a_file_that_is_there_is_left_as_it_is(project: Path) -> None:
    before = (project / "redistill.toml").read_bytes()
    result = run("init")
    assert result.exit_code == 1
    assert said(result).startswith("redistill.toml already exists")
    assert (project / "redistill.toml").read_bytes() == before


@pytest.mark.usefixtures("whole")
def test_csv_with_columns_of_other_names_is_configured_and_can_be_evaluated(
    whole: Path, models: Path
) -> None:
    for name in ("train", "test"):
        rows = read_rows(whole / f"{name}.jsonl")
        table = "\n".join(f"{number},{row['label']},{row['text']}" for number, row in enumerate(rows))
        (whole / f"{name}.jsonl").unlink()
        (whole / f"{name}.csv").write_text(f"id,intent,utterance\n{table}\n")
    fields = ("--text-field", "utterance", "--label-field", "intent")
    run("init", *fields)
    written = load(whole / "redistill.toml").redistill
    assert (written.train, written.test) == (whole / "train.csv", whole / "test.csv")
    assert (written.text_field, written.label_field) == ("utterance", "intent")
    pair = ("--teacher", str(models / "teacher"), "--student", str(models / "student"))
    result = run("evaluate", "--data", "test.csv", "--json", *pair)
    assert json.loads(result.stdout)["n"] == len(CORPUS)
    assert "no column 'text'" in said(run("evaluate", "--data", "test.csv", "--text-field", "text", *pair))


@pytest.mark.usefixtures("empty")
def test_rare_labels_are_suggested() -> None:
    rows = [{"text": f"{label} {n}", "label": label} for label in LABELS[:3] for n in range(30)]
    rows.append({"text": "a person please", "label": "escalation"})
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("init")
    assert '# rare_labels = ["escalation"]' in Path("redistill.toml").read_text()


def test_a_new_user_comes_from_nothing_to_a_verdict(
    whole: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDISTILL__MONITOR__MIN_SAMPLES", "50")
    monkeypatch.setenv("REDISTILL__SCORING__THREADS", "1")
    monkeypatch.setenv("REDISTILL__WEB__PORT", "0")
    (whole / "models/big/model.safetensors").write_bytes((models / "teacher/model.safetensors").read_bytes())
    (whole / "models/big").rename(whole / "models/the-teacher")
    assert run("init").exit_code == 0
    assert run("db", "upgrade").exit_code == 0
    doctor = run("doctor")
    problems = [line for line in doctor.stdout.splitlines() if " problem " in line]
    assert [line.split()[0] for line in problems] == ["traffic"]  # of March: none in the newest window
    _, advice = doctor.stdout.split("`redistill cycle --at ")
    cycle = run("cycle", "--at", advice.partition("`")[0])
    assert cycle.exit_code == 0, cycle.output
    assert "healthy" in cycle.stdout
