"""What `doctor` finds out about the registry and the cache."""

import json
from pathlib import Path

import pytest
from sqlalchemy import insert

from db import queue, registries
from db.connection.session import connect, writing
from db.tables import models
from redistill.checks.resources import folders, registry_id
from redistill.checks.result import run_check
from redistill.configuration.settings import Settings, load
from tests.support.records.factories import START, make_new_job

ID, OTHER_ID = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
CONFIG = """
[traffic]
uri = "logs"
[teacher]
uri = "teacher"
[student]
uri = "student"
[redistill]
train = "train.jsonl"
test = "test.jsonl"
"""


def settings_in(folder: Path, *, config: str = CONFIG) -> Settings:
    (folder / "redistill.toml").write_text(config)
    return load(folder / "redistill.toml")


@pytest.fixture
def settings(tmp_path: Path, sqlite_url: str) -> Settings:
    """A monitor whose registry is recorded, and has a model that a job made."""
    assert str(tmp_path) in sqlite_url
    settings = settings_in(tmp_path)
    engine, name = connect(sqlite_url), settings.monitor.name
    with writing(engine) as connection:
        registries.confirm(connection, name, registry_id=ID, link="current", location="registry", now=START)
        job_id = queue.enqueue(connection, make_new_job(name), START)
        made = {"monitor": name, "version": "v", "role": "student", "uri": "v", "job_id": job_id}
        connection.execute(insert(models).values(**made, created_at=START))
    engine.dispose()
    return settings


def found(settings: Settings) -> list[tuple[bool, str]]:
    return [(each.ok, each.found) for each in run_check("registry id", lambda: registry_id(settings))]


def write_id(folder: Path, registry_id: object) -> None:
    (folder / "registry").mkdir()
    (folder / "registry/registry.json").write_text(json.dumps({"id": registry_id}))


def test_the_registry_of_the_monitor_is_ok(settings: Settings, tmp_path: Path) -> None:
    write_id(tmp_path, ID)
    assert found(settings) == [(True, f"{ID}, with the link current")]


def test_another_registry_is_a_problem(settings: Settings, tmp_path: Path) -> None:
    write_id(tmp_path, OTHER_ID)
    ((ok, told),) = found(settings)
    assert not ok
    assert f"{tmp_path}/registry has the id {OTHER_ID}, and the models" in told
    assert f"are in the one with the id {ID}: correct 'registry'" in told


@pytest.mark.parametrize("registry_id", [None, 17, ["x"], "x"])
def test_an_id_that_is_not_a_uuid_is_a_problem(
    settings: Settings, tmp_path: Path, registry_id: object
) -> None:
    write_id(tmp_path, registry_id)
    ((ok, told),) = found(settings)
    assert (ok, "it has no 'id' that is a UUID" in told) == (False, True)


def test_a_registry_without_an_id_is_a_problem_if_there_are_models_and_gets_none(
    settings: Settings, tmp_path: Path
) -> None:
    ((ok, told),) = found(settings)
    assert (ok, "/registry has no registry.json, and the models" in told) == (False, True)
    assert not (tmp_path / "registry").exists()


def test_a_link_that_another_monitor_has_is_a_problem(settings: Settings, tmp_path: Path) -> None:
    write_id(tmp_path, ID)
    named = settings.model_copy(update={"monitor": settings.monitor.model_copy(update={"name": "other"})})
    ((ok, told),) = found(named)
    assert (ok, "points to the student of the monitor 'default'" in told) == (False, True)


def test_a_new_installation_has_no_id_yet(tmp_path: Path, sqlite_url: str) -> None:
    assert sqlite_url
    assert found(settings_in(tmp_path)) == []


@pytest.mark.parametrize(
    ("key", "old"),
    [
        ("uri", 'uri = "teacher"'),
        ("uri", 'uri = "student"'),
        ("train", 'train = "train.jsonl"'),
        ("test", 'test = "test.jsonl"'),
        ("validation", "[redistill]\n"),
        ("student_init", "[redistill]\n"),
    ],
)
def test_the_cache_is_checked_if_anything_is_in_s3(key: str, old: str, tmp_path: Path) -> None:
    assert "cache" not in {each.check for each in folders(settings_in(tmp_path))}
    before = old if old.startswith("[") else ""
    moved = CONFIG.replace(old, f'{before}{key} = "s3://models/there"\n')
    assert "cache" in {each.check for each in folders(settings_in(tmp_path, config=moved))}


@pytest.mark.parametrize(
    ("log", "found"),
    [
        (".", {"registry", "archive"}),
        ("archive", {"archive"}),
        ("registry/../registry", {"registry"}),
        ("logs", set()),
        ("registry/logs", set()),  # below it is read by nobody
    ],
)
def test_what_would_be_read_as_requests_is_a_problem(log: str, found: set[str], tmp_path: Path) -> None:
    """The archive has requests that are sampled already, redacted; erased ones would come back."""
    settings = settings_in(tmp_path, config=CONFIG.replace('uri = "logs"', f'uri = "{log}"'))
    told = [each for each in folders(settings) if "is in the folder of the log" in each.found]
    assert {each.check for each in told} == found
    assert not any(each.ok for each in told)


def test_a_folder_that_no_reader_of_a_log_enters_may_be_in_it(tmp_path: Path) -> None:
    config = CONFIG.replace('uri = "logs"', 'uri = "."').replace(
        "[redistill]", '[redistill]\nregistry = "_r"'
    )
    settings = settings_in(tmp_path, config=f'{config}[monitor]\narchive = ".kept/archive"\n')
    assert all(each.ok for each in folders(settings))
