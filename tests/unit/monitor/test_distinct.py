"""The number of different hashes, whatever is held in memory and whatever is not."""

import pickle
from tempfile import TemporaryFile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import distinct
from monitor.distinct import DistinctCount

HASHES = st.lists(st.integers(0, 40) | st.integers(0, 2**64 - 1) | st.sampled_from([2**56, 2**64 - 1]))


def raw(hashes: list[int]) -> bytes:
    return np.array(hashes, dtype=np.uint64).tobytes()


@pytest.fixture(autouse=True)
def _little_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distinct, "_HELD", 5)


@given(parts=st.lists(HASHES, max_size=6))
def test_all_that_differ_are_counted_once(parts: list[list[int]]) -> None:
    expected = len({each for part in parts for each in part})
    with TemporaryFile() as spill:
        spilling, holding = DistinctCount(spill), DistinctCount()
        for part in parts:
            spilling.add(raw(part))
            holding.add(raw(part))
        assert spilling.total() == holding.total() == spilling.total() == expected


@given(one=HASHES, other=HASHES)
def test_two_counts_may_be_merged_and_pickled(one: list[int], other: list[int]) -> None:
    with TemporaryFile() as spill, TemporaryFile() as other_spill:
        first, second = DistinctCount(spill), DistinctCount(other_spill)
        first.add(raw(one))
        second.add(raw(other))
        first.merge(pickle.loads(pickle.dumps(second)))  # noqa: S301 - as it comes from a process of the pool
        assert second.total() == len({*other})
        assert first.total() == len({*one, *other})


def test_memory_does_not_grow_with_what_is_counted() -> None:
    with TemporaryFile() as spill:
        count = DistinctCount(spill)
        for _ in range(100):
            count.add(raw(list(range(1_000))))
            assert len(count._held) <= 5
        assert count.total() == 1_000
