"""The temperature of the student in service beside the link, and copies of versions for a service."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from db import versions
from db.connection.session import writing
from db.records import ModelVersion
from db.states import PromotionReason, Role
from db.tables import calibrations
from monitor.scoring.models import load
from tests.support.records.cycles import MONITOR, Cycles, stored
from tests.support.records.factories import START
from tests.support.world.models import CORPUS, answers
from tests.support.world.project import run, said

HOUR = timedelta(hours=1)


@pytest.fixture
def student(cycles: Cycles, models: Path) -> ModelVersion:
    """The project's student, in service, and its link."""
    return promoted(cycles.engine, models / "student")


@pytest.fixture
def other(cycles: Cycles, models: Path) -> ModelVersion:
    """Another one, which has not served."""
    shutil.copytree(models / "student", "other")
    config = Path("other/config.json")
    config.write_text(config.read_text().replace('"max_position', ' "max_position'))
    found = model_in(Path("other").absolute())
    with writing(cycles.engine) as connection:
        versions.record(connection, found, START)
    return found


def model_in(folder: Path) -> ModelVersion:
    return ModelVersion(monitor=MONITOR, version=load(folder).version, role=Role.STUDENT, uri=str(folder))


def promoted(engine: Engine, folder: Path) -> ModelVersion:
    found = model_in(folder)
    with writing(engine) as connection:
        versions.record(connection, found, START)
        versions.promote(connection, found, PromotionReason.CONFIGURED, START)
    return found


def delivered() -> tuple[str, float, str | None]:
    found: dict[str, Any] = json.loads(Path("registry/calibration.json").read_bytes())
    assert found["schema"] == "redistill.calibration/1"
    return found["version"], found["temperature"], found["source"]


def test_a_calibration_a_promotion_and_a_rollback_are_delivered(
    student: ModelVersion, other: ModelVersion, engine: Engine
) -> None:
    assert run("models", "calibrate").exit_code == 0
    assert not Path("registry").exists(), "no link leads to the student yet"
    assert run("models", "promote", student.version[:8]).exit_code == 0
    (first,) = stored(engine, calibrations)
    assert delivered() == (student.version, first["temperature"], "file")
    assert run("models", "promote", other.version[:8]).exit_code == 0
    assert delivered() == (other.version, 1.0, None)
    assert run("models", "rollback").exit_code == 0
    assert delivered() == (student.version, first["temperature"], "file")
    _label_as_the_model(student, Path("test.jsonl"))
    assert run("models", "calibrate").exit_code == 0
    newest = stored(engine, calibrations)[-1]
    assert newest["temperature"] != first["temperature"]
    assert delivered() == (student.version, newest["temperature"], "file")
    assert run("models", "calibrate", other.version[:8]).exit_code == 0
    assert delivered() == (student.version, newest["temperature"], "file"), "the other does not serve"


def _label_as_the_model(student: ModelVersion, path: Path) -> None:
    """With the labels that it gives, so that it can be surer."""
    model = load(Path(student.uri))
    given = answers(model, CORPUS).argmax(axis=1)
    rows = ({"text": text, "label": model.labels[index]} for text, index in zip(CORPUS, given, strict=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_worker_delivers_what_it_has_calibrated_by_the_name_of_its_link(
    student: ModelVersion, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDISTILL__REDISTILL__LINK", "search")
    assert run("worker", "--once").exit_code == 0
    (row,) = stored(engine, calibrations)
    found = json.loads(Path("registry/calibration-search.json").read_bytes())
    assert (found["version"], found["temperature"], found["n"]) == (
        student.version,
        row["temperature"],
        len(CORPUS),
    )
    assert not Path("registry/calibration.json").exists()


def test_a_deleted_file_is_written_again(student: ModelVersion) -> None:
    assert run("worker", "--once").exit_code == 0
    before = delivered()
    Path("registry/calibration.json").unlink()
    result = run("models", "promote", student.version[:8])
    assert result.exit_code == 0, said(result)
    assert delivered() == before


def test_a_version_is_exported_as_it_is_or_calibrated(student: ModelVersion, engine: Engine) -> None:
    prefix = student.version[:8]
    refused = run("models", "export", prefix, "served", "--calibrated")
    assert refused.exit_code == 1
    assert f"no calibration temperature: run `redistill models calibrate {student.version[:12]}`" in said(
        refused
    )
    assert not Path("served").exists()
    run("models", "calibrate")
    (row,) = stored(engine, calibrations)
    plain = run("models", "export", prefix, "plain")
    assert (plain.exit_code, plain.stdout) == (
        0,
        f"The student {student.version[:12]} is copied to plain.\n",
    )
    calibrated = run("models", "export", prefix, "served", "--calibrated")
    assert calibrated.exit_code == 0
    assert calibrated.stdout.splitlines()[1] == (
        f"Its last layer is divided by {row['temperature']:.4g}: do not divide its logits again."
    )
    assert load(Path("plain")).version == student.version
    before, after = (answers(load(Path(each)), CORPUS) for each in ("plain", "served"))
    assert np.abs(after - before / row["temperature"]).max() <= 1e-5 * max(1, np.abs(after).max())
    again = run("models", "export", prefix, "served")
    assert again.exit_code == 1
    assert said(again) == "served is not an empty folder: name a new or an empty one."
    for place in ("registry/versions/mine", "archive"):
        own = run("models", "export", prefix, place)
        assert (own.exit_code, own.stderr.startswith(f"redistill: {place} is in ")) == (2, True)
    elsewhere = run("models", "export", prefix, "s3://bucket/served")
    assert elsewhere.exit_code == 2
    assert said(elsewhere).startswith("s3://bucket/served is not a folder of this machine: export to one")
    assert not Path("s3:").exists()
