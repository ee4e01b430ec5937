"""Guesses of the format and the field names of an unknown request log, for `redistill init`."""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import orjson

from monitor.setting_values import Format, is_plain_name
from monitor.sources.formats.compression import read_chunks
from monitor.sources.formats.lines import read_lines, read_objects
from monitor.sources.formats.readers import parquet_reader
from monitor.sources.stores.folder import Folder
from monitor.sources.stores.port import BrokenObjectError, unavailable_if_unread
from monitor.sources.values import parse_time, request_id

_ROWS = 200
_HEAD_BYTES = 2**28  #: of an object, decompressed
_ENOUGH = 0.9  #: the share of a field's values that must fit; the others may be errors
_YEAR_2001 = 1e9  #: in epoch seconds; a smaller number is unlikely to be the time of a request

_ID_NAMES = ("id", "request_id", "requestId", "event_id", "eventId", "message_id", "uuid", "trace_id")
_TIME_NAMES = ("time", "timestamp", "ts", "@timestamp", "created_at", "datetime", "event_time", "date")
_TEXT_NAMES = ("text", "utterance", "message", "query", "question", "input", "prompt", "content", "body")
_LABEL_NAMES = ("student_label", "predicted_label", "prediction", "student_intent")
_TRUE_NAMES = ("label", "true_label", "gold_label", "human_label", "ground_truth")
_LOGITS_NAMES = ("student_logits", "logits")

_PARQUET_MAGIC = b"PAR1"
_CAPTURE_KEYS = frozenset({"captureData", "eventMetadata"})

T = TypeVar("T")
Columns = dict[str, list[object]]
Fits = Callable[[object], bool]


@dataclass(frozen=True, kw_only=True)
class FieldNames:
    """The name of each part of a record, as in [traffic]; None if no field fits."""

    id: str | None
    time: str | None
    text: str | None
    student_label: str | None
    student_logits: str | None
    label: str | None


def guess_format(uri: Path) -> Format:
    """Guess the format from the first bytes of the first object that is not empty, and from the first record.

    Raises:
        TrafficMissingError: there is neither a file nor a folder.
    """
    heads = _of_each(uri, lambda file: [file.read(len(_PARQUET_MAGIC))])
    if next(filter(None, heads), b"") == _PARQUET_MAGIC:
        return "parquet"
    return "sagemaker-capture" if next(read_rows(uri), {}).keys() >= _CAPTURE_KEYS else "jsonl"


def guess_fields(uri: Path, labels: Collection[str] = ()) -> FieldNames:
    """Guess the fields from usual names and the values of the first 200 records, of JSON Lines or Parquet.

    If no usual name fits, the time is the first field whose values are times, the text the field with the
    longest strings, and the id the first field with distinct values. An id of a usual name has distinct
    values too, unless no field has: `id` may be that of the user. A field is the student's label or the true
    label only if it contains `labels`, the models' label names, if these are known.

    Raises:
        TrafficMissingError: there is neither a file nor a folder.
        ParquetMissingError: the format is Parquet, and pyarrow is not installed.
    """
    rows = _parquet_rows(uri) if guess_format(uri) == "parquet" else read_rows(uri)
    columns = _columns(islice(rows, _ROWS))
    time = _usual(columns, _TIME_NAMES, _is_time) or _first(columns, _is_time)
    others = {name: values for name, values in columns.items() if name != time}
    text = _usual(others, _TEXT_NAMES, _is_text) or _longest(others)
    others = {name: values for name, values in others.items() if name != text}
    keys: dict[str, str | None] = {
        "id": _id(others),
        "time": time,
        "text": text,
        "student_label": _usual(others, _LABEL_NAMES, lambda value: _is_label(value, labels)),
        "student_logits": _usual(others, _LOGITS_NAMES, _are_logits),
        "label": _usual(others, _TRUE_NAMES, lambda value: _is_label(value, labels)),
    }
    keys = _without_conflicts(keys)
    return FieldNames(**{part: None if key is None else _name_of(key) for part, key in keys.items()})


def _without_conflicts(keys: dict[str, str | None]) -> dict[str, str | None]:
    """Return the guesses without those that are the usual name of a part that no field fits.

    [traffic] gives such a part its usual name, and no field may be two of them.
    """
    absent = {part for part in ("id", "time", "text") if keys[part] is None}
    kept = {part: None if key in absent else key for part, key in keys.items()}
    return kept if kept == keys else _without_conflicts(kept)


def _name_of(key: str) -> str:
    """Return the key, quoted if JMESPath would not read it as a key."""
    return key if is_plain_name(key) else orjson.dumps(key).decode()


def read_rows(uri: Path) -> Iterator[dict[str, object]]:
    """Yield the JSON objects of a file or a folder of JSON Lines, up to any damage in each file."""
    for row in chain.from_iterable(map(read_objects, _of_each(uri, _lines))):
        if isinstance(row, dict):
            yield row


def _parquet_rows(uri: Path) -> Iterator[dict[str, object]]:
    read = parquet_reader()
    return _of_each(uri, lambda file: chain.from_iterable(read(file)))


def _of_each(uri: Path, read: Callable[[BinaryIO], Iterable[T]]) -> Iterator[T]:
    """Yield what `read` returns for each object, up to any damage in the object."""
    folder = Folder(uri=uri)
    for each in folder.list():
        with suppress(BrokenObjectError), unavailable_if_unread(each.address), folder.open(each) as file:
            yield from read(file)


def _lines(file: BinaryIO) -> Iterator[bytes]:
    lines = read_lines(read_chunks(file, max_bytes=_HEAD_BYTES))
    return (line for line in lines if isinstance(line, bytes))


def _columns(rows: Iterable[dict[str, object]]) -> Columns:
    columns: Columns = {}
    for row in rows:
        for name, value in row.items():
            if value is not None:
                columns.setdefault(name, []).append(value)
    return columns


def _usual(columns: Columns, names: tuple[str, ...], fits: Fits) -> str | None:
    return next((name for name in names if name in columns and _mostly(columns[name], fits)), None)


def _first(columns: Columns, fits: Fits) -> str | None:
    return next((name for name, values in columns.items() if _mostly(values, fits)), None)


def _mostly(values: list[object], fits: Fits) -> bool:
    return sum(map(fits, values)) >= _ENOUGH * len(values)


def _longest(columns: Columns) -> str | None:
    lengths = {
        name: sum(len(str(value)) for value in values) / len(values)
        for name, values in columns.items()
        if _mostly(values, _is_text)
    }
    return max(lengths, key=lambda name: lengths[name], default=None)


def _id(columns: Columns) -> str | None:
    """Return the field of an id that is different in each record, else that of a usual name.

    A few values may repeat, since a log may have a request twice.
    """
    ids = {name: values for name, values in columns.items() if _mostly(values, _is_id)}
    n_distinct = {name: len(set(map(str, values))) for name, values in ids.items()}
    distinct = {name: values for name, values in ids.items() if n_distinct[name] >= _ENOUGH * len(values)}
    by_name = _usual(distinct, _ID_NAMES, _is_id)
    exactly = (name for name, values in distinct.items() if n_distinct[name] == len(values))
    return by_name or next(exactly, None) or _usual(ids, _ID_NAMES, _is_id)


def _is_id(value: object) -> bool:
    return request_id(value) is not None


def _is_time(value: object) -> bool:
    is_recent = not isinstance(value, int | float) or value >= _YEAR_2001
    return is_recent and parse_time(value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_label(value: object, labels: Collection[str]) -> bool:
    return isinstance(value, str) and (not labels or value in labels)


def _are_logits(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, int | float) for each in value)
