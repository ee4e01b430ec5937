"""Rows with named fields, in files that people write: JSON Lines, or CSV with a header."""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Final

from db.errors import LONGEST_VALUE, one_line, quoted
from monitor.sources.formats.csv_text import with_line_feeds
from monitor.sources.formats.lines import LongLine, read_lines, read_objects

_CSV: Final = (".csv", ".csv.gz", ".csv.zst")
_DELIMITERS: Final = (",", ";", "\t")
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")


class NoColumnError(Exception):
    """A CSV file cannot be read with the wanted columns; the text says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedRow:
    """A row, with what it has in the wanted fields."""

    line: int  #: counted from 1
    values: Mapping[str, object]  #: of CSV only strings; a field that the row lacks is absent


@dataclass(frozen=True, kw_only=True, slots=True)
class Malformed:
    """A row that cannot be used."""

    line: int  #: counted from 1
    problem: str


def is_csv(file_name: str) -> bool:
    """Return whether the name of a file, compressed or not, says that it is CSV; else it is JSON Lines."""
    return file_name.lower().endswith(_CSV)


def named_rows(
    file_name: str, chunks: Iterable[bytes], names: Sequence[str], *, options: str
) -> Iterator[NamedRow | Malformed]:
    """Yield the rows of a file from its decompressed content, in order; blank lines are skipped.

    Args:
        file_name: decides on the format, see `is_csv`.
        chunks: the content.
        names: the fields, or columns, that are wanted.
        options: the options that name them, for the message.

    Raises:
        NoColumnError: a CSV file lacks one of them, or has no usable header.
    """
    return _csv_rows(chunks, names, options) if is_csv(file_name) else _json_rows(chunks, names)


def is_text(value: str) -> bool:
    """Return whether a decoded value was UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_rows(chunks: Iterable[bytes], names: Sequence[str]) -> Iterator[NamedRow | Malformed]:
    for number, line in enumerate(read_lines(chunks), start=1):
        if isinstance(line, bytes) and (not line or line.isspace()):
            continue
        for row in (None,) if isinstance(line, LongLine) else read_objects(line):
            if isinstance(row, dict):
                yield NamedRow(line=number, values={name: row[name] for name in names if name in row})
            else:
                yield Malformed(line=number, problem=_why_not_json(line))


def _why_not_json(line: bytes | LongLine) -> str:
    if isinstance(line, bytes) and line.startswith(_UTF_16):
        return "UTF-16 instead of UTF-8"
    if isinstance(line, bytes) and (line.strip() == b"[" or line.startswith(b"[{")):
        return "a JSON array instead of one object a line"
    is_utf_8 = isinstance(line, LongLine) or is_text(line.decode(errors="surrogateescape"))
    return "no JSON object" if is_utf_8 else "invalid UTF-8"


def _csv_rows(chunks: Iterable[bytes], names: Sequence[str], options: str) -> Iterator[NamedRow | Malformed]:
    lines = enumerate(_decoded(read_lines(with_line_feeds(chunks))))
    n_blank, first = next(((n, line) for n, line in lines if not line.isspace()), (0, ""))
    reader = csv.reader(
        chain([first], (line for _, line in lines)),
        delimiter=_delimiter(first, set(names)),
        skipinitialspace=True,
        strict=True,  # a quote that is never closed is an error, not a value with all the rest
    )
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise NoColumnError(f"its first row is not a CSV header ({error})") from error
    for name in names:
        if header and name not in header:
            there = one_line(", ".join(header), longest=LONGEST_VALUE)
            raise NoColumnError(f"it has no column {quoted(name)}; name it with {options}; it has {there}")
        if header.count(name) > 1:
            raise NoColumnError(f"it has {header.count(name)} columns {quoted(name)}; rename all but one")
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
            yield _named(number, dict(zip(header, row, strict=False)), names)


def _named(line: int, row: Mapping[str, str], names: Sequence[str]) -> NamedRow | Malformed:
    values = {name: row[name] for name in names if name in row}
    if not is_text("".join(values.values())):
        return Malformed(line=line, problem="invalid UTF-8")
    return NamedRow(line=line, values=values)


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
            raise NoColumnError("it is UTF-16; save it as UTF-8")
        yield content.decode(encoding, errors="surrogateescape") + "\n"
        encoding = "utf-8"
