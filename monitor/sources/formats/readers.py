"""Readers of the records of an object, for each format of a request log."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import BinaryIO, NamedTuple

from db.errors import RedistillError
from db.states import RejectReason
from monitor.setting_values import is_plain_name
from monitor.settings import ObjectsSection
from monitor.sources.formats.compression import read_chunks
from monitor.sources.formats.lines import LineSplitter, LongLine, split_objects
from monitor.sources.formats.records import RecordParser
from monitor.sources.formats.schema import Row
from monitor.sources.request import Refusal, Request
from monitor.sources.stores.port import BrokenObjectError


class ParquetMissingError(RedistillError):
    """[traffic] format = 'parquet' needs pyarrow: `pip install 'redistill[parquet]'`."""


class Found(NamedTuple):
    """A record, and the bytes from which it was parsed."""

    record: Request | Refusal
    raw: bytes | LongLine


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """Records that are all usable, with the line of each."""

    rows: Sequence[Row]
    lines: Sequence[bytes]

    def __iter__(self) -> Iterator[Found]:
        for row, line in zip(self.rows, self.lines, strict=True):
            yield Found(row.as_request(), line)


#: Reads an object to its end, and yields its records in batches.
ReadObject = Callable[[BinaryIO], Iterator[Iterable[Found]]]


def reader(section: ObjectsSection, parser: RecordParser) -> ReadObject:
    """Return a function that reads objects of the section's format.

    Its iterators raise BrokenObjectError after the last whole record of a broken object.

    Raises:
        ParquetMissingError: the format is Parquet, and pyarrow is not installed.
    """
    if section.format == "parquet":
        return _parquet(section, parser)
    return lambda file: _json_lines(file, parser, section.max_object_bytes)


def _json_lines(file: BinaryIO, parser: RecordParser, max_bytes: int) -> Iterator[Iterable[Found]]:
    lines = LineSplitter()
    try:
        for chunk in read_chunks(file, max_bytes=max_bytes):
            yield _batch(lines.feed(chunk), parser)
    except BrokenObjectError as broken:
        broken.example_hash = lines.tail_sha256
        raise
    if last := lines.finish():
        yield _batch(last, parser)


def _batch(lines: list[bytes | LongLine], parser: RecordParser) -> Iterable[Found]:
    whole = [line for line in lines if isinstance(line, bytes)]
    rows = parser.decode(whole) if whole and len(whole) == len(lines) else None
    return _parsed(lines, parser) if rows is None else Decoded(rows=rows, lines=whole)


def _parsed(lines: Iterable[bytes | LongLine], parser: RecordParser) -> Iterator[Found]:
    for line in lines:
        if isinstance(line, LongLine):
            yield Found(Refusal(reason=RejectReason.TEXT_TOO_LONG), line)
        elif line and not line.isspace():
            record = parser.parse(line)
            if isinstance(record, Refusal) and record.reason is RejectReason.NOT_JSON:
                for each in split_objects(line):
                    yield Found(parser.parse(each), each)
            else:
                yield Found(record, line)


def _parquet(section: ObjectsSection, parser: RecordParser) -> ReadObject:
    wanted = section.names if all(map(is_plain_name, section.names)) else None
    read_rows = parquet_reader(wanted, max_bytes=section.max_object_bytes)

    def read(file: BinaryIO) -> Iterator[Iterable[Found]]:
        for rows in read_rows(file):
            yield [_from_row(row, parser) for row in rows]

    return read


def parquet_reader(
    wanted: Collection[str] | None = None, *, max_bytes: int = 2**33
) -> Callable[[BinaryIO], Iterator[list[dict[str, object]]]]:
    """Return a function that reads the rows of Parquet objects in batches, of all or of the wanted columns.

    Its iterators raise BrokenObjectError after the last whole batch of a broken object, or of one with more
    than `max_bytes` when decoded.

    Raises:
        ParquetMissingError: pyarrow is not installed.
    """
    try:
        import_module("pyarrow")
        from monitor.sources.formats import parquet  # noqa: PLC0415 - it needs pyarrow, an extra
    except ImportError as error:
        raise ParquetMissingError from error
    return partial(parquet.read_rows, wanted=wanted, max_bytes=max_bytes)


def _from_row(row: dict[str, object], parser: RecordParser) -> Found:
    return Found(parser.parse_row(row), repr(row).encode())
