"""Parquet objects that are small on disk and large in memory, and values of nested and empty columns."""

import io
import tracemalloc
from collections.abc import Callable
from itertools import chain
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from db.states import RejectReason
from monitor.sources.formats.parquet import read_rows
from monitor.sources.stores.port import BrokenObjectError

MIB = 2**20
N = 128


def written(**columns: Any) -> io.BytesIO:  # noqa: ANN401 - pyarrow has no types
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink, compression="zstd")
    sink.seek(0)
    return sink


def read(file: io.BytesIO, **options: Any) -> list[dict[str, object]]:  # noqa: ANN401
    return list(chain.from_iterable(read_rows(file, **{"wanted": None, "max_bytes": 2**33, **options})))


def one_text() -> list[Any]:
    return ["x" * MIB] * N


BOMBS: dict[str, Callable[[], Any]] = {
    "a dictionary": lambda: pa.array(one_text()),
    "a dictionary of bytes": lambda: pa.array([b"x" * MIB] * N),
    "a dictionary in a structure": lambda: pa.array([{"a": {"b": each}} for each in one_text()]),
    "a dictionary in a list": lambda: pa.array([[each] for each in one_text()]),
    "different texts": lambda: pa.array([str(number) * MIB for number in range(100, 124)]),
}


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_an_object_of_some_kilobytes_is_decoded_in_bounded_memory(make: Callable[[], Any]) -> None:
    """Of its 72 MiB of text or more, a batch of 64 MiB may be held, as Arrow's and as Python's values."""
    texts = make()
    file = written(text=texts)
    assert len(file.getvalue()) < MIB
    pool, n = pa.default_memory_pool(), 0
    before = pool.bytes_allocated()
    tracemalloc.start()
    try:
        for batch in read_rows(file, wanted=None, max_bytes=2**33):
            n += len(batch)
            held = pool.bytes_allocated() - before
            assert held < 260 * MIB
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n == len(texts)
    assert peak < 260 * MIB


@pytest.mark.parametrize("make", BOMBS.values(), ids=BOMBS)
def test_the_limit_of_an_object_holds_for_its_decoded_values(make: Callable[[], Any]) -> None:
    with pytest.raises(BrokenObjectError, match="more than 33554432 bytes") as broken:
        read(written(text=make()), max_bytes=32 * MIB)
    assert broken.value.reason is RejectReason.OVERSIZED_OBJECT


def test_the_name_of_a_column_that_is_not_utf_8_makes_the_object_unreadable() -> None:
    content = written(text_of_it=["x"], other=["y"]).getvalue()
    with pytest.raises(BrokenObjectError, match="utf-8") as broken:
        read(io.BytesIO(content.replace(b"text_of_it", b"text\xffof\xffit")))
    assert broken.value.reason is RejectReason.UNREADABLE_OBJECT


def test_nested_values_are_those_of_pyarrow() -> None:
    columns = {
        "structure": pa.array(
            [{"a": "x", "b": [1, None]}, None, {"a": None, "b": None}, {"a": "y", "b": []}]
        ),
        "list": pa.array([["x", None], None, [], ["y"]]),
        "logits": pa.array([[1.5, -2.0], None, [], [0.25]], pa.large_list(pa.float32())),
        "fixed": pa.array([[1, 2], None, [3, 4], [5, 6]], pa.list_(pa.int8(), 2)),
        "map": pa.array([[("k", "v")], None, [], [("l", "w")]], pa.map_(pa.string(), pa.string())),
        "text": pa.array(["x", None, "", "x"]),
        "flag": pa.array([True, None, False, True]),
    }
    assert read(written(**columns)) == pa.table(columns).to_pylist()


def test_rows_without_a_wanted_column_are_rows() -> None:
    assert read(written(other=[1, 2]), wanted={"text"}) == [{}, {}]
