"""Files of true labels, as people and tools write them."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from monitor.labels.files import GivenLabel, LabelsFileError, Malformed, read_labels
from monitor.storage.zstandard import zstd

ROWS = (("r-1", "faq"), ("17", "promotion"), ('où, "☕"', "faq"))
GIVEN = [GivenLabel(request_id=request_id, label=label) for request_id, label in ROWS]


def read(path: Path, *, id_name: str = "id", label_name: str = "label") -> list[GivenLabel | Malformed]:
    return list(
        read_labels(path, id_name=id_name, label_name=label_name, progress=lambda _done, _total: None)
    )


def read_content(folder: Path, content: bytes, name: str = "labels.jsonl") -> list[GivenLabel | Malformed]:
    (folder / name).write_bytes(content)
    return read(folder / name)


def json_lines() -> bytes:
    return b"".join(json.dumps({"id": one, "label": two, "by": "ann"}).encode() + b"\n" for one, two in ROWS)


def csv_lines() -> bytes:
    quoted = (f'"{one.replace(chr(34), chr(34) * 2)}",ann,{two}\r\n' for one, two in ROWS)
    return ("id,by,label\r\n" + "".join(quoted)).encode()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd.compress], ids=["plain", "gzip", "zstandard"])
@pytest.mark.parametrize("name", ["labels.jsonl", "labels.csv"])
def test_a_file_may_be_json_lines_or_csv_and_compressed(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    content = csv_lines() if name.endswith(".csv") else json_lines()
    name += {gzip.compress: ".gz", zstd.compress: ".zst"}.get(pack, "")
    assert read_content(tmp_path, pack(content), name) == GIVEN


def test_a_byte_order_mark_and_line_feeds_in_a_cell_are_no_hindrance(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid,note,label\nr-1,"two\nlines",faq\nr-2,x,\n'
    assert read_content(tmp_path, content, "labels.csv") == [
        GivenLabel(request_id="r-1", label="faq"),
        Malformed(line=4, problem="no label"),
    ]


def test_the_fields_may_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"rid": 7, "intent": "faq", "id": "no", "label": "no"}\n')
    assert read(tmp_path / "a.jsonl", id_name="rid", label_name="intent") == [
        GivenLabel(request_id="7", label="faq")
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"r-1,faq", "no JSON object"),
        (b'["r-1", "faq"]', "no JSON object"),
        (b'{"id": "r-1", "label": "caf\xe9"}', "invalid UTF-8"),
        (b'{"id": "r-1"', "no JSON object"),
        (b'{"label": "faq"}', "no id"),
        (b'{"id": "", "label": "faq"}', "no id"),
        (b'{"id": true, "label": "faq"}', "no id"),
        (b'{"id": 1.5, "label": "faq"}', "no id"),
        (b'{"id": "r-1"}', "no label"),
        (b'{"id": "r-1", "label": null}', "no label"),
        (b'{"id": "r-1", "label": 3}', "no label"),
        (b'{"id": "r-1", "label": " "}', "no label"),
    ],
)
def test_a_row_without_an_id_or_a_label_is_malformed_with_its_line(
    tmp_path: Path, line: bytes, problem: str
) -> None:
    assert read_content(tmp_path, b"\n" + line + b'\n{"id": "r-2", "label": "faq"}') == [
        Malformed(line=2, problem=problem),
        GivenLabel(request_id="r-2", label="faq"),
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [(b"r-1", "no label"), (b",faq", "no id"), (b"r-\xe9,faq", "invalid UTF-8")],
    ids=["short", "no id", "not UTF-8"],
)
def test_a_malformed_row_of_a_csv_is_told_with_its_line(tmp_path: Path, row: bytes, problem: str) -> None:
    assert read_content(tmp_path, b"id,label\n" + row + b"\nr-2,faq", "a.csv") == [
        Malformed(line=2, problem=problem),
        GivenLabel(request_id="r-2", label="faq"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"id,label\rr-1,faq\rr-2,refund\r",
        b"id;label\nr-1;faq\nr-2;refund\n",
        b"id\ttext\tlabel\nr-1\t\tfaq\nr-2\ta, b; c\trefund\n",
        b"id, label\nr-1, faq\nr-2, refund\n",
        b"\xef\xbb\xbf\n\nid,label\nr-1,faq\nr-2,refund\n",
    ],
    ids=["CR", "semicolon", "tab", "blanks", "blank lines first"],
)
def test_a_csv_of_any_spreadsheet_is_read(tmp_path: Path, content: bytes) -> None:
    assert read_content(tmp_path, content, "a.csv") == [
        GivenLabel(request_id="r-1", label="faq"),
        GivenLabel(request_id="r-2", label="refund"),
    ]


def test_a_quote_that_is_never_closed_is_no_label(tmp_path: Path) -> None:
    """It takes the rest of the file, and is reported with its line."""
    first, second = read_content(tmp_path, b'\nid,label\nr-1,faq\nr-2,"faq\nr-3,refund\n', "a.csv")
    assert first == GivenLabel(request_id="r-1", label="faq")
    assert second == Malformed(line=4, problem="invalid CSV (unexpected end of data)")


def test_an_error_of_a_header_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LabelsFileError) as refused:
        read_content(tmp_path, b'"name\nof it",label\n1,faq\n', "a.csv")
    assert str(refused.value).endswith(
        "it has no column 'id'; name it with --id or --label; it has name of it, label."
    )


def tar(content: bytes, mode: Literal["w", "w:gz", "w:xz"] = "w") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        entry = tarfile.TarInfo("labels.jsonl")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("labels.jsonl", content)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("pack", "problem"),
    [
        (bz2.compress, "it is bzip2"),
        (lzma.compress, "it is xz"),
        (zipped, "it is a zip archive or a workbook"),
        (tar, "it is a tar archive"),
        (partial(tar, mode="w:gz"), "it is a tar archive"),
    ],
)
@pytest.mark.parametrize("name", ["labels.jsonl", "labels.csv"])
def test_a_container_that_is_not_read_is_named(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes], problem: str
) -> None:
    with pytest.raises(LabelsFileError) as refused:
        read_content(tmp_path, pack(json_lines()), name)
    expected = f"{problem}; only plain, gzip and zstandard files of lines are read."
    assert str(refused.value).endswith(f"cannot be read: {expected}")


def test_labels_come_from_a_pipe_and_from_the_standard_input() -> None:
    for number in (None, 0):
        readable, writable = os.pipe()
        os.write(writable, json_lines())
        os.close(writable)
        before = os.dup(0)
        os.dup2(readable, 0)
        try:
            assert read(Path("-") if number == 0 else Path(f"/dev/fd/{readable}")) == GIVEN
        finally:
            os.dup2(before, 0)
            os.close(before)
            os.close(readable)


@pytest.mark.parametrize("header", [b"id,label,label", b"id,label,id", b"label;id;label"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, header: bytes) -> None:
    """Which of them is meant is not for the last one to say."""
    with pytest.raises(LabelsFileError, match=r"it has 2 columns '(id|label)'; rename all but one"):
        read_content(tmp_path, header + b"\nr-1,faq,refund\n", "a.csv")
    assert read_content(tmp_path, b"id,x,x,label\nr-1,1,2,faq\n", "a.csv") == GIVEN[:1]


def test_a_long_header_is_cut(tmp_path: Path) -> None:
    with pytest.raises(LabelsFileError) as refused:
        read_content(tmp_path, b"x" * 100_000 + b",label\n1,faq\n", "a.csv")
    assert str(refused.value).endswith("xxx….")
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'[{"id": "r-1", "label": "faq"}]', "a JSON array instead of one object a line"),
        (b'[\n{"id": "r-1", "label": "faq"}\n]', "a JSON array instead of one object a line"),
        ('{"id": "r-1", "label": "faq"}'.encode("utf-16"), "UTF-16 instead of UTF-8"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    assert read_content(tmp_path, content)[0] == Malformed(line=1, problem=problem)


def test_a_csv_without_the_column_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(LabelsFileError, match=r"no column 'id'; name it with --id .* it has rid, label\.$"):
        read_content(tmp_path, b"rid,label\n1,faq\n", "a.csv")


def test_a_field_that_is_too_long_for_a_csv_is_one_malformed_row(tmp_path: Path) -> None:
    first, second = read_content(tmp_path, b"id,label\nr," + b"x" * 2**25 + b"\nr-2,faq\n", "a.csv")
    assert isinstance(first, Malformed)
    assert (first.line, second) == (2, GivenLabel(request_id="r-2", label="faq"))


@pytest.mark.parametrize("content", [b"", b"\n\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_an_empty_file_has_no_labels_and_is_no_error(tmp_path: Path, name: str, content: bytes) -> None:
    assert read_content(tmp_path, content, name) == []


def test_a_file_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabelsFileError, match=r"The labels .*none\.jsonl cannot be read: No such file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(LabelsFileError, match="ends too early"):
        read_content(tmp_path, gzip.compress(json_lines())[:-9], "a.jsonl.gz")


def test_it_says_how_far_it_has_come(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(json_lines())
    told: list[tuple[int, int]] = []
    list(
        read_labels(
            tmp_path / "a.jsonl",
            id_name="id",
            label_name="label",
            progress=lambda done, total: told.append((done, total)),
        )
    )
    assert told[-1] == (len(json_lines()), len(json_lines()))
