"""A window's sample from real files: plain, compressed, broken, in any order."""

import bz2
import errno
import gzip
import io
import json
import os
import tarfile
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.records import Reject
from db.states import RejectReason
from monitor.settings import FilesTraffic
from monitor.sources.formats.lines import MAX_LINE_BYTES
from monitor.sources.objects import ObjectsSource
from monitor.sources.port import WindowSample
from monitor.sources.stores.folder import Folder
from monitor.sources.stores.port import TrafficMissingError, TrafficObject, TrafficUnavailableError
from monitor.sources.survey import survey
from monitor.stop import Stopped, StoppedError, never_stopped
from monitor.storage.zstandard import zstd

LABELS = ("faq", "promotion")
TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)
ELEVEN = TEN + timedelta(hours=1)
BROKEN = b"not a record"


def record(request_id: str, minutes: float = 0, **fields: object) -> dict[str, object]:
    """A record `minutes` after ten."""
    time = (TEN + timedelta(minutes=minutes)).isoformat()
    return {"id": request_id, "time": time, "text": f"text of {request_id}", **fields}


def lines(*rows: dict[str, object] | bytes) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def source(uri: Path, **names: object) -> ObjectsSource:
    section = FilesTraffic.model_validate({"uri": uri, **names})
    return ObjectsSource(Folder(uri=section.uri), section, LABELS)


def read(uri: Path, *, k: int = 100, start: datetime = TEN, end: datetime = ELEVEN) -> WindowSample:
    return source(uri).read_window(start, end, k=k, stopped=never_stopped)


def ids(sample: WindowSample) -> list[str]:
    return sorted(request.id for request in sample.requests)


def counts(sample: WindowSample) -> dict[RejectReason, int]:
    return {reject.reason: reject.n for reject in sample.traffic.rejects}


def modified(path: Path, time: datetime) -> None:
    os.utime(path, (time.timestamp(), time.timestamp()))


def test_a_window_has_the_records_from_its_start_to_before_its_end(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(
        lines(record("a", -0.001), record("b"), record("c", 59.999), record("d", 60))
    )
    sample = read(tmp_path)
    assert ids(sample) == ["b", "c"]
    assert (sample.traffic.n_seen, sample.traffic.n_sampled, sample.traffic.n_rejected) == (2, 2, 0)
    assert counts(sample) == {RejectReason.OUTSIDE_WINDOW: 2}


def test_a_record_counts_as_one_of_another_window_in_each_cycle_that_reads_it(tmp_path: Path) -> None:
    """So says the cookbook: the sum over cycles is not a number of records."""
    (tmp_path / "log.jsonl").write_bytes(lines(*(record(f"{hour}", 60 * hour) for hour in range(5))))
    hours = [TEN + timedelta(hours=hour) for hour in range(5)]
    found = [read(tmp_path, start=start, end=start + timedelta(hours=1)) for start in hours]
    assert [sample.traffic.n_seen for sample in found] == [1] * 5
    assert sum(counts(sample)[RejectReason.OUTSIDE_WINDOW] for sample in found) == 20


def test_a_folder_is_read_with_its_subfolders_and_without_hidden_and_temporary_files(tmp_path: Path) -> None:
    """Hidden for Spark, Hive and Arrow: by `_` too. What the log's own uri is called plays no part."""
    read_ones = ("a.jsonl", "b/c/d.log", "c_1/e_2", "no-suffix")
    hidden = (".hidden", ".git/e", "b/.f", "b/.h/i", "_SUCCESS", "_temporary/0/a.jsonl", "b/_j")
    folder = tmp_path / "_raw" / ".log"
    for name in (*read_ones, *hidden, "g.jsonl.tmp"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(lines(record(name)))
    assert ids(read(folder)) == list(read_ones)


def test_a_single_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / ".log.tmp"
    path.write_bytes(lines(record("a"), BROKEN))
    sample = read(path)
    assert ids(sample) == ["a"]
    assert sample.traffic.rejects[0].example_object == ".log.tmp"


def test_a_missing_log_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrafficMissingError, match=r"nowhere: create the folder .* 'uri' in \[traffic\]"):
        read(tmp_path / "nowhere")


def test_an_empty_folder_or_window_has_nothing_and_is_no_error(tmp_path: Path) -> None:
    assert read(tmp_path).traffic.n_seen == 0
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "blank").write_bytes(b"\n\r\n  \n")
    assert read(tmp_path) == WindowSample(requests=(), of_strata=(), traffic=read(tmp_path).traffic)
    assert read(tmp_path).traffic.rejects == ()


def zstd_in_two_frames(content: bytes) -> bytes:
    return zstd.compress(content[:50]) + zstd.compress(content[50:])


def gzip_in_members(content: bytes) -> bytes:
    return b"".join(gzip.compress(content[at : at + 7]) for at in range(0, len(content), 7))


@pytest.mark.parametrize(
    "pack",
    [
        lambda content: content,
        lambda content: content.rstrip(b"\n"),
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content.replace(b"\n", b"\n\n \n"),
        gzip.compress,
        gzip_in_members,
        lambda content: gzip.compress(content) + b"\0" * 200_000 + gzip.compress(b""),
        zstd.compress,
        zstd_in_two_frames,
    ],
)
def test_the_same_lines_give_the_same_sample_however_they_are_packed(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    """Concatenated members, zero padding, CRLF, a byte order mark, blank lines, no last line feed."""
    content = lines(*(record(str(number), number % 90) for number in reversed(range(2_700))))
    (tmp_path / "plain").mkdir()
    (tmp_path / "packed").mkdir()
    (tmp_path / "plain" / "log").write_bytes(content)
    (tmp_path / "packed" / "log").write_bytes(pack(content))
    plain, packed = read(tmp_path / "plain"), read(tmp_path / "packed")
    assert packed.requests == plain.requests
    assert packed.traffic.n_seen == 1_800
    assert counts(packed) == counts(plain) == {RejectReason.OUTSIDE_WINDOW: 900}


def test_the_sample_depends_on_the_ids_alone(tmp_path: Path) -> None:
    """Not on the order of the lines or on how they are spread over files; another key draws another one."""
    rows = [record(str(number), number % 60) for number in range(1_000)]
    (tmp_path / "one").write_bytes(lines(*rows))
    (tmp_path / "many").mkdir()
    for shard in range(7):
        (tmp_path / "many" / str(shard)).write_bytes(lines(*rows[::-1][shard::7]))
    one, many = read(tmp_path / "one", k=100), read(tmp_path / "many", k=100)
    assert one.requests == many.requests
    assert (one.traffic.n_seen, one.traffic.n_sampled) == (1_000, 100)
    other = source(tmp_path / "one", key="other").read_window(TEN, ELEVEN, k=100, stopped=never_stopped)
    assert set(other.requests) != set(one.requests)


def test_an_id_that_comes_twice_counts_once_with_its_earliest_record(tmp_path: Path) -> None:
    rows = [record("a", 5, text="late"), record("a", 1, text="z"), record("a", 1, text="b"), record("b", 7)]
    for order in (rows, rows[::-1]):
        (tmp_path / "log").write_bytes(lines(*order))
        sample = read(tmp_path)
        assert sample.traffic.n_seen == 2
        assert sorted(request.text for request in sample.requests) == ["b", "text of b"]


def test_an_id_of_two_windows_counts_in_each(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(lines(record("a", 5), record("a", 65)))
    assert ids(read(tmp_path)) == ids(read(tmp_path, start=ELEVEN, end=ELEVEN + timedelta(hours=1))) == ["a"]


def test_rejects_are_counted_by_reason_with_the_first_example(tmp_path: Path) -> None:
    """The hash is that of the raw line, the object a path inside the folder, the reasons in their order."""
    (tmp_path / "b").mkdir()
    no_text: dict[str, object] = {"id": "x", "time": TEN.isoformat()}
    (tmp_path / "b" / "1").write_bytes(lines(record("a"), BROKEN, no_text))
    (tmp_path / "b" / "2").write_bytes(lines(record("b"), b"neither is this"))
    assert read(tmp_path).traffic.rejects == (
        Reject(
            reason=RejectReason.NOT_JSON,
            n=2,
            example_hash=sha256(BROKEN).hexdigest(),
            example_object="b/1",
        ),
        Reject(
            reason=RejectReason.NO_TEXT,
            n=1,
            example_hash=sha256(json.dumps(no_text).encode()).hexdigest(),
            example_object="b/1",
        ),
    )
    assert read(tmp_path).traffic.n_rejected == 3


@pytest.mark.parametrize(
    ("rows", "n_rejected"),
    [
        ([record("a", 5), BROKEN], 1),
        ([record("a", -5), BROKEN], 0),
        ([record("a", -5), BROKEN, record("b", 5)], 0),
        ([record("a", 5), BROKEN, record("b", 65)], 1),
        ([BROKEN, BROKEN, record("a", 5), record("b", 65)], 2),
        ([BROKEN, record("a", 65), record("b", 5)], 0),
        ([record("", 5)], 1),
        ([record("", 65)], 0),
        ([record("", 65), BROKEN], 0),
        ([record("a", 65), record("", 5), BROKEN], 2),
        ([BROKEN, record("", 5)], 2),
    ],
)
def test_a_refused_record_belongs_to_the_window_of_its_time_or_of_the_last_time_before_it(
    tmp_path: Path, rows: list[dict[str, object] | bytes], n_rejected: int
) -> None:
    """At the start of a file: of the first time after it. Records without an id have a usable time too."""
    (tmp_path / "log").write_bytes(lines(*rows))
    assert read(tmp_path).traffic.n_rejected == n_rejected


def test_a_file_without_any_usable_time_belongs_to_the_window_in_which_it_was_modified(
    tmp_path: Path,
) -> None:
    (tmp_path / "log").write_bytes(lines(BROKEN, BROKEN))
    for minutes, n_rejected in ((-1, 0), (0, 2), (59, 2), (60, 0)):
        modified(tmp_path / "log", TEN + timedelta(minutes=minutes))
        assert read(tmp_path).traffic.n_rejected == n_rejected


def test_a_file_without_any_usable_time_is_seen_in_the_windows_before_its_modification(
    tmp_path: Path,
) -> None:
    """It may have their records: written whole at the end of the hour, or copied later."""
    (tmp_path / "log").write_bytes(lines(BROKEN, BROKEN))
    (tmp_path / "empty").write_bytes(b"")
    bad_time: dict[str, object] = {"id": "x", "time": "yesterday", "text": "no time"}
    (tmp_path / "times").write_bytes(lines(bad_time))
    for path in tmp_path.iterdir():
        modified(path, ELEVEN + timedelta(minutes=1))
    reader = source(tmp_path)  # one reader for all: what it remembers must not matter
    found = {}
    for hour in (-1, 0, 1, 2, 0):
        start = TEN + timedelta(hours=hour)
        sample = reader.read_window(start, start + timedelta(hours=1), k=9, stopped=never_stopped)
        found[hour] = (counts(sample), sample.traffic.n_rejected)
    before = ({RejectReason.UNDATED_OBJECT: 2}, 0)
    own = ({RejectReason.NOT_JSON: 2, RejectReason.BAD_TIME: 1}, 3)
    assert found == {-1: before, 0: before, 1: own, 2: ({}, 0)}


def test_a_broken_file_does_not_lend_its_times_to_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "1").write_bytes(lines(record("a", 5)))
    (tmp_path / "2").write_bytes(lines(BROKEN))
    modified(tmp_path / "2", ELEVEN)
    assert read(tmp_path).traffic.n_rejected == 0


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_the_whole_lines_of_a_truncated_file_count_and_then_the_file_is_a_reject(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    rows = [record(os.urandom(8).hex(), 5) for _ in range(20_000)]
    packed = pack(lines(*rows))
    (tmp_path / "1.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "2").write_bytes(lines(record("after", 6)))
    sample = read(tmp_path, k=30_000)
    assert counts(sample) == {RejectReason.TRUNCATED_OBJECT: 1}
    found = ids(sample)
    assert 5_000 < len(found) < 20_000
    assert "after" in found
    assert set(found) - {"after"} == {row["id"] for row in rows[: len(found) - 1]}


def test_a_truncated_file_belongs_to_the_window_of_its_last_time(tmp_path: Path) -> None:
    (tmp_path / "log.gz").write_bytes(gzip.compress(lines(record("a", 65)))[:-4])
    modified(tmp_path / "log.gz", TEN)
    assert counts(read(tmp_path)) == {RejectReason.OUTSIDE_WINDOW: 1}
    (tmp_path / "log.gz").write_bytes(gzip.compress(lines(record("a", 65)))[:12])
    modified(tmp_path / "log.gz", TEN)
    assert counts(read(tmp_path)) == {RejectReason.TRUNCATED_OBJECT: 1}


def damaged_link(folder: Path) -> Path:
    path = folder / "log"
    path.symlink_to(folder / "gone")
    return path


def link_to_itself(folder: Path) -> Path:
    path = folder / "log"
    path.symlink_to(path)
    return path


def pipe(folder: Path) -> Path:
    path = folder / "log"
    os.mkfifo(path)
    return path


def wrong_checksum(folder: Path) -> Path:
    content = bytearray(gzip.compress(lines(record("a", 5))))
    content[-8] ^= 1
    (folder / "log").write_bytes(content)
    return folder / "log"


def bzip2(folder: Path) -> Path:
    (folder / "log").write_bytes(bz2.compress(lines(record("a", 5))))
    return folder / "log"


def tar_in_gzip(folder: Path) -> Path:
    content = lines(record("a", 5))
    with tarfile.open(folder / "log", mode="w:gz") as file:
        entry = tarfile.TarInfo("log.jsonl")
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))
    return folder / "log"


def garbage_after_gzip(folder: Path) -> Path:
    (folder / "log").write_bytes(gzip.compress(b"\n") + b"no gzip member at all")
    return folder / "log"


@pytest.mark.parametrize(
    "make",
    [damaged_link, link_to_itself, pipe, wrong_checksum, garbage_after_gzip, bzip2, tar_in_gzip],
    ids=lambda make: make.__name__,
)
def test_an_unreadable_file_is_a_reject_and_stops_nothing(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    os.utime(path, (TEN.timestamp(), TEN.timestamp()), follow_symlinks=False)
    (tmp_path / "other").write_bytes(lines(record("b", 6)))
    sample = read(tmp_path)
    assert counts(sample)[RejectReason.UNREADABLE_OBJECT] == 1
    assert "b" in ids(sample)


@pytest.mark.parametrize("closed", ["logs", "logs/part", "logs/part/log"])
def test_nothing_is_judged_while_a_part_of_the_log_may_not_be_read(closed: str) -> None:
    """The log's folder, a folder in it, or a file: the cycle fails with the path, and is retried."""
    with tempfile.TemporaryDirectory() as name, without_root_rights(Path(name)):
        folder = Path(name) / "logs"
        (folder / "part").mkdir(parents=True)
        (folder / "part" / "log").write_bytes(lines(record("b", 6)))
        (folder / "log").write_bytes(lines(record("a", 6)))
        path = Path(name) / closed
        mode = path.stat().st_mode
        path.chmod(0o000)
        try:
            with pytest.raises(TrafficUnavailableError) as failed:
                read(folder)
            with pytest.raises(TrafficUnavailableError):
                survey(FilesTraffic(uri=folder))
        finally:
            path.chmod(mode)
        assert f"request log at {path} cannot be read now (Permission denied)" in str(failed.value)
        assert ids(read(folder)) == ["a", "b"]


def test_a_log_below_a_folder_that_is_closed_is_not_called_missing() -> None:
    with tempfile.TemporaryDirectory() as name, without_root_rights(Path(name)):
        (Path(name) / "var").mkdir()
        (Path(name) / "var" / "log").write_bytes(lines(record("a", 6)))
        (Path(name) / "var").chmod(0o000)
        try:
            with pytest.raises(TrafficUnavailableError, match="Permission denied"):
                read(Path(name) / "var" / "log")
        finally:
            (Path(name) / "var").chmod(0o700)


class FailingFolder(Folder):
    """A folder of files whose end the disk does not give."""

    def open(self, each: TrafficObject, _stopped: Stopped = never_stopped, /) -> BinaryIO:
        return cast("BinaryIO", FailingDisk(Path(each.address).read_bytes()))


class FailingDisk(io.RawIOBase):
    """A file whose second piece the disk does not give."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        if self._content.tell():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._content.read(min(size, 2**14))

    def readable(self) -> bool:
        return True


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_disk_that_fails_in_the_middle_of_a_file_is_not_a_damaged_file(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    content = pack(lines(*(record(os.urandom(20).hex(), 6) for _ in range(2_000))))
    (tmp_path / "log").write_bytes(content)
    failing = ObjectsSource(FailingFolder(uri=tmp_path), FilesTraffic(uri=tmp_path), LABELS)
    with pytest.raises(TrafficUnavailableError, match=r"log cannot be read now \(Input/output error\)"):
        failing.read_window(TEN, ELEVEN, k=10, stopped=never_stopped)


@contextmanager
def without_root_rights(folder: Path) -> Iterator[None]:
    """Root may read everything, so its process becomes nobody for a while, who owns the folder."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    os.chown(folder, nobody, nobody)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_name_that_is_not_utf_8_is_shown_with_its_bytes_escaped(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.jsonl"
    with open(path, "wb") as file:  # noqa: PTH123 - a path of bytes
        file.write(lines(record("a"), BROKEN))
    assert read(tmp_path).traffic.rejects[0].example_object == "caf\\xe9.jsonl"


def test_a_huge_line_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    """Also when it is a megabyte of gzip that becomes a gigabyte: here 130 kB become 128 MiB."""
    huge = b"x" * (8 * MAX_LINE_BYTES)
    (tmp_path / "log.gz").write_bytes(
        gzip.compress(lines(record("a", 5), huge, record("b", 6)), compresslevel=9)
    )
    digest = sha256(huge).hexdigest()
    del huge
    tracemalloc.start()
    try:
        sample = read(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 5 * MAX_LINE_BYTES
    finally:
        tracemalloc.stop()
    assert ids(sample) == ["a", "b"]
    assert counts(sample) == {RejectReason.TEXT_TOO_LONG: 1}
    assert sample.traffic.rejects[0].example_hash == digest


def test_a_huge_last_line_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(lines(record("a", 5)) + b"x" * (MAX_LINE_BYTES + 2**20))
    assert counts(read(tmp_path)) == {RejectReason.TEXT_TOO_LONG: 1}


def test_a_long_log_is_read_in_bounded_memory(tmp_path: Path) -> None:
    """What grows is 8 bytes per record, for the count of distinct ids."""
    content = lines(*(record(str(number), number % 60) for number in range(60_000)))
    (tmp_path / "log.gz").write_bytes(gzip.compress(content, compresslevel=1))
    tracemalloc.start()
    try:
        read(tmp_path, k=10)
        assert tracemalloc.get_traced_memory()[1] < 4 * 2**20 < len(content)
    finally:
        tracemalloc.stop()


def test_reading_stops_on_request(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(lines(*(record(str(number)) for number in range(20_000))))
    asked = Counter[str]()

    def stopped() -> bool:
        asked["times"] += 1
        return asked["times"] > 2

    with pytest.raises(StoppedError, match="nothing was written"):
        source(tmp_path).read_window(TEN, ELEVEN, k=10, stopped=stopped)
    assert asked["times"] == 3


def naive_counts(
    files: Iterable[list[tuple[str, int | None]]], start: int, end: int
) -> dict[RejectReason, int]:
    """The rule of attribution, spelled out over minutes after ten."""
    expected = Counter[RejectReason]()
    for rows in files:
        times = [minute for _, minute in rows]
        for place, (kind, minute) in enumerate(rows):
            before = [time for time in times[:place] if time is not None][-1:]
            after = [time for time in times[place:] if time is not None][:1]
            own = [minute] if minute is not None else (before or after or [0])
            inside = start <= own[0] < end
            if kind == "good" and not inside:
                expected[RejectReason.OUTSIDE_WINDOW] += 1
            if kind != "good" and inside:
                expected[RejectReason.NO_ID if kind == "no id" else RejectReason.NOT_JSON] += 1
    return dict(expected)


MINUTES = st.integers(-90, 150)
ROWS = st.lists(
    st.tuples(st.just("good"), MINUTES) | st.tuples(st.just("no id"), MINUTES) | st.just(("broken", None)),
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(ROWS, min_size=1, max_size=3), st.lists(MINUTES, min_size=2, max_size=5, unique=True))
def test_what_one_source_reads_window_by_window_is_what_a_new_one_reads_and_what_the_rule_says(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[str, int | None]]], bounds: list[int]
) -> None:
    """Files that are remembered as lying elsewhere give the very same rejects; mtime is ten."""
    folder = tmp_path_factory.mktemp("log")
    for number, rows in enumerate(files):
        path = folder / str(number)
        path.write_bytes(
            lines(
                *(
                    BROKEN
                    if minute is None
                    else record("" if kind == "no id" else f"{number}-{place}", minute)
                    for place, (kind, minute) in enumerate(rows)
                )
            )
        )
        modified(path, TEN)
    long_lived = source(folder)
    for start, end in (*pairwise(sorted(bounds)), *pairwise(sorted(bounds))):
        window = (TEN + timedelta(minutes=start), TEN + timedelta(minutes=end))
        sample = long_lived.read_window(*window, k=100, stopped=never_stopped)
        assert sample == read(folder, start=window[0], end=window[1])
        assert counts(sample) == naive_counts(files, start, end)


def test_a_file_that_lay_elsewhere_is_read_again_when_it_has_grown(tmp_path: Path) -> None:
    long_lived = source(tmp_path)
    (tmp_path / "log").write_bytes(lines(record("a", -5)))
    assert long_lived.read_window(TEN, ELEVEN, k=10, stopped=never_stopped).requests == ()
    with (tmp_path / "log").open("ab") as file:
        file.write(lines(record("b", 5)))
    sample = long_lived.read_window(TEN, ELEVEN, k=10, stopped=never_stopped)
    assert ids(sample) == ["b"]
    assert counts(sample) == {RejectReason.OUTSIDE_WINDOW: 1}


def test_a_file_that_lies_elsewhere_is_opened_once(tmp_path: Path) -> None:
    """Before the window as well as after it; `stopped` is asked at each piece that is read."""
    for name, minutes in (("before", -5), ("inside", 5), ("after", 65)):
        (tmp_path / name).write_bytes(lines(record(name, minutes)))
    pieces = Counter[str]()

    def stopped() -> bool:
        pieces["read"] += 1
        return False

    long_lived = source(tmp_path)
    first = long_lived.read_window(TEN, ELEVEN, k=10, stopped=stopped)
    assert pieces["read"] == 3
    assert long_lived.read_window(TEN, ELEVEN, k=10, stopped=stopped) == first
    assert pieces["read"] == 4
