"""Archives in a bucket of a real S3 server: what holds for those in a folder holds there."""

import ast
from collections.abc import Iterator, Mapping
from time import monotonic

import pytest
from botocore.config import Config
from sqlalchemy import Engine

from db.tables import cycles
from monitor.archive.erasure import Erased, erase
from monitor.archive.files import expire, read, write
from monitor.archive.places import ArchiveReadError, ArchiveUnavailableError, ArchiveWriteError, Places
from monitor.storage import s3
from tests.support.records.cycles import MONITOR, Cycles, stored, taken
from tests.support.records.factories import START
from tests.support.records.samples import HOUR, TEN, make_sample, same
from tests.support.records.tables import note_archive
from tests.support.servers.buckets import TestBucket, empty_bucket
from tests.support.servers.s3_faults import (
    Fault,
    FaultyServer,
    faulty,
    refused,
    reset_mid_body,
    silent,
    stalled_after,
)
from tests.support.world.project import ROOT


@pytest.fixture
def bucket(s3_url: str) -> Iterator[TestBucket]:
    with empty_bucket(s3_url) as bucket:
        yield bucket


@pytest.fixture
def place(bucket: TestBucket) -> str:
    return f"s3://{bucket.name}/samples/"


def keys(bucket: TestBucket) -> list[str]:
    return sorted(
        each["Key"] for each in bucket.client.list_objects_v2(Bucket=bucket.name).get("Contents", ())
    )


def test_a_sample_is_read_as_it_was_written_and_replaced(bucket: TestBucket, place: str) -> None:
    write(place, make_sample(seed=2))
    written = write(place, make_sample())
    assert written.uri == f"s3://{bucket.name}/samples/prod/20261124T100000Z.jsonl.zst"
    assert keys(bucket) == ["samples/prod/20261124T100000Z.jsonl.zst"]
    assert same(read(written.uri, sha256=written.sha256), make_sample())


def test_archives_expire_by_their_window_and_others_stay(bucket: TestBucket, place: str) -> None:
    uris = [write(place, make_sample(end=TEN + hours * HOUR)).uri for hours in range(4)]
    write(place, make_sample(monitor="production"))
    bucket.put("samples/prod/notes.txt", b"")
    assert expire(place, "prod", before=TEN + 2 * HOUR) == tuple(uris[:2])
    assert keys(bucket) == [
        "samples/prod/20261124T120000Z.jsonl.zst",
        "samples/prod/20261124T130000Z.jsonl.zst",
        "samples/prod/notes.txt",
        "samples/production/20261124T100000Z.jsonl.zst",
    ]


def test_what_cannot_be_read_or_written_is_said_in_one_line(place: str) -> None:
    written = write(place, make_sample())
    write(place, make_sample(seed=2))
    with pytest.raises(ArchiveReadError, match="it was changed after it was written"):
        read(written.uri, sha256=written.sha256)
    with pytest.raises(ArchiveReadError, match=r"it may have expired \('archive_days'\)"):
        read(f"{place}prod/20261124T110000Z.jsonl.zst")
    with pytest.raises(ArchiveReadError, match=r"cannot be read: .*NoSuchBucket") as unread:
        read("s3://no-such-bucket-of-ours/x.jsonl.zst")
    assert not isinstance(unread.value, ArchiveUnavailableError)
    with pytest.raises(ArchiveWriteError, match="NoSuchBucket") as unwritten:
        write("s3://no-such-bucket-of-ours", make_sample())
    assert "\n" not in f"{unread.value}{unwritten.value}"


def test_a_server_that_is_gone_is_said_in_one_line(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ArchiveWriteError, match="Could not connect"):
        write(place, make_sample())


@pytest.fixture
def proxy(s3_url: str, place: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Between the archive and its bucket; what is waited for is waited for half a second."""
    del place
    config = Config(retries={"mode": "standard", "total_max_attempts": 3}, read_timeout=0.5)
    monkeypatch.setattr(s3, "_CONFIG", s3._CONFIG.merge(config))
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    with faulty(s3_url) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


FAULTS = [refused(503, "SlowDown"), refused(500, "InternalError"), silent]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_not_noticed_in_writing_nor_in_reading(
    place: str, proxy: FaultyServer, fault: Fault
) -> None:
    proxy.faults.extend([fault, fault])
    written = write(place, make_sample())
    proxy.faults.extend([fault, stalled_after(20), reset_mid_body])
    assert same(read(written.uri, sha256=written.sha256), make_sample())
    assert not proxy.faults


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_pass_is_left_after_three_times(place: str, proxy: FaultyServer, fault: Fault) -> None:
    written = write(place, make_sample())
    proxy.faults.extend([fault] * 30)
    with pytest.raises(ArchiveWriteError, match=r"cannot be written: .*\. Free space"):
        write(place, make_sample())
    with pytest.raises(ArchiveUnavailableError, match="cannot be read now: "):
        read(written.uri)
    assert len(proxy.faults) == 24
    proxy.faults.clear()
    assert same(read(written.uri, sha256=written.sha256), make_sample())


def test_a_slow_line_is_not_one_that_hangs(
    place: str, proxy: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time is that of each piece, not of the whole."""
    monkeypatch.setattr(s3, "_CONFIG", s3._CONFIG.merge(Config(connect_timeout=0.5, read_timeout=5)))
    proxy.reads_pause_seconds = 0.1
    content, uri = bytes(12 * 2**20), f"{place}large"
    began = monotonic()
    Places().of(uri).put(uri, content)
    assert monotonic() - began > 1
    assert len(proxy.asked) == 1
    assert Places().of(uri).get(uri) == content


@pytest.fixture
def archived(sqlite_engine: Engine, place: str) -> list[str]:
    """The uris of the archives of three cycles; the first has expired."""
    concluded = Cycles(engine=sqlite_engine, lease=taken(sqlite_engine))
    uris = []
    for hour in range(3):
        concluded.conclude(hour)
        written = write(place, make_sample(end=START + hour * HOUR, monitor=MONITOR, seed=hour))
        note_archive(sqlite_engine, hour + 1, written)
        uris.append(written.uri)
    expire(place, MONITOR, before=START + HOUR)
    return uris


def take_out(engine: Engine, *request_ids: str, encryption: Mapping[str, str] | None = None) -> Erased:
    now = START + 3 * HOUR
    return erase(engine, MONITOR, request_ids, now, lambda _done, _total: None, encryption=encryption)


def test_requests_are_erased_there_too(sqlite_engine: Engine, archived: list[str]) -> None:
    assert take_out(sqlite_engine, "r-0-1", "r-1-1", "r-2-1") == Erased(n_requests=2, n_archives=2)
    _, row, _ = stored(sqlite_engine, cycles)
    left = read(archived[1], sha256=row["archive_sha256"])
    assert [request.id for request in left.requests] == ["r-1-0", "r-1-2"]


def test_what_is_written_is_encrypted_as_configured(
    sqlite_engine: Engine, archived: list[str], bucket: TestBucket, place: str
) -> None:
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/redistill"}
    written = write(place, make_sample(seed=9), encryption=encryption)
    take_out(sqlite_engine, "r-1-1", encryption=encryption)
    for uri in (written.uri, archived[1]):
        found = bucket.client.head_object(Bucket=bucket.name, Key=uri.removeprefix(f"s3://{bucket.name}/"))
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "alias/redistill")


def test_every_upload_of_the_product_is_encrypted_as_configured() -> None:
    """The parameters are in each call, or in what it is called with."""
    uploads = {
        "put_object",
        "upload_file",
        "upload_fileobj",
        "create_multipart_upload",
        "copy_object",
        "copy",
    }
    found = []
    for package in ("db", "triggers", "monitor", "distill", "redistill"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.FunctionDef):
                    names = {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
                    if names & uploads and "_client" in names:
                        found.append((path.name, node.name, "encryption" in names))
    assert found == [(name, function, True) for name, function, _ in found]
    assert len(found) >= 3


def test_an_erasure_fetches_each_archive_once_by_one_client(
    sqlite_engine: Engine, archived: list[str], s3_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_client, made = s3.client, list[object]()

    def noted() -> object:
        made.append(make_client())
        return made[-1]

    monkeypatch.setattr(s3, "client", noted)
    with faulty(s3_url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        assert take_out(sqlite_engine, "unknown") == Erased(n_requests=0, n_archives=0)
    assert [f"s3:/{path}" for path in proxy.asked] == archived
    assert len(made) == 1
