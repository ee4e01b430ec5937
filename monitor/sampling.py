"""A sample that does not depend on the order, the sharding or the retries of reading.

A request is in the sample if the keyed hash of its id is among the k smallest of the window ("bottom-k").
Only the hashes decide, so two processes that read the same requests in any order, or in parts that are merged
later, draw the same sample.

A stratified sample takes the smallest hashes of each stratum up to a floor, and the smallest of the others up
to k. The number from each stratum depends on the hashes and the strata alone, and chance decides which of its
requests have small hashes: given the sizes, it is a uniform sample without replacement of each stratum.

Sources: Cohen, Kaplan 2007, "Summarizing data using bottom-k sketches"; Holt, Smith 1979, "Post
stratification" (inference given the sizes).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from operator import itemgetter
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from db.errors import RedistillError
from monitor.distinct import DistinctCount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from _typeshed import SupportsRichComparison
    from numpy.typing import NDArray

T = TypeVar("T")

_DIGEST_BYTES = 16
_CODE_BYTES = 4  #: for the stratum, after the digest
_COUNTED_BYTES = 8  #: of the digest, kept for every record to count distinct ids
_ABOVE_ALL = b"\xff" * (_DIGEST_BYTES + 1)


class SampleSizeError(RedistillError):
    """The sample size {k} is negative: give 0 or more."""


class SampleMismatchError(RedistillError):
    """Samples with different sizes, strata or hash keys cannot be merged: draw both with the same ones."""


def sample(ids: Iterable[str], k: int, key: str | bytes) -> NDArray[np.intp]:
    """Return the indices of the k ids with the smallest keyed hashes, in the order of the hashes.

    They are a uniform sample without replacement of the distinct ids, or all of them if there are fewer than
    k. A repeated id counts once, at its first index. The sample depends only on the set of ids, on k and on
    `key` (see `BottomK`).

    Raises:
        SampleSizeError: k is negative.

    Example:
        >>> ids = ["r-1", "r-2", "r-3", "r-2", "r-4"]
        >>> [ids[i] for i in sample(ids, 2, "key")]
        ['r-2', 'r-3']
        >>> [ids[i] for i in sample(ids, 2, "another key")]
        ['r-3', 'r-2']
    """
    bottom = BottomK[int](k, key, tie_break=int)
    for index, request_id in enumerate(ids):
        bottom.offer(request_id, index)
    return np.array(bottom.draw().items, dtype=np.intp)


@dataclass(frozen=True, kw_only=True)
class Draw(Generic[T]):
    """A sample of min(k, distinct) items, in the order of their hashes."""

    items: tuple[T, ...]
    strata: tuple[int, ...]  #: the stratum of each item
    sizes: tuple[int, ...]  #: the number of distinct ids offered, by stratum
    repeats: int  #: the number of records whose id had been offered before


class BottomK(Generic[T]):
    """The sample of a stream, with a payload per id, optionally stratified.

    It holds at most 1.5 k payloads, or 2.25 k with floors (more if ids occur in several strata), and the
    memory of `DistinctCount`. An id that occurs in several strata belongs to the first of them, and takes a
    place in the floor of each.

    Args:
        k: the size of the sample, 0 or more.
        key: the key of the hash (blake2b); text is encoded as UTF-8. Keep the key secret if those who choose
            the ids must not be able to choose the sample. An empty key gives an unkeyed hash.
        tie_break: a sort key of payloads. Of several payloads of one id, the smallest is kept, so that their
            order never matters. Payloads that compare equal must be interchangeable.
        spill: see `DistinctCount`.
        strata: the number of strata, which are numbered from 0.
        floor: the least number of requests from each stratum, as far as it has them. All floors together take
            at most half of the sample.

    Raises:
        SampleSizeError: k is negative.

    Example:
        >>> bottom = BottomK[str](2, "key", tie_break=str)
        >>> for request_id, text in [("r-1", "hi"), ("r-2", "z"), ("r-3", "b"), ("r-2", "a")]:
        ...     bottom.offer(request_id, text)
        >>> bottom.draw()
        Draw(items=('a', 'b'), strata=(0, 0), sizes=(3,), repeats=1)
        >>> bottom = BottomK[int](4, "key", tie_break=int, strata=2, floor=1)
        >>> for number in range(1_000):
        ...     bottom.offer(f"r-{number}", number, stratum=number == 7)
        >>> bottom.draw()
        Draw(items=(646, 326, 752, 7), strata=(0, 0, 0, 1), sizes=(999, 1), repeats=0)
    """

    def __init__(
        self,
        k: int,
        key: str | bytes,
        *,
        tie_break: Callable[[T], SupportsRichComparison],
        spill: IO[bytes] | None = None,
        strata: int = 1,
        floor: int = 0,
    ) -> None:
        if k < 0:
            raise SampleSizeError(k=k)
        self._k = k
        self._key = _hash_key(key)
        self._hash = blake2b(key=self._key, digest_size=_DIGEST_BYTES)
        self._tie_break = tie_break
        self._floor = min(floor, k // (2 * strata))
        self._code_bits = (strata - 1).bit_length()
        self._codes = [code.to_bytes(_CODE_BYTES) for code in range(strata)]
        self._kept: dict[bytes, T] = {}  #: by digest and code
        self._cutoffs = [_ABOVE_ALL] * strata
        self._spare = (k + self._floor * strata) // 2
        self._shrink_above = k + self._floor * strata + self._spare
        self._seen = DistinctCount(spill)
        self._n_offered = 0

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the hash, which cannot be pickled."""
        return {name: value for name, value in vars(self).items() if name != "_hash"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._hash = blake2b(key=self._key, digest_size=_DIGEST_BYTES)

    def offer(self, request_id: str, payload: T, stratum: int = 0) -> None:
        """Add one record to the stream."""
        for _, mark in self.admit([request_id], [stratum]):
            self.keep(mark, payload)

    def admit(
        self, request_ids: Sequence[str], strata: Sequence[int] | None = None
    ) -> list[tuple[int, bytes]]:
        """Count several records, and return the indices and marks of those that may be in the sample.

        The caller passes the payloads of these to `keep`, so that no other payload has to be built. Without
        `strata` all records belong to the first stratum.
        """
        copy, digests = self._hash.copy, []
        for request_id in request_ids:
            keyed = copy()
            keyed.update(request_id.encode("utf-8", "surrogatepass"))
            digests.append(keyed.digest())
        of = [0] * len(digests) if strata is None else strata
        self._count(digests, of)
        codes, cutoffs = self._codes, self._cutoffs
        return [
            (index, digest + codes[stratum])
            for index, (digest, stratum) in enumerate(zip(digests, of, strict=True))
            if digest <= cutoffs[stratum]
        ]

    def _count(self, digests: Sequence[bytes], strata: Sequence[int]) -> None:
        self._n_offered += len(digests)
        counted = b"".join([digest[:_COUNTED_BYTES] for digest in digests])
        if self._code_bits:
            words = np.frombuffer(counted, dtype=np.uint64) >> np.uint64(self._code_bits)
            counted = ((words << np.uint64(self._code_bits)) | np.array(strata, dtype=np.uint64)).tobytes()
        self._seen.add(counted)

    def keep(self, mark: bytes, payload: T) -> None:
        """Keep the payload of the id with that mark (see `admit`)."""
        held = self._kept.get(mark)
        self._kept[mark] = payload if held is None else min(held, payload, key=self._tie_break)
        if len(self._kept) > self._shrink_above:
            self._shrink()

    def draw(self) -> Draw[T]:
        """Return the sample of all records offered.

        Ids are distinguished by the first 64 bits of their hash, less the bits that number the strata: among
        a million ids in 16 strata, two are confused with a probability of 4e-7.
        """
        self._shrink()
        payloads: dict[bytes, T] = {}
        for mark, payload in sorted(self._kept.items(), key=itemgetter(0)):
            digest = mark[:_DIGEST_BYTES]
            held = payloads.get(digest)
            payloads[digest] = payload if held is None else min(held, payload, key=self._tie_break)
        words = np.frombuffer(b"".join(digest[:_COUNTED_BYTES] for digest in payloads), dtype=np.uint64)
        sizes, strata = self._seen.by_code(self._code_bits, words)
        chosen = self._chosen(strata)
        items = tuple(payloads.values())
        return Draw(
            items=tuple(items[index] for index in chosen),
            strata=tuple(int(strata[index]) for index in chosen),
            sizes=tuple(sizes[: len(self._codes)].tolist()),
            repeats=self._n_offered - int(sizes.sum()),
        )

    def merge(self, other: BottomK[T]) -> None:
        """Add all records that another sample of the same size, strata and key was offered.

        Raises:
            SampleMismatchError: the sizes, strata or keys differ.
        """
        if self._design != other._design:
            raise SampleMismatchError
        self._seen.merge(other._seen)
        self._n_offered += other._n_offered
        for mark, payload in other._kept.items():
            self.keep(mark, payload)

    @property
    def _design(self) -> tuple[object, ...]:
        return self._k, self._floor, len(self._codes), self._hash.digest()

    def _chosen(self, strata: NDArray[np.intp]) -> list[int]:
        """Return the indices of the first `floor` of each stratum, and of the first others up to k."""
        n, of_floors, others = [0] * len(self._codes), list[int](), list[int]()
        for index, stratum in enumerate(strata.tolist()):
            (of_floors if n[stratum] < self._floor else others).append(index)
            n[stratum] += 1
        return sorted(of_floors + others[: self._k - len(of_floors)])

    def _shrink(self) -> None:
        """Keep the k smallest digests, and the `floor` smallest of each stratum."""
        digests: list[bytes] = []
        of_stratum: dict[bytes, list[bytes]] = {code: [] for code in self._codes}
        for mark in sorted(self._kept):
            digest, code = mark[:_DIGEST_BYTES], mark[_DIGEST_BYTES:]
            of_stratum[code].append(digest)
            if len(digests) < self._k and (not digests or digests[-1] != digest):
                digests.append(digest)
        overall = _last(digests, self._k)
        self._cutoffs = [
            max(overall, _last(of_it[: self._floor], self._floor)) for of_it in of_stratum.values()
        ]
        self._kept = {
            digest + code: self._kept[digest + code]
            for (code, of_it), cutoff in zip(of_stratum.items(), self._cutoffs, strict=True)
            for digest in of_it
            if digest <= cutoff
        }
        # If ids occur in several strata, more than usual are left.
        self._shrink_above = len(self._kept) + self._spare


def _last(digests: Sequence[bytes], wanted: int) -> bytes:
    """Return the cutoff that keeps `wanted` digests, given the smallest ones in order."""
    if len(digests) < wanted:
        return _ABOVE_ALL
    return digests[-1] if digests else b""


def _hash_key(key: str | bytes) -> bytes:
    """Return the key, or its hash if the key is longer than blake2b accepts (as in HMAC)."""
    raw = key.encode() if isinstance(key, str) else key
    return raw if len(raw) <= blake2b.MAX_KEY_SIZE else blake2b(raw).digest()
