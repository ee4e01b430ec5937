"""A request log in S3: which objects are read, what happens when S3 fails, and what comes too late."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from db.records import ObjectVersion
from db.states import RejectReason
from monitor.settings import S3Traffic
from monitor.sources.objects import Consumed, ObjectsSource
from monitor.sources.port import WindowSample
from monitor.sources.stores.bucket import Bucket
from monitor.sources.stores.port import TrafficUnavailableError
from monitor.stop import StoppedError, never_stopped
from monitor.storage import s3
from tests.support.servers.buckets import TestBucket, empty_bucket
from tests.support.servers.s3_faults import (
    Fault,
    FaultyServer,
    faulty,
    refused,
    reset_mid_body,
    silent,
    stalled_after,
    wrong_etag,
)

TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def proxy(s3_url: str) -> Iterator[FaultyServer]:
    with faulty(s3_url) as server:
        yield server


@pytest.fixture
def bucket(proxy: FaultyServer, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestBucket]:
    """Written to directly, read through the proxy; what is tried again is tried at once."""
    retries = {"mode": "standard", "total_max_attempts": 3}
    config = s3._CONFIG.merge(Config(retries=retries))
    monkeypatch.setattr(s3, "_CONFIG", config)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    with empty_bucket(s3_url) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield made


def body(*ids: str, at: datetime = TEN) -> bytes:
    rows = [{"id": each, "time": at.isoformat(), "text": f"text of {each}"} for each in ids]
    return gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())


def source(bucket: TestBucket, consumed: Consumed | None = None, **keys: Any) -> ObjectsSource:  # noqa: ANN401
    section = S3Traffic.model_validate({"kind": "s3", "uri": f"s3://{bucket.name}/app", **keys})
    return ObjectsSource(Bucket(section), section, (), consumed)


def read(reader: ObjectsSource, start: datetime = TEN) -> WindowSample:
    return reader.read_window(start, start + HOUR, k=1_000, stopped=never_stopped)


def ids(found: WindowSample) -> list[str]:
    return sorted(request.id for request in found.requests)


def listings(proxy: FaultyServer) -> list[str]:
    asked = [path for path in proxy.asked if "list-type" in path]
    return [path.partition("prefix=")[2].partition("&")[0].replace("%2F", "/") for path in asked]


def test_only_the_hours_of_the_window_are_listed(bucket: TestBucket, proxy: FaultyServer) -> None:
    """To `late` after its end: an object lies in the hour in which it was written."""
    bucket.put("app/2026/11/24/09/a", body("too early"))
    bucket.put("app/2026/11/24/10/a", body("a"))
    bucket.put("app/2026/11/24/11/a", body("b"))
    bucket.put("app/2026/11/24/12/a", body("too late"))
    assert ids(read(source(bucket))) == ["a", "b"]
    assert listings(proxy) == ["app/2026/11/24/10/", "app/2026/11/24/11/"]


def test_the_hour_may_be_written_in_another_way(bucket: TestBucket, proxy: FaultyServer) -> None:
    bucket.put("app/dt=2026-11-24/h=10/x", body("a"))
    reader = source(bucket, uri=f"s3://{bucket.name}/app/dt=%Y-%m-%d/h=%H/", late="0s")
    assert ids(read(reader)) == ["a"]
    assert listings(proxy)[0] in {"app/dt=2026-11-24/h=10/", "app/dt%3D2026-11-24/h%3D10/"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("_app/.v1/h=%H/", ["_app/.v1/h=10/a", "_app/.v1/h=10/b/c_1"]),
        ("_app/_%H", ["_app/_10.a", "_app/_10/b", "_app/_10_c"]),
        ("%H", ["10.a", "10/b", "10_c"]),
    ],
)
def test_what_is_hidden_below_the_hour_is_not_read(
    bucket: TestBucket, pattern: str, names: list[str]
) -> None:
    """As by Spark, Hive and Arrow; what begins in the configured pattern is meant."""
    hour = f"{TEN:{pattern}}".rstrip("/")
    for name in (*names, *(f"{hour}/{each}" for each in ("_SUCCESS", ".a.crc", "_temporary/0/a", "b/_c"))):
        bucket.put(name, body(name))
    reader = source(bucket, uri=f"s3://{bucket.name}/{pattern}", late="0s")
    assert ids(read(reader)) == names


def test_more_objects_than_a_page_holds_are_all_read(bucket: TestBucket, proxy: FaultyServer) -> None:
    for number in range(7):
        bucket.put(f"app/2026/11/24/10/{number}", body(str(number)))
    reader = source(bucket)
    events = reader._store._client.meta.events  # type: ignore[attr-defined]
    events.register("provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": 3})
    assert ids(read(reader)) == [str(number) for number in range(7)]
    assert listings(proxy).count("app/2026/11/24/10/") == 3


@pytest.mark.parametrize(
    "faults",
    [
        [refused(500, "InternalError")],
        [refused(503, "SlowDown"), refused(503, "SlowDown")],
        [reset_mid_body],
        [reset_mid_body, refused(500, "InternalError"), reset_mid_body, wrong_etag],
        [wrong_etag],
    ],
)
def test_what_passes_leaves_no_trace(bucket: TestBucket, proxy: FaultyServer, faults: list[Fault]) -> None:
    bucket.put("app/2026/11/24/10/a", body(*map(str, range(500))))
    bucket.put("app/2026/11/24/10/b", body("x"))
    undisturbed = read(source(bucket))
    proxy.faults.extend(faults)
    assert read(source(bucket)) == undisturbed
    assert not proxy.faults


@pytest.mark.parametrize("fault", [refused(500, "InternalError"), reset_mid_body, wrong_etag])
def test_what_does_not_pass_fails_and_names_the_object(
    bucket: TestBucket, proxy: FaultyServer, fault: Fault
) -> None:
    """Rather than judge a window of which a part is missing."""
    bucket.put("app/2026/11/24/10/a", body("a"))
    bucket.put("app/2026/11/24/10/b", body("b"))
    proxy.faults.extend([None, *[fault] * 30])
    with pytest.raises(TrafficUnavailableError, match=f"s3://{bucket.name}/app/2026/11/24/10/b"):
        read(source(bucket))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second stands for the seconds that are waited for an answer."""
    monkeypatch.setattr(s3, "_CONFIG", s3._CONFIG.merge(Config(read_timeout=0.5)))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", [silent, stalled_after(0), stalled_after(20)])
def test_an_answer_that_stalls_once_leaves_no_trace(
    bucket: TestBucket, proxy: FaultyServer, fault: Fault
) -> None:
    bucket.put("app/2026/11/24/10/a", body(*map(str, range(500))))
    undisturbed = read(source(bucket))
    proxy.faults.append(fault)
    proxy.listing_faults.append(silent)
    assert read(source(bucket)) == undisturbed
    assert not proxy.faults


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("fault", "asked", "told"),
    [
        (silent, 3, "Read timeout on endpoint URL"),
        (stalled_after(20), s3.BODY_ATTEMPTS, "Read timeout on endpoint URL"),
        (refused(503, "SlowDown"), 3, "SlowDown"),
    ],
)
def test_what_hangs_or_throttles_for_good_is_left_after_so_many_times(
    bucket: TestBucket, proxy: FaultyServer, fault: Fault, asked: int, told: str
) -> None:
    """Both ask again, boto3 where there is no answer and we where it stalls; that does not multiply."""
    bucket.put("app/2026/11/24/10/a", body("a"))
    proxy.faults.extend([fault] * 30)
    with pytest.raises(TrafficUnavailableError, match=told):
        read(source(bucket))
    assert 30 - len(proxy.faults) == asked


def test_a_name_that_does_not_resolve_is_told(bucket: TestBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://s3.invalid")
    with pytest.raises(TrafficUnavailableError, match=r"Could not connect to the endpoint URL"):
        read(source(bucket))


@pytest.mark.usefixtures("impatient")
def test_a_stop_is_noticed_before_it_is_asked_again(bucket: TestBucket, proxy: FaultyServer) -> None:
    bucket.put("app/2026/11/24/10/a", body("a"))
    proxy.faults.extend([stalled_after(20)] * 30)
    answers = iter([False, True])
    with pytest.raises(StoppedError):
        source(bucket).read_window(TEN, TEN + HOUR, k=1_000, stopped=lambda: next(answers))
    assert len(proxy.faults) == 29


def test_an_object_that_changes_between_the_list_and_its_turn_fails_the_reading(
    bucket: TestBucket, proxy: FaultyServer
) -> None:
    bucket.put("app/2026/11/24/10/a", body("a"))
    bucket.put("app/2026/11/24/10/b", body("b"))

    def change(handler: Any, answer: Any, content: bytes) -> None:  # noqa: ANN401 - as a Fault
        bucket.put("app/2026/11/24/10/b", body("other"))
        handler.send_answer(answer, content)

    proxy.faults.append(change)
    with pytest.raises(TrafficUnavailableError, match=r"PreconditionFailed"):
        read(source(bucket))
    assert ids(read(source(bucket))) == ["a", "other"]


def test_a_stop_is_noticed_while_an_object_is_fetched(bucket: TestBucket, proxy: FaultyServer) -> None:
    """After each 256 KiB, however large the object is and however slowly the rest of it comes."""
    bucket.put("app/2026/11/24/10/a", bytes(2**20))
    proxy.faults.append(stalled_after(600 * 2**10))
    answers = iter([False, True])
    with pytest.raises(StoppedError):
        source(bucket).read_window(TEN, TEN + HOUR, k=1_000, stopped=lambda: next(answers))
    assert proxy.asked[-1].startswith(f"/{bucket.name}/app/")
    assert len(proxy.asked) - len(listings(proxy)) == 1


def test_a_bucket_that_is_not_there_is_an_error_that_names_it(bucket: TestBucket) -> None:
    with pytest.raises(TrafficUnavailableError, match=r"s3://nowhere-at-all/.*NoSuchBucket") as failed:
        read(source(bucket, uri="s3://nowhere-at-all"))
    assert isinstance(failed.value.__cause__, ClientError)


def test_a_truncated_object_is_a_reject_with_its_whole_lines_counted(bucket: TestBucket) -> None:
    bucket.put("app/2026/11/24/10/a", body("a", "b")[:-6])
    found = read(source(bucket))
    assert {each.reason: each.n for each in found.traffic.rejects} == {RejectReason.TRUNCATED_OBJECT: 1}
    assert found.traffic.rejects[0].example_object == "app/2026/11/24/10/a"


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("app", "app/2026/11/24/10/a"),
        ("d=%Y-%m-%d/", "d=2026-11-24/a"),
    ],
)
def test_an_object_without_a_usable_time_counts_once_in_the_time_of_its_key(
    bucket: TestBucket, uri: str, key: str
) -> None:
    """It was last modified when it was copied, days later, and the windows of then do not list it."""
    bucket.put(key, b"not a record\n")
    reader = source(bucket, uri=f"s3://{bucket.name}/{uri}", late="0s")
    found = [read(reader, TEN + number * HOUR).traffic.n_rejected for number in range(-11, 15)]
    assert sum(found) == 1
    assert found[11 if key.startswith("app") else 24] == 1  # the nearest hour to its modification


# --- late objects ---


def late(found: WindowSample) -> list[tuple[int, str]]:
    reasons = RejectReason.LATE_OBJECT
    return [(each.n, each.example_object) for each in found.traffic.rejects if each.reason is reasons]


class Ledger:
    """What each window has read, as the database would say it."""

    def __init__(self) -> None:
        self._by_end: dict[datetime, tuple[datetime, frozenset[ObjectVersion]]] = {}

    def keep(self, found: WindowSample, start: datetime, *, hours: int = 1) -> None:
        self._by_end[start + hours * HOUR] = start, frozenset(found.traffic.objects)

    def __call__(self, window_end: datetime) -> tuple[datetime, frozenset[ObjectVersion]] | None:
        return self._by_end.get(window_end)


def test_an_object_that_comes_after_its_window_was_read_is_counted_in_the_next(bucket: TestBucket) -> None:
    """In its own hour, or in the next one with records of the hour before; none is counted as a reject."""
    ledger = Ledger()
    bucket.put("app/2026/11/24/10/a", body("a"))
    ledger.keep(read(source(bucket, ledger)), TEN)
    bucket.put("app/2026/11/24/10/b", body("b"))
    bucket.put("app/2026/11/24/11/c", body("c") + body("d", at=TEN + HOUR))
    found = read(source(bucket, ledger), TEN + HOUR)
    assert late(found) == [(2, "app/2026/11/24/10/b")]
    assert (ids(found), found.traffic.n_rejected) == (["d"], 0)


def test_an_object_that_was_written_anew_is_late_too(bucket: TestBucket) -> None:
    ledger = Ledger()
    bucket.put("app/2026/11/24/10/a", body("a"))
    ledger.keep(read(source(bucket, ledger)), TEN)
    bucket.put("app/2026/11/24/10/a", body("a", "b"))
    assert late(read(source(bucket, ledger), TEN + HOUR)) == [(1, "app/2026/11/24/10/a")]


def test_nothing_is_late_for_a_window_that_no_cycle_has_read(bucket: TestBucket) -> None:
    bucket.put("app/2026/11/24/10/b", body("b"))
    assert late(read(source(bucket, Ledger()), TEN + HOUR)) == []


def test_what_was_read_in_time_is_not_late(bucket: TestBucket) -> None:
    ledger = Ledger()
    bucket.put("app/2026/11/24/10/a", body("a"))
    bucket.put("app/2026/11/24/11/b", body("b"))
    first = read(source(bucket, ledger))
    ledger.keep(first, TEN)
    assert ids(first) == ["a", "b"]
    assert late(read(source(bucket, ledger), TEN + HOUR)) == []


def test_objects_are_late_for_the_window_before_however_many_slots_each_window_has(
    bucket: TestBucket,
) -> None:
    """The window before is as the ledger has it, not as long as this one."""
    ledger = Ledger()
    for hour in (10, 11):
        bucket.put(f"app/2026/11/24/{hour}/a", body(f"a-{hour}", at=TEN + (hour - 10) * HOUR))
    ledger.keep(
        source(bucket, ledger).read_window(TEN, TEN + 2 * HOUR, k=9, stopped=never_stopped), TEN, hours=2
    )
    bucket.put("app/2026/11/24/10/b", body("late in the first slot of two"))
    assert late(read(source(bucket, ledger), TEN + 2 * HOUR)) == [(1, "app/2026/11/24/10/b")]

    ledger.keep(read(source(bucket, ledger), TEN + 2 * HOUR), TEN + 2 * HOUR)
    merged = source(bucket, ledger).read_window(TEN + 3 * HOUR, TEN + 6 * HOUR, k=9, stopped=never_stopped)
    assert late(merged) == []
