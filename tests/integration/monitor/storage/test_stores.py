"""One suite that holds both stores to the port; what only S3 can do wrong is in test_s3_store.py."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.records import ModelVersion
from db.states import Role
from monitor.storage.artifacts import Artifacts, places_of
from monitor.storage.store import ArtifactMissingError, Store
from tests.support.servers.buckets import empty_bucket


@pytest.fixture(params=["local", "s3"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Artifacts, Store]]:
    artifacts = Artifacts(cache=tmp_path / "cache")
    if request.param == "local":
        yield artifacts, artifacts.store(tmp_path / "registry")
        return
    with empty_bucket(request.getfixturevalue("s3_url")) as bucket:
        yield artifacts, artifacts.store(f"s3://{bucket.name}/team/registry")


@pytest.fixture
def store(opened: tuple[Artifacts, Store]) -> Store:
    return opened[1]


def staged(store: Store, name: str, files: dict[str, str]) -> Path:
    folder = store.staging / name
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_text(content)
    return folder


def put(store: Store, key: str, content: str) -> None:
    folder = staged(store, f".tmp-{key.replace('/', '-')}", {"file": content})
    store.put(key, folder / "file")
    assert not (folder / "file").exists()
    folder.rmdir()


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert (store.names(""), store.names("versions"), store.read("registry.json")) == ((), (), None)
    assert (store.modified("versions"), store.pointed("current")) == (None, None)
    store.remove("versions")
    with pytest.raises(ArtifactMissingError, match="absent does not exist: correct the location"):
        store.fetch("absent")


def test_a_file_is_found_and_is_replaced(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # noqa: TID251 - S3 has its own clock
    for content in ("first", "second"):
        put(store, "job/1", content)
        assert store.fetch("job/1").read_text() == content
        assert store.read("job/1") == content.encode()
    assert (store.names(""), store.names("job")) == (("job",), ("1",))
    modified = store.modified("job")
    assert modified is not None
    assert modified >= before


def test_a_published_file_is_found_and_is_replaced(store: Store) -> None:
    for content in (b"first", b"second"):
        store.publish("calibration.json", content)
        assert store.read("calibration.json") == content
    assert store.names("") == ("calibration.json",)


def test_a_directory_is_added_once(opened: tuple[Artifacts, Store]) -> None:
    artifacts, store = opened
    for content in ("first", "second"):
        folder = staged(store, ".tmp-a", {"weights": content, "manifest.json": content})
        store.put_directory("versions/a", folder, last="manifest.json")
        assert not folder.exists()
    assert store.names("versions/a") == ("manifest.json", "weights")
    location = store.location("versions/a")
    directory = artifacts.directory(location if location.startswith("s3://") else Path(location))
    assert {path.name for path in directory.iterdir()} == {"weights", "manifest.json"}
    assert store.read("versions/a/manifest.json") == b"first"


def test_what_many_processes_create_is_what_the_first_one_wrote(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda number: store.create("registry.json", b"%d" % number), range(8)))
    assert set(found) == {store.read("registry.json")}
    assert store.create("registry.json", b"later") == found[0]


def test_what_is_removed_is_gone_with_all_that_is_in_it_and_nothing_else(store: Store) -> None:
    for key in ("a", "job/1", "job/2", "jobs/3"):
        put(store, key, "x")
    for key in ("a", "job"):
        store.remove(key)
    assert (store.names(""), store.names("job"), store.names("jobs")) == (("jobs",), (), ("3",))


def test_a_pointer_moves_and_says_whether_it_did(store: Store) -> None:
    for version in ("a", "b"):
        put(store, f"versions/{version}/config.json", version)
    for version in ("a", "b", "a"):
        target = store.location(f"versions/{version}")
        assert store.point("current", target)
        assert not store.point("current", target)
        assert store.pointed("current") == target


def test_a_pointer_can_lead_out_of_the_store(store: Store) -> None:
    assert store.point("current", "/models/student")
    assert store.pointed("current") == "/models/student"


def test_a_reader_finds_the_old_target_or_the_new_one(store: Store) -> None:
    targets = [store.location(f"versions/{version}") for version in "ab"]
    store.point("current", targets[0])
    seen, done = set[str | None](), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(store.pointed("current"))

    with ThreadPoolExecutor(1) as threads:
        reader = threads.submit(read)
        for turn in range(30):
            store.point("current", targets[turn % 2])
        done.set()
        reader.result()
    assert seen == {*targets}


def test_a_student_may_be_where_it_was_recorded_in_the_registry_or_where_the_configuration_says() -> None:
    """A job's version first in the registry, which may have been moved; any other where it was recorded."""
    deployed = ModelVersion(monitor="prod", version="abc", role=Role.STUDENT, uri="/models/old")
    made = replace(deployed, uri="s3://old/registry/versions/abc", job_id=7)
    registry, configured = "s3://new/registry", Path("/models/new")
    registered = "s3://new/registry/versions/abc"
    assert places_of(deployed, registry, configured) == (Path("/models/old"), registered, configured)
    assert places_of(made, registry, configured) == (registered, made.uri, configured)
    assert places_of(deployed, Path("registry"), Path("/models/old"))[1:] == (Path("registry/versions/abc"),)


def test_the_size_of_a_directory_is_that_of_its_files(store: Store) -> None:
    assert store.size("versions") == 0
    for version in ("a", "b"):
        folder = staged(store, f".tmp-{version}", {"weights": "12345", "manifest.json": "{}"})
        store.put_directory(f"versions/{version}", folder, last="manifest.json")
    assert (store.size("versions"), store.size("versions/a")) == (14, 7)


def test_a_directory_that_is_removed_is_gone_for_readers_at_once(store: Store) -> None:
    for version in ("a", "b"):
        folder = staged(store, f".tmp-{version}", {"weights": version, "manifest.json": version})
        store.put_directory(f"versions/{version}", folder, last="manifest.json")
    for _ in range(2):
        store.remove_directory("versions/a", last="manifest.json")
        assert store.names("versions") == ("b",)
    assert not list(store.staging.glob(".tmp-*"))
