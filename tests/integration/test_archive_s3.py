"""Archives in a bucket of a real S3 server: what holds for those in a folder holds there."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, update

from db.session import writing
from db.tables import cycles
from monitor.archive.files import expire, read, sha256_of, write
from monitor.archive.places import ArchiveReadError, ArchiveWriteError
from monitor.erasure import Erased, erase
from tests.buckets import TestBucket, empty_bucket
from tests.cycles import MONITOR, Cycles, stored, taken
from tests.factories import START
from tests.samples import HOUR, TEN, make_sample, same


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
    with pytest.raises(ArchiveReadError, match="'archive_days' may have passed"):
        read(f"{place}prod/20261124T110000Z.jsonl.zst")
    assert sha256_of(f"{place}nothing") is None
    with pytest.raises(ArchiveReadError, match="NoSuchBucket") as unread:
        read("s3://no-such-bucket-of-ours/x.jsonl.zst")
    with pytest.raises(ArchiveWriteError, match="NoSuchBucket") as unwritten:
        write("s3://no-such-bucket-of-ours", make_sample())
    assert "\n" not in f"{unread.value}{unwritten.value}"


def test_a_server_that_is_gone_is_said_in_one_line(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(ArchiveWriteError, match="Could not connect"):
        write(place, make_sample())


def test_requests_are_erased_there_too(sqlite_engine: Engine, place: str) -> None:
    Cycles(engine=sqlite_engine, lease=taken(sqlite_engine)).conclude(0)
    written = write(place, make_sample(end=START, monitor=MONITOR, seed=0))
    with writing(sqlite_engine) as connection:
        values = {"archive": written.uri, "archive_sha256": written.sha256}
        connection.execute(update(cycles).values(values))
    erased = erase(sqlite_engine, MONITOR, ["r-0-1"], START + HOUR, lambda _done, _total: None)
    assert erased == Erased(n_requests=1, n_archives=1)
    (row,) = stored(sqlite_engine, cycles)
    left = read(row["archive"], sha256=row["archive_sha256"])
    assert [request.id for request in left.requests] == ["r-0-0", "r-0-2"]
