"""Files of true labels: JSON Lines, or CSV with a header if the file name says so."""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import orjson

from db.errors import RedistillError
from monitor.sources.formats.compression import read_chunks
from monitor.sources.formats.lines import LongLine, read_lines
from monitor.sources.request import true_label
from monitor.sources.stores.port import BrokenObjectError

_CSV: Final = (".csv", ".csv.gz", ".csv.zst")
_MAX_BYTES: Final = 2**40  #: decompressed

#: Receives the number of bytes read and the size of the file.
Progress = Callable[[int, int], None]


class LabelsFileError(RedistillError):
    """The labels {path} cannot be read: {problem}."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenLabel:
    """The true label of a request, from a file."""

    request_id: str
    label: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Malformed:
    """A row of the file without a usable label."""

    line: int  #: counted from 1
    problem: str


def read_labels(
    path: Path, *, id_name: str, label_name: str, progress: Progress
) -> Iterator[GivenLabel | Malformed]:
    """Yield the content of each row, in the order of the file, which may be plain, gzip or zstandard.

    Ids are strings or whole numbers. Blank lines are skipped.

    Raises:
        LabelsFileError: the file does not exist or is damaged, or a CSV file does not have the columns.
    """
    rows = _csv_rows if path.name.lower().endswith(_CSV) else _json_rows
    try:
        with path.open("rb") as file:
            lines = read_lines(_with_progress(read_chunks(file, max_bytes=_MAX_BYTES), file, progress))
            yield from rows(lines, id_name, label_name)
    except (OSError, BrokenObjectError, _NoColumnError) as error:
        problem = error.strerror if isinstance(error, OSError) else error
        raise LabelsFileError(path=path, problem=str(problem or error).rstrip(".")) from error


class _NoColumnError(Exception):
    pass


def _with_progress(chunks: Iterable[bytes], file: IO[bytes], progress: Progress) -> Iterator[bytes]:
    size = file.seek(0, 2)
    file.seek(0)
    for chunk in chunks:
        yield chunk
        progress(file.tell(), size)


def _json_rows(
    lines: Iterable[bytes | LongLine], id_name: str, label_name: str
) -> Iterator[GivenLabel | Malformed]:
    for number, line in enumerate(lines, start=1):
        if isinstance(line, bytes) and (not line or line.isspace()):
            continue
        try:
            row = None if isinstance(line, LongLine) else orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if isinstance(row, dict):
            yield _given(number, row.get(id_name), row.get(label_name), id_name, label_name)
        else:
            yield Malformed(line=number, problem="no JSON object")


def _csv_rows(
    lines: Iterable[bytes | LongLine], id_name: str, label_name: str
) -> Iterator[GivenLabel | Malformed]:
    reader = csv.reader(_decoded(lines))
    header = next(reader, [])
    for name in (id_name, label_name):
        if header and name not in header:
            there = ", ".join(header)
            raise _NoColumnError(f"it has no column {name!r}; name it with --id or --label; it has {there}")
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except csv.Error as error:
            yield Malformed(line=number, problem=f"invalid CSV ({error})")
            continue
        except StopIteration:
            return
        if row:
            values = dict(zip(header, row, strict=False))
            yield _given(number, values.get(id_name), values.get(label_name), id_name, label_name)


def _decoded(lines: Iterable[bytes | LongLine]) -> Iterator[str]:
    """Yield lines for the CSV reader; bytes that are not UTF-8 stay recognisable and make a row malformed."""
    encoding = "utf-8-sig"
    for line in lines:
        content = line if isinstance(line, bytes) else b"\xff"
        yield content.decode(encoding, errors="surrogateescape") + "\n"
        encoding = "utf-8"


def _given(
    number: int, request_id: object, label: object, id_name: str, label_name: str
) -> GivenLabel | Malformed:
    if type(request_id) is int:
        request_id = str(request_id)
    if not isinstance(request_id, str) or not request_id:
        return Malformed(line=number, problem=f"no {id_name}")
    true = true_label(label)
    if true is None:
        return Malformed(line=number, problem=f"no {label_name}")
    if not _is_text(request_id + true):
        return Malformed(line=number, problem="invalid UTF-8")
    return GivenLabel(request_id=request_id, label=true)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
