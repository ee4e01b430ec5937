"""Exact counts of the distinct hashes in a stream, by class, in bounded memory."""

from __future__ import annotations

from array import array
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_HELD = 2**17  #: hashes in memory; more go to the file, if there is one
_BOUNDS = np.arange(1, 256, dtype=np.uint64) << np.uint64(56)  #: between hashes of different first bytes


class DistinctCount:
    """A count of distinct 64-bit hashes. Without `spill` it holds 8 bytes in memory for each hash added.

    With `spill`, an empty file, it writes sorted runs to the file, and counts the hashes separately for each
    first byte. The caller closes the file after reading the count.

    Example:
        >>> count = DistinctCount()
        >>> count.add((7).to_bytes(8) + (9).to_bytes(8) + (7).to_bytes(8))
        >>> count.total()
        2
    """

    def __init__(self, spill: IO[bytes] | None = None) -> None:
        self._held = array("Q")
        self._spill = spill
        self._runs: list[NDArray[np.intp]] = []  #: where in the file each first byte begins, and the end

    def __getstate__(self) -> dict[str, Any]:
        """Return a state with all hashes in memory: the file is not pickled."""
        held = array("Q", self._held)
        for run in self._runs:
            held.frombytes(self._read(run[0], run[-1]))
        return {"_held": held, "_spill": None, "_runs": []}

    def add(self, hashes: bytes) -> None:
        """Add hashes of 8 bytes each."""
        self._held.frombytes(hashes)
        if self._spill is not None and len(self._held) > _HELD:
            self._write_run(self._spill)

    def merge(self, other: DistinctCount) -> None:
        """Add the hashes of another count."""
        self.add(other.__getstate__()["_held"].tobytes())

    def total(self) -> int:
        """Return the number of distinct hashes."""
        return sum(int(hashes.size) for _, hashes in self._in_parts())

    def by_code(self, bits: int, wanted: NDArray[np.uint64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Count by class, for hashes whose lowest `bits` are the code of a class.

        Hashes are distinct if they differ in the bits above the code. A hash that was added with several
        codes counts for the smallest code.

        Returns:
            (2^bits,) the number of distinct hashes of each code, and the (n,) codes of the hashes in
            `wanted`, all of which must have been added. Their lowest bits are ignored.

        Example:
            >>> count = DistinctCount()
            >>> count.add(np.array([0b10_1, 0b11_0, 0b10_0], dtype=np.uint64).tobytes())
            >>> count.by_code(1, np.array([0b10_1], dtype=np.uint64))
            (array([2, 0]), array([0]))
        """
        n, codes = np.zeros(2**bits, dtype=np.intp), np.zeros(wanted.size, dtype=np.intp)
        shift, first_bytes = np.uint64(bits), wanted >> np.uint64(56)
        for byte, hashes in self._in_parts():
            _, first = np.unique(hashes >> shift, return_index=True)
            smallest = hashes[first]
            of = (smallest & np.uint64(2**bits - 1)).astype(np.intp)
            n += np.bincount(of, minlength=2**bits)
            here = np.flatnonzero(first_bytes == byte) if byte is not None else np.arange(wanted.size)
            if here.size:
                codes[here] = of[np.searchsorted(smallest >> shift, wanted[here] >> shift)]
        return n, codes

    def _in_parts(self) -> Iterator[tuple[int | None, NDArray[np.uint64]]]:
        """Yield the distinct hashes in ascending order: all together, or one first byte at a time."""
        held = np.unique(np.array(self._held, dtype=np.uint64))
        if not self._runs:
            yield None, held
            return
        cuts = _cuts(held)
        for byte in range(256):
            runs = (
                np.frombuffer(self._read(run[byte], run[byte + 1]), dtype=np.uint64) for run in self._runs
            )
            yield byte, np.unique(np.concatenate([held[cuts[byte] : cuts[byte + 1]], *runs]))

    def _write_run(self, spill: IO[bytes]) -> None:
        run = np.unique(np.array(self._held, dtype=np.uint64))
        self._held = array("Q")
        start = spill.seek(0, 2) // run.itemsize
        spill.write(run.tobytes())
        self._runs.append(start + _cuts(run))

    def _read(self, start: int, stop: int) -> bytes:
        if self._spill is None:
            return b""
        self._spill.seek(int(start) * 8)
        return self._spill.read(int(stop - start) * 8)


def _cuts(run: NDArray[np.uint64]) -> NDArray[np.intp]:
    return np.concatenate([[0], np.searchsorted(run, _BOUNDS), [run.size]])
