"""All that goes wrong with logs, read as one window: the counts are exact, and the good records are there."""

import gzip
import json
import os
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.states import RejectReason as Why
from monitor.settings import FilesTraffic
from monitor.sources.formats.lines import MAX_LINE_BYTES
from monitor.sources.objects import ObjectsSource
from monitor.sources.port import WindowSample
from monitor.sources.stores.folder import Folder
from monitor.stop import never_stopped
from monitor.storage.zstandard import zstd

LABELS = ("faq", "promotion", "escalation")
TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
GOOD: dict[str, Any] = {"id": "r", "time": "2026-11-24T10:00:03Z", "text": "where is my order?"}


def row(**changed: Any) -> bytes:  # noqa: ANN401 - any JSON value
    return json.dumps(GOOD | changed).encode()


def lacking(name: str) -> bytes:
    return json.dumps({key: value for key, value in GOOD.items() if key != name}).encode()


NAN, INF = float("nan"), float("inf")
BAD_TIMES: list[Any] = [
    *("", "now", "2026-11-24", "2026-11-24T10:00:03", "2026-13-24T10:00:03Z", "24/11/2026 10:00"),
    *("2026-11-24T10:00:60Z", "2026-11-24T25:00:00Z", 1e18, -1e18, 1764000003000, True, [], {}),
]
BAD_LABELS: list[Any] = ["", "FAQ", "weather", 1, True, [], {}]

# fmt: off
MALFORMED: list[tuple[Why, list[bytes]]] = [
    (
        Why.NOT_UTF8,
        [b'{"id": "\xff"}', b"\x80abc", '{"text": "größe"}'.encode("latin-1"), b"\xc3(", b"\xf8\x88\x80"],
    ),
    (
        Why.NOT_JSON,
        [
            b"plain text", b"{", b"}", b"[]", b"[1, 2]", b'"a string"', b"17", b"true", b"null", b"{}{",
            b"{'id': 1}", b"{id: 1}",
            b'{"id": 1,}', b'{"id": }', b'{"id": "a" "b"}', b'{"text": "\x01"}', b'{"text": "\\x"}',
            b"[" * 100_000, b'{"a":' * 100_000, b'{"id": 1} trailing', b'{"n": 01}', b"//comment",
            row(seconds=NAN), row(nested={"a": [INF]}), b'{"text": "\\ud800"}', row()[:-1], row()[1:],
        ],
    ),
    (
        Why.NO_ID,
        [lacking("id"), *(row(id=value) for value in (None, "", True, False, 1.5, [], ["r"], {}, {"a": 1}))],
    ),
    (Why.NO_TIME, [lacking("time"), row(time=None)]),
    (Why.BAD_TIME, [row(time=value) for value in BAD_TIMES]),
    (Why.NO_TEXT, [lacking("text"), row(text=None)]),
    (Why.TEXT_NOT_STRING, [row(text=value) for value in (1, 1.5, True, [], ["hi"], {}, {"text": "hi"})]),
    (Why.TEXT_EMPTY, [row(text=value) for value in ("", " ", "\t\n", "\u3000", "\u2003")]),
    (Why.TEXT_TOO_LONG, [row(text="x" * 10_001), row(text="é" * 10_001)]),
    (Why.UNKNOWN_LABEL, [row(student_label=value) for value in BAD_LABELS]),
    (
        Why.BAD_LOGITS,
        [
            row(student_logits=value)
            for value in (
                [], [1, 2], [1, 2, 3, 4], [1, 2, NAN], [1, 2, INF], [1, 2, None], [1, 2, "3"], [1, 2, True],
                [1, 2, 1e300], "1,2,3", 7, {"faq": 1}, [[1, 2, 3]],
            )
        ],
    ),
]
# fmt: on


def good(name: str, n: int = 2) -> bytes:
    return b"".join(row(id=f"{name}-{number}") + b"\n" for number in range(n))


def broken_objects() -> Iterable[tuple[str, bytes, int, dict[Why, int]]]:
    """Name, contents, how many good records come out, and what is counted."""
    packed = gzip.compress(good("p", 2_000))
    yield "empty", b"", 0, {}
    yield "empty.gz", gzip.compress(b""), 0, {}
    yield "blank", b"\n\n \n\r\n", 0, {}
    yield "bom", b"\xef\xbb\xbf" + good("bom"), 2, {}
    yield "no-last-line-feed", good("last").rstrip(), 2, {}
    yield "crlf", good("crlf").replace(b"\n", b"\r\n"), 2, {}
    yield "header-only.gz", packed[:10], 0, {Why.TRUNCATED_OBJECT: 1}
    yield "no-trailer.gz", gzip.compress(good("cut"))[:-8], 2, {Why.TRUNCATED_OBJECT: 1}
    yield "wrong-checksum.gz", packed[:-8] + bytes(8), 0, {Why.UNREADABLE_OBJECT: 1}
    yield (
        "garbage-behind.gz",
        gzip.compress(good("then")) + b"and more that is no gzip",
        2,
        {Why.UNREADABLE_OBJECT: 1},
    )
    yield "not-really.gz", b"\x1f\x8b" + b"\xff" * 100, 0, {Why.UNREADABLE_OBJECT: 1}
    yield "not-really.zst", b"\x28\xb5\x2f\xfd" + bytes(range(255, 155, -1)), 0, {Why.UNREADABLE_OBJECT: 1}
    yield "cut.zst", zstd.compress(good("z", 2))[:-3], 0, {Why.TRUNCATED_OBJECT: 1}
    yield "utf-16", ("\n".join([row().decode()] * 2)).encode("utf-16"), 0, {Why.NOT_UTF8: 1, Why.NOT_JSON: 1}
    yield "long-line", good("long") + b"x" * (2 * MAX_LINE_BYTES) + b"\n", 2, {Why.TEXT_TOO_LONG: 1}
    yield "bomb.gz", gzip.compress(good("bomb") + bytes(128 * 2**20)), 2, {Why.OVERSIZED_OBJECT: 1}
    yield "duplicate-keys", row(id="twice")[:-1] + b', "id": "second"}\n', 1, {}
    yield "future", row(id="future", time="2126-11-24T10:00:03Z"), 0, {Why.OUTSIDE_WINDOW: 1}
    yield "past", row(id="past", time="1926-11-24T10:00:03Z"), 0, {Why.OUTSIDE_WINDOW: 1}
    yield "epoch", row(id="epoch", time=0), 0, {Why.OUTSIDE_WINDOW: 1}


def read(folder: Path) -> WindowSample:
    section = FilesTraffic(uri=folder, max_object_bytes=64 * 2**20)
    source = ObjectsSource(Folder(uri=folder), section, LABELS)
    return source.read_window(TEN, TEN + HOUR, k=100_000, stopped=never_stopped)


def write(path: Path, contents: bytes) -> None:
    path.write_bytes(contents)
    os.utime(path, (TEN.timestamp(), TEN.timestamp()))


def test_every_malformed_record_is_counted_under_its_reason(tmp_path: Path) -> None:
    lines = [line for _, lines in MALFORMED for line in lines]
    assert len(lines) >= 60
    write(tmp_path / "log", good("before") + b"\n".join(lines) + b"\n" + good("after"))
    found = read(tmp_path)
    assert {each.reason: each.n for each in found.traffic.rejects} == {
        why: len(each) for why, each in MALFORMED
    }
    assert (found.traffic.n_seen, found.traffic.n_rejected) == (4, len(lines))


@pytest.mark.parametrize(
    ("why", "line"), [(why, line) for why, lines in MALFORMED for line in lines], ids=repr
)
def test_a_malformed_record_is_counted_alone_as_well(tmp_path: Path, why: Why, line: bytes) -> None:
    write(tmp_path / "log", line + b"\n")
    assert [(each.reason, each.n) for each in read(tmp_path).traffic.rejects] == [(why, 1)]


def test_every_broken_object_is_counted_and_what_is_whole_in_it_is_used(tmp_path: Path) -> None:
    """In bounded memory: the bomb alone would be 128 MiB, the long line 32 MiB."""
    expected, n_good = Counter[Why](), 0
    for name, contents, n_whole, counted in broken_objects():
        write(tmp_path / name, contents)
        expected.update(counted)
        n_good += n_whole
    tracemalloc.start()
    found = read(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {each.reason: each.n for each in found.traffic.rejects} == dict(expected)
    assert found.traffic.n_seen == n_good
    assert peak < 80 * 2**20


SHAPES = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*GOOD, "student_label", "student_logits"]), inner, max_size=5)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {},
        optional={
            "id": st.integers() | st.text(max_size=3),
            "time": st.sampled_from([GOOD["time"], 0, "x"]) | st.floats(),
            "text": st.text(max_size=8),
            "student_label": st.sampled_from([*LABELS, "x"]),
            "student_logits": st.lists(st.floats() | st.integers(), max_size=4),
        },
    ).map(lambda value: json.dumps(value).encode()),
)
PACKED = st.sampled_from([bytes, gzip.compress, zstd.compress])


@pytest.mark.slow
@settings(suppress_health_check=list(HealthCheck), max_examples=10_000)
@given(
    objects=st.lists(
        st.tuples(st.lists(SHAPES, min_size=10, max_size=14), PACKED, st.integers(0, 9)),
        min_size=1,
        max_size=2,
    ),
    split=st.sampled_from([b"\n", b"", b"\r\n"]),
)
def test_nothing_that_a_log_may_hold_ends_a_cycle(
    tmp_path_factory: pytest.TempPathFactory, objects: list[tuple[list[bytes], Any, int]], split: bytes
) -> None:
    """10,000 folders of 10 to 28 records each; some of the objects are cut off."""
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    for number, (records, pack, damage) in enumerate(objects):
        contents = pack(split.join(records))
        cut = contents[: len(contents) * damage // 5] if damage < 5 else contents
        write(folder / str(number), cut)
    found = read(folder)
    assert found.traffic.n_sampled == found.traffic.n_seen
    assert all(each.n > 0 for each in found.traffic.rejects)
