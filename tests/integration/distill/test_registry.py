import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from importlib import metadata
from itertools import count
from pathlib import Path

import pytest
import torch

from db.records import Evaluation, GateOutcome, Metric
from db.states import GateResult
from distill.registry import (
    CalibratedAt,
    LinkError,
    Manifest,
    Parents,
    Registered,
    RegistryWriteError,
    add,
    point_current,
    stage,
)
from distill.training.train import EpochLog, TrainingLog
from monitor.scoring.models import Model, fingerprint, load
from monitor.storage.artifacts import Artifacts
from monitor.storage.local_store import LocalStore
from tests.support.processes.file_faults import is_killed_at, largest_file
from tests.support.world.models import make_model

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LABELS = ("faq", "returns")
FILE_EVENTS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink"}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "candidate", LABELS, seed=7)


@pytest.fixture
def candidate(directory: Path) -> Model:
    return load(directory)


@pytest.fixture
def incumbent(tmp_path: Path) -> Model:
    return load(make_model(tmp_path / "incumbent", LABELS, seed=8))


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "registry"


def manifest(*, job_id: int = 3, seed: int = 2025) -> Manifest:
    return Manifest(
        parents=Parents(teacher="t" * 64, incumbent="s" * 64, student_init="s" * 64),
        job_id=job_id,
        alpha=Decimal("0.6"),
        temperature=3.0,
        epochs=5,
        batch_size=64,
        learning_rate=5e-5,
        seed=seed,
        device="cpu",
        precision="float32",
        training=TrainingLog(
            steps=90, epochs=(EpochLog(loss=5.4, kl=0.7, ce=2.2, kl_gradient_share=0.62, validation=None),)
        ),
        data={"train": "a" * 64, "test": "b" * 64},
        evaluations=(
            Evaluation(
                dataset="test",
                metrics=(Metric(name="accuracy", value=0.91, low=0.90, high=0.92, n=5_500),),
            ),
            Evaluation(
                dataset="condemned",
                metrics=(Metric(name="kl", value=float("nan"), low=float("nan"), high=float("nan"), n=0),),
            ),
        ),
        gates=(
            GateOutcome(gate="accuracy", dataset="test", value=0.91, threshold=0.905, result=GateResult.PASS),
        ),
        calibration=CalibratedAt(temperature=1.42, n=700, dataset="validation", sha256="c" * 64),
        created_at=NOW,
    )


def registered(registry: Path, candidate: Model, manifest: Manifest, *, job: str) -> Registered:
    store = LocalStore(registry)
    return add(store, stage(store, candidate, job=job, now=NOW), manifest)


def point(registry: Path, directory: Path) -> bool:
    return point_current(Artifacts(), registry, "current", directory)


def promoted(registry: Path, model: Model, *, job_id: int) -> str:
    staged = stage(LocalStore(registry), model, job=str(job_id), now=NOW)
    version = add(LocalStore(registry), staged, manifest(job_id=job_id)).version
    point(registry, registry / "versions" / version)
    return version


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def assert_only_whole_versions(registry: Path) -> None:
    for path in (registry / "versions").glob("*"):
        assert fingerprint(path) == path.name
        assert json.loads((path / "manifest.json").read_bytes())["version"] == path.name


def test_an_added_version_is_named_by_its_contents_and_loads_as_the_candidate(
    registry: Path, candidate: Model
) -> None:
    staged = stage(LocalStore(registry), candidate, job="3", now=NOW)
    found = add(LocalStore(registry), staged, manifest())
    assert Path(found.location) == registry / "versions" / found.version
    assert_only_whole_versions(registry)
    assert names(registry) == {"versions"}
    loaded = load(Path(found.location))
    assert loaded.labels == LABELS
    assert loaded.tokenizer("where is my order") == candidate.tokenizer("where is my order")
    weights, saved = candidate.network.state_dict(), loaded.network.state_dict()
    assert all(torch.equal(weights[name], saved[name]) for name in weights)


def test_the_manifest_tells_how_the_version_came_to_be(registry: Path, candidate: Model) -> None:
    found = registered(registry, candidate, manifest(), job="3")
    content = json.loads((Path(found.location) / "manifest.json").read_text())
    assert content["schema"] == "redistill.model/1"
    assert content["version"] == found.version
    assert content["parents"] == {"teacher": "t" * 64, "incumbent": "s" * 64, "student_init": "s" * 64}
    assert (content["job_id"], content["alpha"], content["temperature"]) == (3, 0.6, 3.0)
    assert (content["epochs"], content["batch_size"], content["seed"]) == (5, 64, 2025)
    assert content["data"] == {"train": "a" * 64, "test": "b" * 64}
    assert content["training"]["epochs"][0]["kl_gradient_share"] == 0.62
    assert content["evaluations"][0]["metrics"] == [
        {"name": "accuracy", "value": 0.91, "low": 0.90, "high": 0.92, "n": 5_500, "spread": 0.0}
    ]
    assert content["evaluations"][1]["metrics"][0]["value"] is None
    assert content["gates"][0]["result"] == "pass"
    assert content["calibration"] == {
        "temperature": 1.42,
        "n": 700,
        "dataset": "validation",
        "sha256": "c" * 64,
    }
    assert content["created_at"] == "2026-11-24T12:00:00+00:00"
    assert content["libraries"]["torch"] == metadata.version("torch")


def test_the_same_weights_are_the_same_version_wherever_they_were_loaded_from(
    registry: Path, tmp_path: Path, directory: Path, candidate: Model
) -> None:
    elsewhere = load(shutil.copytree(directory, tmp_path / "elsewhere"))
    one = registered(registry, candidate, manifest(), job="3")
    other = registered(registry, elsewhere, manifest(), job="4")
    assert one == other


def test_adding_a_version_again_changes_nothing(registry: Path, candidate: Model) -> None:
    first = registered(registry, candidate, manifest(seed=1), job="3")
    content = (Path(first.location) / "manifest.json").read_bytes()
    again = registered(registry, candidate, manifest(seed=2), job="3")
    assert again == first
    assert (Path(first.location) / "manifest.json").read_bytes() == content
    assert names(registry) == {"versions"}


def test_other_weights_are_another_version(registry: Path, candidate: Model) -> None:
    first = registered(registry, candidate, manifest(), job="3")
    with torch.no_grad():
        candidate.network.classifier.bias.add_(1.0)  # type: ignore[operator,union-attr]
    second = registered(registry, candidate, manifest(job_id=4), job="4")
    assert names(registry / "versions") == {first.version, second.version}
    assert_only_whole_versions(registry)


def test_staging_removes_what_earlier_attempts_of_the_job_and_old_ones_of_others_left(
    registry: Path, candidate: Model
) -> None:
    ages = {".tmp-3-early": 0, ".tmp-33-fresh": 23, ".tmp-9-old": 25, ".tmp-current-old": 25}
    for name, hours in ages.items():
        (registry / name).mkdir(parents=True)
        (registry / name / "model.safetensors").write_bytes(b"half")
        then = (NOW - timedelta(hours=hours)).timestamp()
        os.utime(registry / name, (then, then))
    staged = stage(LocalStore(registry), candidate, job="3", now=NOW)
    assert names(registry) == {".tmp-33-fresh", staged.name}


def test_current_leads_to_the_version_and_is_moved_from_one_to_the_next(
    registry: Path, candidate: Model
) -> None:
    first = registered(registry, candidate, manifest(), job="3")
    point(registry, registry / "versions" / first.version)
    point(registry, registry / "versions" / first.version)
    assert load(registry / "current").version == first.version
    with torch.no_grad():
        candidate.network.classifier.bias.add_(1.0)  # type: ignore[operator,union-attr]
    second = registered(registry, candidate, manifest(job_id=4), job="4")
    assert load(registry / "current").version == first.version
    point(registry, registry / "versions" / second.version)
    assert load(registry / "current").version == second.version
    assert names(registry) == {"versions", "current"}


def test_current_still_leads_there_when_the_registry_is_moved(registry: Path, candidate: Model) -> None:
    version = registered(registry, candidate, manifest(), job="3").version
    point(registry, registry / "versions" / version)
    moved = registry.rename(registry.with_name("moved"))
    assert load(moved / "current").version == version


def test_a_reader_never_finds_current_missing_or_half_moved(registry: Path) -> None:
    for version in ("a", "b"):
        (registry / "versions" / version).mkdir(parents=True)
        (registry / "versions" / version / "config.json").write_text(version)
    point(registry, registry / "versions" / "a")
    done, seen = threading.Event(), set[str]()

    def read() -> None:
        while not done.is_set():
            seen.add((registry / "current" / "config.json").read_text())

    with _running(read) as reader:
        for turn in range(400):
            point(registry, registry / "versions" / "ab"[turn % 2])
        assert reader.is_alive()
        done.set()
    assert seen == {"a", "b"}


def test_current_leads_to_no_place_without_a_model(registry: Path) -> None:
    (registry / "versions" / "empty").mkdir(parents=True)
    for version in ("unknown", "empty"):
        with pytest.raises(LinkError, match=version):
            point(registry, registry / "versions" / version)
    assert names(registry) == {"versions"}


def test_current_can_lead_to_a_student_that_was_deployed_from_elsewhere(
    registry: Path, incumbent: Model, tmp_path: Path
) -> None:
    point(registry, tmp_path / "incumbent")
    assert load(registry / "current").version == incumbent.version


def test_a_folder_with_registry_and_student_can_be_moved(
    registry: Path, incumbent: Model, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """But not if the registry is a link to another disk: from there the student is elsewhere."""
    point(registry, tmp_path / "incumbent")
    assert (registry / "current").readlink() == Path("../incumbent")
    disk = tmp_path_factory.mktemp("disk") / "registry"
    registry.rename(disk)
    registry.symlink_to(disk)
    (disk / "current").unlink()
    point(registry, tmp_path / "incumbent")
    assert load(registry / "current").version == incumbent.version
    assert (disk / "current").readlink() == tmp_path / "incumbent"


def test_a_directory_in_the_place_of_current_is_not_replaced(registry: Path, candidate: Model) -> None:
    version = registered(registry, candidate, manifest(), job="3").version
    (registry / "current").mkdir()
    with pytest.raises(LinkError, match=f"{registry}/current cannot point to .*: Is a directory; free space"):
        point(registry, registry / "versions" / version)
    assert names(registry) == {"versions", "current"}


def test_a_full_disk_is_one_line_and_leaves_nothing_of_the_candidate(
    registry: Path, candidate: Model
) -> None:
    with largest_file(10_000), pytest.raises(RegistryWriteError) as caught:
        stage(LocalStore(registry), candidate, job="3", now=NOW)
    assert str(registry) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert names(registry) == set()


def test_a_disk_that_is_full_when_the_manifest_is_written_leaves_nothing_either(
    registry: Path, candidate: Model
) -> None:
    staged = stage(LocalStore(registry), candidate, job="3", now=NOW)
    with largest_file(100), pytest.raises(RegistryWriteError):
        add(LocalStore(registry), staged, manifest())
    assert names(registry) == set()


def test_killed_at_any_file_operation_the_registry_holds_whole_versions_and_the_retry_mends_the_rest(
    tmp_path: Path, candidate: Model, incumbent: Model
) -> None:
    """One child is killed before its first file operation, one before its second, … until one ends."""
    leftovers, before = set[str](), tmp_path / "before"
    old = promoted(before, incumbent, job_id=2)
    for operation in count():
        registry = shutil.copytree(before, tmp_path / str(operation), symlinks=True)
        killed = is_killed_at(
            operation, FILE_EVENTS, registry, partial(promoted, registry, candidate, job_id=3)
        )
        leftovers |= {name.split("-")[1] for name in names(registry) if name.startswith(".tmp-")}
        assert_only_whole_versions(registry)
        assert fingerprint(registry / "current") in names(registry / "versions")
        new = promoted(registry, candidate, job_id=3)
        assert names(registry / "versions") == {old, new}
        assert fingerprint(registry / "current") == new
        assert not [name for name in names(registry) if name.startswith(".tmp-3-")]
        if not killed:
            break
    assert operation > 20
    assert leftovers == {"3", "current"}


@contextmanager
def _running(work: Callable[[], None]) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=work)
    thread.start()
    yield thread
    thread.join()
