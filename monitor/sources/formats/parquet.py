"""The rows of Parquet objects, in bounded memory and with each value decoded by itself."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet, types

from db.states import RejectReason
from monitor.sources.stores.port import BrokenObjectError

_BATCH_ROWS: Final = 4_096
_BATCH_BYTES: Final = 2**26
#: The kinds of text and bytes, for which a dictionary may hold one large value for many rows.
_TEXTS: Final = frozenset({"STRING", "NONE", "JSON", "ENUM"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class Undecodable:
    """A value that Python cannot hold, such as a time in the year 10000. No field has values of this type."""


UNDECODABLE: Final = Undecodable()


def read_rows(
    file: BinaryIO, *, wanted: Collection[str] | None, max_bytes: int
) -> Iterator[list[dict[str, object]]]:
    """Yield the rows in batches, of all or of the wanted columns. Text that is not UTF-8 stays bytes.

    Raises:
        BrokenObjectError: the object is damaged, or has more than `max_bytes` when decoded; raised after the
            last whole batch.
        OSError: the file cannot be read now.
    """
    left = max_bytes
    try:
        for batch in _batches(file, wanted):
            left -= sum(map(_decoded_bytes, batch.columns))
            if left < 0:
                break
            values = zip(range(batch.num_rows), *map(values_of, batch.columns), strict=True)
            yield [dict(zip(batch.schema.names, row, strict=True)) for _, *row in values]
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, not of the object's content
        raise BrokenObjectError(problem=error, reason=RejectReason.UNREADABLE_OBJECT) from error
    if left < 0:
        reason = RejectReason.OVERSIZED_OBJECT
        raise BrokenObjectError(problem=f"it has more than {max_bytes} bytes", reason=reason)


def _batches(file: BinaryIO, wanted: Collection[str] | None) -> Iterator[Any]:
    """Yield batches of about 64 MiB or less, unless single values or the lists of a row are larger.

    The texts of nested columns are read as dictionaries: a list may have any number of them in one row.
    """
    metadata = parquet.read_metadata(file)
    texts = _text_leaves(metadata)
    opened = parquet.ParquetFile(
        file, metadata=metadata, read_dictionary=[each for each in texts if "." in each]
    )
    columns = [name for name in opened.schema_arrow.names if wanted is None or name in wanted]
    flat = [name for name in columns if name in texts]
    probe = parquet.ParquetFile(file, metadata=metadata, read_dictionary=flat)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        of_average = group.total_byte_size / max(group.num_rows, 1)
        widest = max(of_average, _longest_text(probe, number, flat), 1)
        n = max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / widest)))
        yield from opened.iter_batches(n, row_groups=[number], columns=columns)


def _text_leaves(metadata: Any) -> list[str]:  # noqa: ANN401 - pyarrow has no types
    leaves = (metadata.schema.column(number) for number in range(metadata.num_columns))
    return [
        leaf.path
        for leaf in leaves
        if leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type in _TEXTS
    ]


def _longest_text(probe: Any, number: int, columns: list[str]) -> int:  # noqa: ANN401 - as above
    """Return the bytes of the longest value in a row group's dictionaries, which come with its first row."""
    first = next(probe.iter_batches(1, row_groups=[number], columns=columns), None) if columns else None
    shared = [each.dictionary for each in first.columns if types.is_dictionary(each.type)] if first else []
    return max((pc.max(pc.binary_length(each)).as_py() or 0 for each in shared), default=0)


def values_of(array: Any) -> list[object]:  # noqa: ANN401 - as above
    """Return the values of an array, with UNDECODABLE for those that Python cannot hold."""
    kind = array.type
    if types.is_dictionary(kind):
        return _shared_values(array)
    if types.is_struct(kind):
        names = [kind.field(number).name for number in range(kind.num_fields)]
        parts = zip(array.is_valid().to_pylist(), *map(values_of, array.flatten()), strict=True)
        return [dict(zip(names, values, strict=True)) if valid else None for valid, *values in parts]
    if types.is_list(kind) or types.is_large_list(kind):
        items = iter(values_of(array.flatten()))
        lengths = pc.list_value_length(array).to_pylist()
        return [None if n is None else [next(items) for _ in range(n)] for n in lengths]
    if types.is_timestamp(kind):
        scale = _PER_SECOND[kind.unit]
        return [None if each is None else _time(each, scale) for each in array.cast(pa.int64()).to_pylist()]
    try:
        return list(array.to_pylist())
    except Exception:  # noqa: BLE001 - whatever the library raises, only these values are lost
        return [_value(each) for each in array]


def _shared_values(array: Any) -> list[object]:  # noqa: ANN401 - as above
    """Return the values of a dictionary array; equal ones are one object."""
    indices = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    used, places = np.unique(indices, return_inverse=True)
    known = values_of(array.dictionary.take(pa.array(used[used >= 0])))
    values = [None] * int((used < 0).sum()) + known
    return [values[place] for place in places]


def _time(count: int, scale: int) -> object:
    """Return the time that many units after 1970, rounded to microseconds."""
    try:
        return _EPOCH + timedelta(microseconds=(count * 10**6 + scale // 2) // scale)
    except OverflowError:
        return UNDECODABLE


def _value(scalar: Any) -> object:  # noqa: ANN401 - as above
    try:
        return scalar.as_py()
    except UnicodeDecodeError:
        return bytes(scalar.as_buffer())
    except Exception:  # noqa: BLE001 - as above
        return UNDECODABLE


def _decoded_bytes(array: Any) -> int:  # noqa: ANN401 - as above
    """Return the size of the array's values if each were held by itself."""
    kind = array.type
    if types.is_dictionary(kind):
        lengths = pc.binary_length(array.dictionary).fill_null(0).to_numpy(zero_copy_only=False)
        return int(lengths[array.indices.drop_null().to_numpy(zero_copy_only=False)].sum())
    if types.is_struct(kind):
        return sum(map(_decoded_bytes, array.flatten()))
    if types.is_list(kind) or types.is_large_list(kind):
        return _decoded_bytes(array.flatten())
    return int(array.nbytes)
