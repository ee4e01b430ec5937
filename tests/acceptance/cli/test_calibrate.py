"""`models calibrate`: how sure a student should be, by hand."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from db import versions
from db.connection.session import reading, writing
from db.records import ModelVersion
from db.states import PromotionReason, Role
from db.tables import calibrations
from distill.evaluation.temperature import calibrate
from distill.training.dataset import read_labelled
from monitor.scoring.models import load
from tests.support.records.cycles import MONITOR, Cycles, stored
from tests.support.records.factories import START
from tests.support.world.models import CORPUS, answers
from tests.support.world.project import LABELS, run, said, write_labelled

MONTH = timedelta(days=31)
TRAFFIC = "traffic with true labels, else traffic with a healthy teacher"


@pytest.fixture
def serving(cycles: Cycles, models: Path) -> ModelVersion:
    """The project's student, in service; beside it one that has served."""
    cycles.promote("bbb222", now=START - MONTH)
    student = ModelVersion(
        monitor=MONITOR,
        version=load(models / "student").version,
        role=Role.STUDENT,
        uri=str(models / "student"),
    )
    with writing(cycles.engine) as connection:
        versions.record(connection, student, START)
        versions.promote(connection, student, PromotionReason.CONFIGURED, START)
    return student


@pytest.fixture
def validated(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its labelled validation file."""
    path = project / "validation.jsonl"
    write_labelled(path, [f"{text} {number}" for text in CORPUS for number in range(25)])
    monkeypatch.setenv("REDISTILL__REDISTILL__VALIDATION", str(path))
    return path


def rows(engine: Engine) -> list[dict[str, Any]]:
    return stored(engine, calibrations)


def test_the_student_that_serves_is_calibrated_on_the_validation_file(
    serving: ModelVersion, validated: Path, engine: Engine
) -> None:
    result = run("models", "calibrate")
    assert result.exit_code == 0, result.output
    (row,) = rows(engine)
    data = read_labelled(validated, LABELS)
    wanted = calibrate(answers(load(Path(serving.uri)), data.texts), data.labels)
    assert (row["version"], row["reason"], row["dataset"]) == (serving.version, "manual", "validation")
    assert (row["n"], row["sha256"], row["job_id"]) == (200, data.sha256, None)
    assert row["temperature"] == pytest.approx(wanted.temperature, rel=1e-4)
    first, _, titles, numbers = result.stdout.splitlines()
    assert first == (
        f"The student {serving.version[:12]} has the calibration temperature "
        f"{row['temperature']:.4g}: divide its logits by it wherever you use its confidences."
    )
    assert (
        " ".join(titles.split())
        == "calibrated (UTC) temperature on rows until (UTC) NLL ECE ECE, debiased reason"
    )
    assert f"{row['temperature']:.4f}  validation   200" in numbers
    assert f"{row['nll_before']:.4f} -> {row['nll_after']:.4f}" in numbers
    assert numbers.endswith("manual")


@pytest.mark.usefixtures("validated")
def test_programs_read_the_temperature(serving: ModelVersion, engine: Engine) -> None:
    found = json.loads(run("models", "calibrate", "--json").stdout)
    (row,) = rows(engine)
    assert found["temperature"] == row["temperature"]
    shown = json.loads(run("models", "show", serving.version[:8], "--json").stdout)
    assert shown["calibrations"] == [found]
    assert shown["temperature"] is None, "that of its distillation"


@pytest.mark.usefixtures("validated")
def test_a_version_shows_its_calibrations_the_newest_last(serving: ModelVersion) -> None:
    prefix = serving.version[:8]
    assert "calibrated" not in run("models", "show", prefix).stdout
    for _ in range(2):
        run("models", "calibrate", prefix)
    lines = run("models", "show", prefix).stdout.splitlines()
    assert len([line for line in lines if "  validation " in line]) == 2


def test_another_student_is_calibrated_by_how_its_version_begins(
    serving: ModelVersion, validated: Path, models: Path, engine: Engine
) -> None:
    """Also one that does not serve."""
    shutil.copytree(models / "student", "other")
    config = Path("other/config.json")
    config.write_text(config.read_text().replace('"max_position', ' "max_position'))
    other = ModelVersion(monitor=MONITOR, version=load(Path("other")).version, role=Role.STUDENT, uri="other")
    assert other.version != serving.version
    with writing(engine) as connection:
        versions.record(connection, other, START)
    assert validated.exists()
    assert run("models", "calibrate", other.version[:10]).exit_code == 0
    (row,) = rows(engine)
    assert row["version"] == other.version


@pytest.mark.usefixtures("serving")
def test_without_a_validation_file_it_is_the_test_file(engine: Engine) -> None:
    assert run("models", "calibrate").exit_code == 0
    (row,) = rows(engine)
    assert (row["dataset"], row["n"]) == ("test", len(CORPUS))


@pytest.mark.usefixtures("serving")
def test_it_is_done_by_hand_where_it_is_off(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    monkeypatch.setenv("REDISTILL__CALIBRATION__EVERY", "off")
    assert run("models", "calibrate").exit_code == 0
    assert len(rows(engine)) == 1


@pytest.mark.usefixtures("validated", "serving")
@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("zzz", "No single student version begins with 'zzz'"),
        ("", "No single student version begins with ''"),
        ("bbb", "models/bbb222 (no model)"),
    ],
    ids=["none", "several", "its files are gone"],
)
def test_a_version_that_cannot_be_calibrated_is_told(prefix: str, message: str, engine: Engine) -> None:
    result = run("models", "calibrate", prefix)
    assert result.exit_code == 1
    assert message in said(result)
    assert rows(engine) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"text": "hello", "label": "greeting"}',
            "line 1: field 'label': 'greeting' is not one of the models'",
        ),
        ("hello", "line 1: no JSON object"),
        ("", "has no rows"),
        (None, "No such file or directory"),
    ],
    ids=["an unknown label", "no JSON", "nothing", "no file"],
)
def test_a_bad_validation_file_is_told(
    content: str | None, message: str, serving: ModelVersion, validated: Path, engine: Engine
) -> None:
    assert serving
    if content is None:
        validated.unlink()
    else:
        validated.write_text(f"{content}\n")
    result = run("models", "calibrate")
    assert result.exit_code == 1
    assert message in said(result)
    assert rows(engine) == []


def test_without_any_labelled_file_it_says_what_to_name(
    serving: ModelVersion, project: Path, engine: Engine
) -> None:
    assert serving
    config = project / "redistill.toml"
    rule = '[[rules]]\nname = "low"\nmetric = "agreement"\nbelow = 0.95\naction = "alert"\n'
    text = config.read_text().replace('train = "train.jsonl"\ntest = "test.jsonl"\n', "")
    config.write_text(f"{text}\n{rule}")
    result = run("models", "calibrate")
    assert result.exit_code == 1
    assert said(result).startswith("There are no rows to calibrate the student ")
    assert said(result).endswith("name a labelled file with 'validation' or 'test' in [redistill].")
    assert rows(engine) == []
    (finding,) = [
        each for each in json.loads(run("doctor", "--json").stdout) if each["check"] == "calibration"
    ]
    assert (finding["ok"], finding["found"]) == (
        True,
        "every 31 d, on traffic with true labels, else traffic with a healthy teacher",
    )


@pytest.mark.usefixtures("migrated")
def test_before_the_first_cycle_there_is_nothing_to_calibrate() -> None:
    result = run("models", "calibrate")
    assert result.exit_code == 1
    assert said(result).startswith("No student is in service for the monitor 'mangaassist' yet:")


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize(
    ("every", "found"),
    [
        ("31d", f"every 31 d, on {TRAFFIC}, else validation.jsonl"),
        ("off", "off, as configured; `redistill models calibrate`"),
    ],
)
def test_the_doctor_says_how_often_and_on_what(
    every: str, found: str, validated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDISTILL__CALIBRATION__EVERY", every)
    findings = {each["check"]: each for each in json.loads(run("doctor", "--json").stdout)}
    assert str(findings["calibration"]["found"]).replace(f"{validated.parent}/", "").startswith(found)
    assert findings["validation"]["found"] == f"{validated}: 200 rows"


@pytest.mark.parametrize(
    ("every", "message"),
    [
        ("10m", "expected a value of at least 3600s, not '10m'"),
        ("monthly", "'monthly' is not a duration: write"),
    ],
)
@pytest.mark.parametrize("key", [("calibration", "every"), ("redistill", "calibrate_every")])
@pytest.mark.usefixtures("project")
def test_what_is_no_interval_is_refused(
    every: str, message: str, key: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    section, name = key
    monkeypatch.setenv(f"REDISTILL__{section}__{name}".upper(), every)
    result = run("models", "list")
    assert result.exit_code == 2
    assert f"[{section}] {name}: {message}" in said(result)


@pytest.mark.usefixtures("migrated", "validated")
def test_the_old_name_of_the_interval_still_counts_but_not_beside_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDISTILL__REDISTILL__CALIBRATE_EVERY", "7d")
    findings = {each["check"]: each for each in json.loads(run("doctor", "--json").stdout)}
    assert str(findings["calibration"]["found"]).startswith("every 7 d, on ")
    monkeypatch.setenv("REDISTILL__CALIBRATION__EVERY", "7d")
    result = run("models", "list")
    assert result.exit_code == 2
    assert "is the old name of 'every' in [calibration], and both are set: remove calibrate_every" in said(
        result
    )


@pytest.mark.usefixtures("serving", "validated")
def test_a_worker_without_a_job_does_it_by_itself(engine: Engine) -> None:
    result = run("worker", "--once")
    assert result.exit_code == 0
    assert result.stdout == "No job is queued.\n"
    (row,) = rows(engine)
    assert (row["reason"], row["n"]) == ("due", 200)
    with reading(engine) as connection:
        serves = versions.current(connection, MONITOR, Role.STUDENT)
    assert serves is not None
    assert row["version"] == serves.version
