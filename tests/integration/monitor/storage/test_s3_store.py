"""What can go wrong between a store and S3, over the wire."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from monitor.storage.artifacts import Artifacts
from monitor.storage.store import (
    ArtifactMissingError,
    ArtifactReadError,
    ArtifactUnavailableError,
    ArtifactWriteError,
    Store,
)
from tests.support.servers.buckets import TestBucket, empty_bucket
from tests.support.servers.s3_faults import Fault, FaultyServer, faulty, lost, refused, reset_mid_body

MIB = 2**20
FAULTS = {"500": refused(500, "InternalError"), "503": refused(503, "SlowDown"), "lost answer": lost}
#: The answer to a HEAD has no body, which would say that it is throttled.
WRITE_FAULTS = {**FAULTS, "throttled": refused(400, "Throttling")}
READ_FAULTS = {**WRITE_FAULTS, "reset in the body": reset_mid_body}


@pytest.fixture
def bucket(s3_url: str) -> Iterator[TestBucket]:
    with empty_bucket(s3_url) as found:
        yield found


@pytest.fixture
def proxy(bucket: TestBucket, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    del bucket  # its environment is changed here
    with faulty(s3_url) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(cache=tmp_path / "cache")


@pytest.fixture
def store(bucket: TestBucket, proxy: FaultyServer, artifacts: Artifacts) -> Store:
    del proxy
    return artifacts.store(f"s3://{bucket.name}/registry")


def version(store: Store, *, size: int = 10) -> Path:
    folder = store.staging / ".tmp-1"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "manifest.json"):
        (folder / name).write_bytes(name[:1].encode() * size)
    return folder


def objects(proxy: FaultyServer, method: str) -> list[str]:
    """The names of the objects that were asked for."""
    return [
        path.partition("?")[0].rpartition("/")[2]
        for used, path in zip(proxy.methods, proxy.asked, strict=True)
        if used == method and "list-type" not in path
    ]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_version_is_whole_whatever_happens_on_the_way(
    proxy: FaultyServer, store: Store, artifacts: Artifacts, fault: str
) -> None:
    """Each request meets the fault once; among them is the conditional write of the manifest."""
    for _ in range(5):
        proxy.faults.extend([WRITE_FAULTS[fault], None])
    store.put_directory("versions/a", version(store), last="manifest.json")
    proxy.faults.clear()
    copy = artifacts.directory(store.location("versions/a"))
    assert {path.name: path.stat().st_size for path in copy.iterdir()} == dict.fromkeys(
        ("config.json", "model.safetensors", "manifest.json"), 10
    )


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_ids_and_pointers_are_right_also_if_the_answer_is_lost(
    proxy: FaultyServer, store: Store, fault: str
) -> None:
    proxy.faults.extend([WRITE_FAULTS[fault]])
    assert store.create("registry.json", b"mine") == b"mine"
    proxy.faults.extend([None, WRITE_FAULTS[fault]])
    assert store.point("current", store.location("versions/a"))
    assert store.pointed("current") == store.location("versions/a")
    assert not proxy.faults


@pytest.mark.parametrize("fault", READ_FAULTS)
def test_a_copy_is_whole_whatever_happens_on_the_way(
    bucket: TestBucket, proxy: FaultyServer, artifacts: Artifacts, fault: str
) -> None:
    bucket.put("data/train.jsonl", b"x" * MIB)
    proxy.faults.extend([None, READ_FAULTS[fault]])  # HEAD, then GET
    assert artifacts.file(f"s3://{bucket.name}/data/train.jsonl").stat().st_size == MIB
    assert not proxy.faults


def test_a_large_file_is_sent_in_parts_and_a_part_that_fails_is_sent_again(
    bucket: TestBucket, proxy: FaultyServer, store: Store
) -> None:
    folder = version(store, size=17 * MIB)
    proxy.faults.extend([None, refused(500, "InternalError"), lost, refused(503, "SlowDown")])
    store.put(".checkpoint-1/9", folder / "model.safetensors")
    found = bucket.client.get_object(Bucket=bucket.name, Key="registry/.checkpoint-1/9")["Body"].read()
    assert found == b"m" * 17 * MIB
    assert sum("partNumber" in each for each in proxy.asked) > 3


def test_an_upload_that_was_broken_off_resumes_with_what_is_not_there(
    bucket: TestBucket, proxy: FaultyServer, store: Store
) -> None:
    """Until then there is no such version, and one that nobody resumes is removed after a day."""
    denied = refused(403, "AccessDenied")
    proxy.faults.extend([None, None, None, denied])  # HEAD and PUT of two files
    with pytest.raises(ArtifactWriteError, match="AccessDenied") as caught:
        store.put_directory("versions/a", version(store), last="manifest.json")
    assert "\n" not in str(caught.value)
    bucket.client.delete_object(Bucket=bucket.name, Key="registry/versions/a/model.safetensors")
    assert store.names("versions/a") == ("config.json",)
    proxy.asked.clear()
    proxy.methods.clear()
    store.put_directory("versions/a", version(store), last="manifest.json")
    assert objects(proxy, "PUT") == ["model.safetensors", "manifest.json"]
    bucket.client.delete_object(Bucket=bucket.name, Key="registry/versions/a/manifest.json")
    now = datetime.now(UTC)  # noqa: TID251 - S3 has its own clock
    for before, left in ((now - timedelta(days=1), ("a",)), (now + timedelta(days=1), ())):
        store.remove_incomplete("versions", last="manifest.json", before=before)
        assert store.names("versions") == left


def test_what_did_not_change_is_copied_once(
    bucket: TestBucket, proxy: FaultyServer, artifacts: Artifacts
) -> None:
    uri = f"s3://{bucket.name}/models/teacher"
    for name in ("config.json", "model.safetensors"):
        bucket.put(f"models/teacher/{name}", b"first")
    bucket.put("models/teacher/checkpoints/1", b"not part of the model")
    with capture_logs() as logs:
        copies = {artifacts.directory(uri) for _ in range(3)}
    assert objects(proxy, "GET") == ["config.json", "model.safetensors"]
    assert [(line["event"], line["n_bytes"]) for line in logs] == [("artifact downloaded", 10)]
    bucket.put("models/teacher/config.json", b"second")
    copies.add(artifacts.directory(uri))
    assert sorted((copy / "config.json").read_bytes() for copy in copies) == [b"first", b"second"]


def test_processes_that_make_a_copy_at_once_all_find_it_whole(bucket: TestBucket, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        bucket.put(f"models/teacher/{name}", b"x" * MIB)

    def sizes(_number: int) -> set[int]:
        copy = Artifacts(cache=tmp_path / "cache").directory(f"s3://{bucket.name}/models/teacher")
        return {path.stat().st_size for path in copy.iterdir()}

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(sizes, range(8))) == [{MIB}] * 8


def test_a_copy_of_a_labelled_file_is_for_its_owner_only(bucket: TestBucket, artifacts: Artifacts) -> None:
    bucket.put("data/train.jsonl", b"{}\n")
    copy = artifacts.file(f"s3://{bucket.name}/data/train.jsonl")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.parent.stat().st_mode & 0o777 == 0o700


def test_a_copy_that_somebody_damaged_is_made_again(bucket: TestBucket, artifacts: Artifacts) -> None:
    uri = f"s3://{bucket.name}/models/teacher"
    for name in ("config.json", "model.safetensors"):
        bucket.put(f"models/teacher/{name}", b"whole")
    (artifacts.directory(uri) / "config.json").unlink()
    (artifacts.directory(uri) / "model.safetensors").write_bytes(b"cut")
    assert {path.read_bytes() for path in artifacts.directory(uri).iterdir()} == {b"whole"}
    assert len(list(artifacts.directory(uri).iterdir())) == 2


@pytest.mark.parametrize("content", [b"garbage", b"{}", b"[1]"])
def test_a_pointer_that_is_none_is_named(bucket: TestBucket, store: Store, content: bytes) -> None:
    bucket.put("registry/current", content)
    with pytest.raises(ArtifactReadError, match="current cannot be read: it is not a registry's pointer"):
        store.pointed("current")
    assert store.point("current", store.location("versions/a"))
    assert store.pointed("current") == store.location("versions/a")


def test_an_object_that_is_replaced_meanwhile_is_listed_again(
    bucket: TestBucket, proxy: FaultyServer, artifacts: Artifacts
) -> None:
    bucket.put("teacher/config.json", b"x")
    proxy.faults.append(refused(412, "PreconditionFailed"))
    assert (artifacts.directory(f"s3://{bucket.name}/teacher") / "config.json").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (refused(403, "AccessDenied"), ArtifactReadError),
        (refused(503, "SlowDown"), ArtifactUnavailableError),
        (refused(404, "NoSuchBucket"), ArtifactReadError),
    ],
    ids=["refused", "overloaded", "no bucket"],
)
def test_what_cannot_be_read_is_one_line_that_says_so(
    bucket: TestBucket,
    proxy: FaultyServer,
    artifacts: Artifacts,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    kind: type[ArtifactReadError],
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    proxy.listing_faults.extend([fault] * 5)
    with pytest.raises(kind) as caught:
        artifacts.directory(f"s3://{bucket.name}/teacher")
    assert type(caught.value) is kind
    assert f"s3://{bucket.name}/teacher" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_there_is_missing(bucket: TestBucket, artifacts: Artifacts) -> None:
    for ask in (artifacts.directory, artifacts.file):
        with pytest.raises(ArtifactMissingError, match="does not exist: correct the location"):
            ask(f"s3://{bucket.name}/nowhere")
    bucket.put("lone", b"no pointer")
    with pytest.raises(ArtifactReadError, match="neither a directory nor a registry's pointer"):
        artifacts.directory(f"s3://{bucket.name}/lone")


def test_a_registrys_pointer_leads_to_the_version(
    store: Store, artifacts: Artifacts, bucket: TestBucket
) -> None:
    store.put_directory("versions/a", version(store), last="manifest.json")
    store.point("current", store.location("versions/a"))
    assert (artifacts.directory(f"s3://{bucket.name}/registry/current") / "config.json").is_file()


def test_what_is_written_is_encrypted_as_configured(bucket: TestBucket, tmp_path: Path) -> None:
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/redistill"}
    store = Artifacts(cache=tmp_path, encryption=encryption).store(f"s3://{bucket.name}/registry")
    store.put_directory("versions/a", version(store), last="manifest.json")
    store.create("registry.json", b"{}")
    store.point("current", store.location("versions/a"))
    keys = [each["Key"] for each in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]]
    assert len(keys) == 5
    for key in keys:
        found = bucket.client.head_object(Bucket=bucket.name, Key=key)
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "alias/redistill")


def test_the_progress_of_a_download_is_shown_in_mebibytes(bucket: TestBucket, tmp_path: Path) -> None:
    shown: list[tuple[str, int, int]] = []
    for name, size in (("a", 2**20), ("b", 3 * 2**19)):
        bucket.put(f"teacher/{name}", b"0" * size)
    uri = f"s3://{bucket.name}/teacher"
    opener = Artifacts(cache=tmp_path, show=lambda *what: shown.append(what))
    opener.directory(uri)
    assert {what for what, _, _ in shown} == {f"downloading {uri} (MiB)"}
    assert {total for _, _, total in shown} == {3}
    amounts = [done for _, done, _ in shown]
    assert (amounts, amounts[-1]) == (sorted(amounts), 3)
    shown.clear()
    opener.directory(uri)
    assert not shown


def test_a_copy_that_nobody_used_for_a_week_goes(
    bucket: TestBucket, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://{bucket.name}/teacher"
    copies = []
    for content in (b"one", b"two", b"three"):
        bucket.put("teacher/config.json", content)
        copies.append(artifacts.directory(uri))
        monkeypatch.setattr("monitor.storage.s3_copies._UNUSED_SECONDS", -1 if content == b"two" else 1e9)
    assert [copy.exists() for copy in copies] == [False, False, True]
