"""What runs models: `cycle`, `evaluate`, `worker` and `monitor`."""

import json
import math
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from time import monotonic

import pytest
from safetensors.torch import load_file, save_file
from sqlalchemy import Engine

from db import queue
from db.connection.session import writing
from monitor.scoring.models import fingerprint
from tests.support.records.cycles import MONITOR, Cycles
from tests.support.records.factories import START, make_new_job
from tests.support.world.installation import now
from tests.support.world.models import make_model
from tests.support.world.project import LABELS, LOGGED, run, said, start, write_config

AT = f"{LOGGED:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.usefixtures("migrated")
def test_a_cycle_of_a_time_runs_its_window_and_shows_the_numbers() -> None:
    result = run("cycle", "--at", AT)
    assert result.exit_code == 0, result.output
    assert "2026-03-02 11:00  healthy" in result.stdout
    logged = [json.loads(line)["event"] for line in result.stderr.splitlines()]
    assert logged == ["cycle started", "cycle ended"]


@pytest.mark.usefixtures("migrated")
def test_a_window_that_was_judged_is_left_as_it_is() -> None:
    first = json.loads(run("cycle", "--at", AT, "--json").stdout)
    again = run("cycle", "--at", AT)
    assert again.exit_code == 0
    assert "1 of 1 windows were skipped: they were judged before" in again.stdout
    assert json.loads(run("history", "--json").stdout) == first


@pytest.mark.usefixtures("migrated")
def test_a_backfill_runs_every_whole_window_of_its_range() -> None:
    result = run("cycle", "--backfill", "2026-03-02 10:30", "2026-03-02 13:00", "--json")
    assert result.exit_code == 0, result.output
    assert [cycle["window_end"] for cycle in json.loads(result.stdout)] == [
        "2026-03-02T12:00:00Z",
        "2026-03-02T13:00:00Z",
    ]


@pytest.mark.usefixtures("migrated")
def test_the_newest_window_without_traffic_is_quiet() -> None:
    (cycle,) = json.loads(run("cycle", "--json").stdout)
    assert (cycle["verdict"], cycle["verdict_reason"]) == ("inconclusive", "quiet")
    assert (cycle["n_seen"], cycle["n_scored"], cycle["agreement"]) == (0, 0, None)


def test_windows_with_too_few_requests_are_judged_together(
    migrated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each hour has 100 requests; the last one is old, and nobody will attempt the next."""
    monkeypatch.setenv("REDISTILL__MONITOR__MIN_SAMPLES", "150")
    found = run("cycle", "--backfill", "2026-03-02 10:00", "2026-03-02 13:00", "--json")
    assert found.exit_code == 0, found.output
    merged, last = json.loads(found.stdout)
    bounds = (merged["window_start"], merged["window_end"], merged["n_slots"])
    assert bounds == ("2026-03-02T10:00:00Z", "2026-03-02T12:00:00Z", 2)
    assert (merged["n_seen"], merged["n_scored"], merged["verdict"]) == (200, 200, "healthy")
    assert (last["verdict_reason"], last["n_slots"], last["n_scored"]) == ("too_few_samples", 1, 100)
    logged = [json.loads(line)["event"] for line in found.stderr.splitlines()]
    assert logged == ["cycle started", "window is quiet", *["cycle started", "cycle ended"] * 2]
    assert [path.name for path in (migrated / "archive").rglob("*.zst")] == [
        path.name for path in (migrated / "archive").rglob("*T1[23]*.zst")
    ]
    again = run("cycle", "--at", AT)
    assert "2026-03-02 12:00  healthy" in again.stdout
    assert "were judged before" in again.stdout
    assert "within_rules, 2 slots" in run("history").stdout


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--at", "0s"), 1, "is not complete"),
        (("--backfill", "2026-03-02 10:10", "2026-03-02 10:50"), 1, "No complete window is between"),
        (("--at", AT, "--backfill", AT, AT), 2, "give at most one of --at, --backfill and --rejudge"),
    ],
    ids=["now", "no whole window", "both"],
)
def test_a_window_that_there_is_not_is_told(arguments: tuple[str, ...], code: int, message: str) -> None:
    result = run("cycle", *arguments)
    assert result.exit_code == code
    assert message in " ".join(result.stderr.split())


def test_a_teacher_without_a_label_of_the_student_fails_the_cycle(migrated: Path, models: Path) -> None:
    make_model(migrated / "other/teacher", LABELS[:3], seed=3)
    shutil.copytree(models / "student", migrated / "other/student")
    write_config(migrated, migrated / "other")
    result = run("cycle", "--at", AT)
    assert result.exit_code == 1
    assert "1 of 1 cycles failed" in result.stderr.splitlines()[-1]
    last = result.stderr.splitlines()[-1]
    assert "'escalation'" in last
    cause = last.partition("the first error: ")[2]
    (row,) = json.loads(run("history", "--json").stdout)
    assert (row["verdict"], row["error"]) == ("failed", cause)
    line = f"{row['window_end'][:16].replace('T', ' ')}  {cause}"
    assert line in run("history").stdout.splitlines()
    assert line in result.stdout.splitlines()
    assert f"failed (error: {cause})" in " ".join(run("status", width=400).stdout.split())
    assert cause in run("history", "--csv").stdout
    write_config(migrated, models)
    assert run("cycle", "--at", AT).exit_code == 0
    (row,) = json.loads(run("history", "--json").stdout)
    assert (row["verdict"], row["error"]) == ("healthy", None)


def test_corrupt_weights_fail_the_cycle_with_their_folder(migrated: Path, models: Path) -> None:
    shutil.copytree(models, migrated / "models")
    write_config(migrated, migrated / "models")
    weights = migrated / "models/student/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    last = run("cycle", "--at", AT).stderr.splitlines()[-1]
    assert last.startswith("redistill: 1 of 1 cycles failed; the first error: The model ")
    assert "models/student cannot be used" in last
    assert json.loads(run("models", "list", "--json").stdout) == []  # neither of the two is adopted


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("role", ["teacher", "student"])
def test_an_answer_that_is_no_number_fails_the_cycle_with_the_request(
    migrated: Path, models: Path, role: str, value: float
) -> None:
    shutil.copytree(models, migrated / "models")
    write_config(migrated, migrated / "models")
    weights = migrated / f"models/{role}/model.safetensors"
    tensors = load_file(weights)
    tensors["classifier.bias"][1] = value
    save_file(tensors, weights, metadata={"format": "pt"})
    last = run("cycle", "--at", AT).stderr.splitlines()[-1]
    assert f"The {role} " in last
    assert re.search(r"not finite for the request '1\d-\d+'", last)
    (cycle,) = json.loads(run("history", "--json").stdout)
    assert (cycle["verdict"], cycle["agreement"], cycle["kl"]) == ("failed", None, None)


def test_a_monitor_that_another_process_runs_is_told(cycles: Cycles) -> None:
    assert cycles.lease.name == "monitor:mangaassist"
    result = run("cycle", "--at", AT)
    assert result.exit_code == 1
    assert said(result).startswith("Another process is running the monitor 'mangaassist'")


@pytest.mark.usefixtures("project")
def test_an_evaluation_has_every_metric_with_its_interval() -> None:
    result = run("evaluate", "--data", "test.jsonl", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    names = [metric["name"] for metric in found["student"]["metrics"]]
    assert {"accuracy", "macro_f1", "ece", "brier", "nll", "agreement", "kl", "latency_p95_ms"} <= set(names)
    for role in ("teacher", "student"):
        metrics = found[role]["metrics"]
        assert all(metric["low"] <= metric["high"] for metric in metrics)
        kinds = {metric["name"].partition(":")[0] for metric in metrics if ":" in metric["name"]}
        assert kinds == {"recall", "precision", "accuracy", "confidence"}


def test_an_evaluation_calibrates_the_student_on_the_validation_rows(project: Path) -> None:
    """As a job does; by halves of the data where there are none, or where they are the data itself."""

    def calibrated() -> tuple[float | None, set[str], str]:
        found = json.loads(run("evaluate", "--data", "test.jsonl", "--json").stdout)
        names = {each["name"] for each in found["student"]["metrics"]}
        shown = run("evaluate", "--data", "test.jsonl").stdout
        (line,) = [line for line in shown.splitlines() if line.startswith("ece_calibrated is ")]
        return found["calibrated_at"], {name for name in names if "calibrated" in name}, line

    both = {"ece_calibrated", "ece_calibrated_debiased"}
    halves = (
        "ece_calibrated is the student's ECE with each half of the rows at the temperature fitted on the "
        "other half."
    )
    assert calibrated() == (None, both, halves)
    config = project / "redistill.toml"
    config.write_text(config.read_text().replace("[redistill]", '[redistill]\nvalidation = "more.jsonl"'))
    shutil.copyfile("test.jsonl", "more.jsonl")
    assert calibrated() == (None, both, halves)
    shutil.copyfile("train.jsonl", "more.jsonl")
    temperature, names, line = calibrated()
    assert names == both
    assert temperature is not None
    assert line.endswith(f"at the temperature {temperature:.4g}, fitted on the configured validation rows.")


def test_an_evaluation_needs_no_configuration_where_both_models_are_named(
    project: Path, models: Path
) -> None:
    (project / "redistill.toml").unlink()
    named = ("--teacher", str(models / "teacher"), "--student", str(models / "student"))
    shown = run("evaluate", "--data", "test.jsonl", *named).stdout
    assert "test.jsonl, 8 rows" in shown
    assert "\nagreement " in shown
    assert "\nlabel " in shown
    assert "\nconfidence " in shown


def test_an_evaluation_is_of_the_student_that_serves(cycles: Cycles, models: Path) -> None:
    model = cycles.promote(fingerprint(models / "student"), now=START)
    shutil.copytree(models / "student", model.uri)
    there = Path(model.uri).resolve()
    assert f"student  {there} (" in run("evaluate", "--data", "test.jsonl").stdout


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            '{"text": "hello", "label": "greeting"}',
            "line 1: field 'label': 'greeting' is not one of the models'",
        ),
        ('{"text": "hello"}', "line 1: field 'label'"),
        ("hello", "line 1: no JSON object"),
        ("", "has no rows"),
    ],
    ids=["an unknown label", "no label", "no JSON", "nothing"],
)
def test_a_bad_labelled_file_is_told_by_line_and_field(row: str, message: str, project: Path) -> None:
    (project / "bad.jsonl").write_text(f"{row}\n")
    result = run("evaluate", "--data", "bad.jsonl")
    assert result.exit_code == 1
    assert message in said(result)


@pytest.mark.usefixtures("migrated")
def test_a_worker_without_a_job_says_so() -> None:
    result = run("worker", "--once")
    assert result.exit_code == 0
    assert result.stdout == "No job is queued.\n"


def test_a_worker_says_whose_the_open_job_is(engine: Engine) -> None:
    with writing(engine) as connection:
        job_id = queue.enqueue(connection, make_new_job(MONITOR), now())
        queue.claim(connection, MONITOR, owner="another", lease_seconds=60, now=now())
    result = run("worker", "--once")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Another worker holds job {job_id} until ")


def stopped(process: subprocess.Popen[str], number: signal.Signals) -> float:
    """Seconds from the signal to the end."""
    begin = monotonic()
    process.send_signal(number)
    process.wait(30)
    return monotonic() - begin


def test_the_monitor_stops_in_order_on_sigterm(migrated: Path) -> None:
    with start("monitor", folder=migrated) as process:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["event"] == "monitor started"
        assert stopped(process, signal.SIGTERM) < 10
        assert process.returncode == 0
        rest = [json.loads(line)["event"] for line in process.stderr]
    assert rest[-1] == "monitor stops"


def test_the_monitor_runs_a_worker_and_takes_it_along_on_ctrl_c(migrated: Path) -> None:
    with start("monitor", "--with-worker", folder=migrated) as process:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["event"] == "monitor started"
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert b"worker" in Path(f"/proc/{child}/cmdline").read_bytes()
        assert stopped(process, signal.SIGINT) < 10
        assert process.returncode == 0
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.usefixtures("migrated")
def test_a_port_that_is_taken_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("REDISTILL__WEB__PORT", str(taken.getsockname()[1]))
        result = run("monitor")
    assert result.exit_code == 1
    assert said(result).startswith("[web] cannot listen on 127.0.0.1:")
