"""Files of true labels: JSON Lines, or CSV with a header if the file name says so."""

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Final

from db.errors import RedistillError, one_line
from monitor.sources.formats.compression import read_chunks
from monitor.sources.formats.csv_text import with_line_feeds
from monitor.sources.formats.lines import LongLine, read_lines, read_objects
from monitor.sources.stores.port import BrokenObjectError
from monitor.sources.values import request_id, true_label

_CSV: Final = (".csv", ".csv.gz", ".csv.zst")
_DELIMITERS: Final = (",", ";", "\t")
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
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
            chunks = _with_progress(read_chunks(file, max_bytes=_MAX_BYTES), file, progress)
            yield from rows(chunks, id_name, label_name)
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


def _json_rows(chunks: Iterable[bytes], id_name: str, label_name: str) -> Iterator[GivenLabel | Malformed]:
    for number, line in enumerate(read_lines(chunks), start=1):
        if isinstance(line, bytes) and (not line or line.isspace()):
            continue
        for row in (None,) if isinstance(line, LongLine) else read_objects(line):
            if isinstance(row, dict):
                yield _given(number, row.get(id_name), row.get(label_name), id_name, label_name)
            else:
                yield Malformed(line=number, problem=_why_not_json(line))


def _why_not_json(line: bytes | LongLine) -> str:
    if isinstance(line, bytes) and line.startswith(_UTF_16):
        return "UTF-16 instead of UTF-8"
    if isinstance(line, bytes) and (line.strip() == b"[" or line.startswith(b"[{")):
        return "a JSON array instead of one object a line"
    is_utf_8 = isinstance(line, LongLine) or _is_text(line.decode(errors="surrogateescape"))
    return "no JSON object" if is_utf_8 else "invalid UTF-8"


def _csv_rows(chunks: Iterable[bytes], id_name: str, label_name: str) -> Iterator[GivenLabel | Malformed]:
    lines = enumerate(_decoded(read_lines(with_line_feeds(chunks))))
    n_blank, first = next(((n, line) for n, line in lines if not line.isspace()), (0, ""))
    reader = csv.reader(
        chain([first], (line for _, line in lines)),
        delimiter=_delimiter(first, {id_name, label_name}),
        skipinitialspace=True,
        strict=True,  # a quote that is never closed is an error, not a label with all the rest
    )
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise _NoColumnError(f"its first row is not a CSV header ({error})") from error
    for name in (id_name, label_name):
        if header and name not in header:
            there = one_line(", ".join(header))
            raise _NoColumnError(f"it has no column {name!r}; name it with --id or --label; it has {there}")
    while True:
        number = n_blank + reader.line_num + 1
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


def _delimiter(header: str, names: set[str]) -> str:
    """Return the delimiter with which a header has the names; spreadsheets write the one of their country."""
    for delimiter in _DELIMITERS:
        with suppress(csv.Error):
            columns = next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), [])
            if names <= set(columns):
                return delimiter
    return _DELIMITERS[0]


def _decoded(lines: Iterable[bytes | LongLine]) -> Iterator[str]:
    """Yield lines for the CSV reader; bytes that are not UTF-8 stay recognisable and make a row malformed."""
    encoding = "utf-8-sig"
    for number, line in enumerate(lines):
        content = line if isinstance(line, bytes) else b"\xff"
        if number == 0 and content.startswith(_UTF_16):
            raise _NoColumnError("it is UTF-16; save it as UTF-8")
        yield content.decode(encoding, errors="surrogateescape") + "\n"
        encoding = "utf-8"


def _given(
    number: int, raw_id: object, label: object, id_name: str, label_name: str
) -> GivenLabel | Malformed:
    known_as = request_id(raw_id)
    if known_as is None:
        return Malformed(line=number, problem=f"no {id_name}")
    true = true_label(label)
    if true is None:
        return Malformed(line=number, problem=f"no {label_name}")
    if not _is_text(known_as + true):
        return Malformed(line=number, problem="invalid UTF-8")
    return GivenLabel(request_id=known_as, label=true)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
