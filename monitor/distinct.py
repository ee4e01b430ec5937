"""How many different ones are among many hashes, exactly and in bounded memory."""

from __future__ import annotations

from array import array
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HELD = 2**17  #: hashes in memory; more go to the file, where there is one
_BOUNDS = np.arange(1, 256, dtype=np.uint64) << np.uint64(56)  #: between hashes of different first bytes


class DistinctCount:
    """Counts 64-bit hashes. Without `spill` it holds 8 bytes for each that was added.

    With it, an empty file, sorted runs go there, and are counted by the first byte of the hashes, one after
    the other. Whoever opened the file closes it, when the total has been asked for.

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
        """All hashes in memory: the file stays where it is."""
        held = array("Q", self._held)
        for run in self._runs:
            held.frombytes(self._read(run[0], run[-1]))
        return {"_held": held, "_spill": None, "_runs": []}

    def add(self, hashes: bytes) -> None:
        """8 bytes for each."""
        self._held.frombytes(hashes)
        if self._spill is not None and len(self._held) > _HELD:
            self._write_run(self._spill)

    def merge(self, other: DistinctCount) -> None:
        """Add what another was given."""
        self.add(other.__getstate__()["_held"].tobytes())

    def total(self) -> int:
        """How many different hashes were added."""
        held = np.unique(np.array(self._held, dtype=np.uint64))
        if not self._runs:
            return int(held.size)
        cuts = _cuts(held)
        return sum(self._of_first_byte(byte, held[cuts[byte] : cuts[byte + 1]]) for byte in range(256))

    def _write_run(self, spill: IO[bytes]) -> None:
        run = np.unique(np.array(self._held, dtype=np.uint64))
        self._held = array("Q")
        start = spill.seek(0, 2) // run.itemsize
        spill.write(run.tobytes())
        self._runs.append(start + _cuts(run))

    def _of_first_byte(self, byte: int, held: NDArray[np.uint64]) -> int:
        runs = (np.frombuffer(self._read(run[byte], run[byte + 1]), dtype=np.uint64) for run in self._runs)
        return int(np.unique(np.concatenate([held, *runs])).size)

    def _read(self, start: int, stop: int) -> bytes:
        if self._spill is None:
            return b""
        self._spill.seek(int(start) * 8)
        return self._spill.read(int(stop - start) * 8)


def _cuts(run: NDArray[np.uint64]) -> NDArray[np.intp]:
    return np.concatenate([[0], np.searchsorted(run, _BOUNDS), [run.size]])
