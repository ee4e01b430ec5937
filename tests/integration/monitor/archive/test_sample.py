"""Archives of real files: the same bytes, whole or not at all, and every failure in one line."""

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from monitor.archive.files import expire, read, write
from monitor.archive.places import ArchiveReadError, ArchiveWriteError
from monitor.archive.sample import packed, without
from monitor.sources.request import Request
from monitor.storage.zstandard import zstd
from monitor.strata import Strata
from tests.support.processes.disks import mounts, small_disk
from tests.support.records.samples import HOUR, TEN, make_sample, same


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("n", [0, 1, 500])
def test_a_sample_is_read_as_it_was_written(tmp_path: Path, n: int) -> None:
    archive = write(tmp_path, make_sample(n))
    found = read(archive.uri, sha256=archive.sha256)
    assert same(found, make_sample(n))
    assert found.teacher_logits.shape == (n, 2)
    assert found.teacher_logits.dtype == np.float32


def test_true_labels_are_kept_where_there_are_any(tmp_path: Path) -> None:
    plain = make_sample(3)
    requests = (plain.requests[0]._replace(label="refund"), *plain.requests[1:])
    sample = replace(plain, requests=requests)
    assert same(read(write(tmp_path, sample).uri), sample)
    rows = [*map(orjson.loads, zstd.decompress(packed(sample)).splitlines())]
    assert [row.get("label") for row in rows[1:]] == ["refund", None, None]
    assert "label" not in rows[2]


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays(np.float32, (4, 2), elements=FLOATS), st.lists(st.text(min_size=1), min_size=4, max_size=4))
def test_every_float32_and_every_text_survives(
    tmp_path_factory: pytest.TempPathFactory, logits: np.ndarray, texts: list[str]
) -> None:
    requests = tuple(Request(id=text, time=TEN, text=text) for text in texts)
    sample = replace(make_sample(4), requests=requests, teacher_logits=logits, student_logits=logits[::-1])
    found = read(write(tmp_path_factory.mktemp("archive"), sample).uri)
    assert found.teacher_logits.tobytes() == logits.tobytes()
    assert same(found, sample)


def test_the_file_has_the_name_of_the_slot_and_the_documented_lines(tmp_path: Path) -> None:
    """Anyone can read it with zstdcat and jq; the uri stands whatever the working directory is."""
    archive = write(tmp_path, make_sample(2))
    path = tmp_path / "prod" / "20261124T100000Z.jsonl.zst"
    assert archive.uri == str(path.absolute())
    assert archive.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    header, first, _ = (orjson.loads(line) for line in zstd.decompress(path.read_bytes()).splitlines())
    assert header == {
        "schema": "redistill.sample/1",
        "monitor": "prod",
        "window_start": "2026-11-24T09:00:00Z",
        "window_end": "2026-11-24T10:00:00Z",
        "labels": ["faq", "promotion"],
        "teacher_version": "t" * 64,
        "student_version": "s" * 64,
        "temperature": 3.0,
        "n": 2,
        "strata": [{"student_label": None, "n_seen": 2}],
    }
    assert first.keys() == {
        "id",
        "time",
        "text",
        "text_sha256",
        "stratum",
        "weight",
        "teacher_logits",
        "student_logits",
    }
    assert (first["stratum"], first["weight"]) == (0, 1.0)
    assert first["time"] == "2026-11-24T09:59:59.999999Z"
    assert first["text_sha256"] == hashlib.sha256("où? ☕\n0".encode()).hexdigest()


def test_the_design_of_a_stratified_sample_is_kept(tmp_path: Path) -> None:
    strata = Strata(sizes=(900, 100), of=np.array([0, 1, 0, 1]))
    sample = replace(make_sample(4), strata=strata, stratum_labels=(None, "faq"))
    written = write(tmp_path, sample)
    assert same(read(written.uri), sample)
    lines = zstd.decompress(Path(written.uri).read_bytes()).splitlines()
    assert [orjson.loads(line)["weight"] for line in lines[1:]] == pytest.approx([1.8, 0.2, 1.8, 0.2])
    (_, second, *_) = sample.requests
    assert read(written.uri).strata.sizes == (900, 100)
    left = without(read(written.uri), {second.id})
    assert (left.strata.of.tolist(), left.strata.sizes) == ([0, 0, 1], (900, 100))


def test_an_archive_from_before_samples_were_stratified_is_of_a_uniform_one(tmp_path: Path) -> None:
    written = write(tmp_path, make_sample(3))
    header, *rows = map(orjson.loads, zstd.decompress(Path(written.uri).read_bytes()).splitlines())
    del header["strata"]
    for row in rows:
        del row["stratum"], row["weight"]
    Path(written.uri).write_bytes(gzip.compress(b"\n".join(map(orjson.dumps, [header, *rows]))))
    assert same(read(written.uri), make_sample(3))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"strata": []}, "one request is in none of them"),
        ({"strata": [{"student_label": None, "n_seen": 1}]}, "more requests of one than the window"),
        ({"strata": "x"}, "not an archive"),
        ({"n": 10}, "it has 3 requests, not 10"),
        ({"labels": 7}, "not an archive"),
        ({"window_end": 17}, "not an archive"),
    ],
)
def test_a_header_that_does_not_fit_its_rows_is_an_error(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    written = write(tmp_path, make_sample(3))
    header, *rows = map(orjson.loads, zstd.decompress(Path(written.uri).read_bytes()).splitlines())
    Path(written.uri).write_bytes(zstd.compress(b"\n".join(map(orjson.dumps, [header | changes, *rows]))))
    with pytest.raises(ArchiveReadError, match=problem):
        read(written.uri)


def test_the_same_sample_gives_the_same_bytes_and_replaces_itself(tmp_path: Path) -> None:
    first = write(tmp_path, make_sample())
    assert write(tmp_path, make_sample()) == first
    assert write(tmp_path, make_sample(seed=2)).sha256 != first.sha256
    assert files(tmp_path) == ["prod/20261124T100000Z.jsonl.zst"]


def test_only_the_owner_may_read_the_texts(tmp_path: Path) -> None:
    assert Path(write(tmp_path, make_sample()).uri).stat().st_mode & 0o777 == 0o600


@mounts
def test_a_full_disk_is_an_error_that_names_path_cause_and_mend_and_leaves_no_trace(tmp_path: Path) -> None:
    """An earlier archive of the slot is still whole afterwards, and writing goes on when there is room."""
    folder = tmp_path / "archive"
    with small_disk(folder, kib=64) as disk:
        earlier = write(folder, make_sample(10))
        with disk.full(), pytest.raises(ArchiveWriteError) as failed:
            write(folder, make_sample(5_000))
        assert files(folder) == ["prod/20261124T100000Z.jsonl.zst"]
        assert same(read(earlier.uri, sha256=earlier.sha256), make_sample(10))
        write(folder, make_sample(20))
    message = str(failed.value)
    assert message.startswith(f"The archive {earlier.uri} cannot be written: ")
    assert "No space left on device" in message
    assert "Free space" in message
    assert "\n" not in message


def file_in_the_way(folder: Path) -> None:
    folder.write_bytes(b"")


def folder_in_the_way(folder: Path) -> None:
    (folder / "prod" / "20261124T100000Z.jsonl.zst" / "x").mkdir(parents=True)


@pytest.mark.parametrize("obstruct", [file_in_the_way, folder_in_the_way], ids=lambda each: each.__name__)
def test_a_place_that_cannot_be_written_is_an_error_in_one_line(
    tmp_path: Path, obstruct: Callable[[Path], None]
) -> None:
    obstruct(tmp_path / "archive")
    with pytest.raises(ArchiveWriteError, match=r"prod/20261124T100000Z\.jsonl\.zst cannot be written: "):
        write(tmp_path / "archive", make_sample())
    assert [name for name in files(tmp_path) if name.endswith(".tmp")] == []


def edited(change: Callable[[list[bytes]], object]) -> Callable[[bytes], bytes]:
    def edit(content: bytes) -> bytes:
        rows = zstd.decompress(content).splitlines(keepends=True)
        change(rows)
        return zstd.compress(b"".join(rows))

    return edit


def with_another_schema(rows: list[bytes]) -> None:
    rows[0] = rows[0].replace(b"sample/1", b"sample/2")


def with_a_short_row(rows: list[bytes]) -> None:
    row = orjson.loads(rows[1])
    rows[1] = orjson.dumps(row | {"student_logits": [1.0]}) + b"\n"


def with_a_null_logit(rows: list[bytes]) -> None:
    row = orjson.loads(rows[1])
    rows[1] = orjson.dumps(row | {"student_logits": [1.0, None]}) + b"\n"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content[:-10], "it is damaged"),
        (lambda content: content[:40] + b"\xff" + content[41:], "it is damaged"),
        (lambda content: content[:-6] + b"\xff" + content[-5:], "it is damaged"),
        (lambda _content: b"", "it is damaged"),
        (lambda _content: b"no archive", "it is damaged"),
        (lambda _content: gzip.compress(b"[]")[:-3], "it is damaged"),
        (lambda _content: zstd.compress(b"[]\n"), "schema redistill.sample/1"),
        (lambda _content: zstd.compress(b"{}\n"), "schema redistill.sample/1"),
        (lambda _content: zstd.compress(b"text\n"), "schema redistill.sample/1"),
        (edited(with_another_schema), "its schema is redistill.sample/2"),
        (edited(list.pop), "it has 2 requests, not 3"),
        (edited(with_a_short_row), "schema redistill.sample/1"),
        (edited(with_a_null_logit), "not all student_logits are finite"),
    ],
)
def test_what_is_no_sound_archive_is_refused_in_one_line(
    tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    path = Path(write(tmp_path, make_sample()).uri)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArchiveReadError) as refused:
        read(str(path))
    message = str(refused.value)
    assert message.startswith(f"The archive {path} cannot be read: ")
    assert said in message
    assert "\n" not in message


def test_a_changed_archive_is_told_from_the_one_that_was_written(tmp_path: Path) -> None:
    archive = write(tmp_path, make_sample())
    write(tmp_path, make_sample(seed=2))
    with pytest.raises(ArchiveReadError, match="it was changed after it was written"):
        read(archive.uri, sha256=archive.sha256)


def test_a_missing_archive_is_an_error_that_says_why_it_may_be(tmp_path: Path) -> None:
    with pytest.raises(ArchiveReadError, match="no such file; it may have expired"):
        read(str(tmp_path / "x.jsonl.zst"))


def test_archives_expire_by_their_window_and_not_by_the_time_of_their_file(tmp_path: Path) -> None:
    """Only those of the monitor, and what a killed process left of one; other files stay."""
    uris = [write(tmp_path, make_sample(end=TEN + hours * HOUR)).uri for hours in range(4)]
    write(tmp_path, make_sample(monitor="other"))
    for name in (".20261124T100000Z.jsonl.zst.x1.tmp", ".20261124T120000Z.jsonl.zst.x2.tmp", "notes.txt"):
        (tmp_path / "prod" / name).write_bytes(b"")
    assert expire(tmp_path, "prod", before=TEN + 2 * HOUR) == tuple(uris[:2])
    assert files(tmp_path) == [
        "other/20261124T100000Z.jsonl.zst",
        "prod/.20261124T120000Z.jsonl.zst.x2.tmp",
        "prod/20261124T120000Z.jsonl.zst",
        "prod/20261124T130000Z.jsonl.zst",
        "prod/notes.txt",
    ]
    assert expire(tmp_path, "prod", before=TEN + 2 * HOUR) == ()
    assert expire(tmp_path / "nowhere", "prod", before=TEN) == ()
