"""A uniform sample that is the same whatever the order, the shards or the retries.

A request is in the sample when the keyed hash of its id is among the k smallest of the window
("bottom-k"). The hash decides alone, so two processes that read the same requests in any order, or
parts of them that are merged later, draw the same sample.

Source: Cohen, Kaplan 2007, "Summarizing data using bottom-k sketches".
"""

from __future__ import annotations

from hashlib import blake2b
from typing import IO, TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from db.errors import RedistillError
from monitor.distinct import DistinctCount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed import SupportsRichComparison
    from numpy.typing import NDArray

T = TypeVar("T")

_DIGEST_BYTES = 16
_COUNTED_BYTES = 8  #: of the digest, kept for every record to count the distinct ones
_ABOVE_ALL = b"\xff" * (_DIGEST_BYTES + 1)


class SampleSizeError(RedistillError):
    """A sample of {k} requests cannot be drawn: give 0 or more."""


class SampleMismatchError(RedistillError):
    """Two samples that differ in their size or hash key cannot be merged: draw both with the same."""


def sample(ids: Iterable[str], k: int, key: str | bytes) -> NDArray[np.intp]:
    """Indices of the k ids with the smallest keyed hashes, in the order of the hashes.

    A uniform sample without replacement of the distinct ids: all of them when there are fewer than
    k. An id that comes twice counts once, at its first index. Which ids are drawn depends only on
    the set of ids, on k and on `key` (see `BottomK`).

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
    return np.array(bottom.items(), dtype=np.intp)


class BottomK(Generic[T]):
    """The same sample from a stream, with a payload per id.

    Holds at most 2k payloads, and what `DistinctCount` does for the count of distinct ids.

    Args:
        k: the size of the sample, 0 or more.
        key: of the hash (blake2b); text is taken as UTF-8. Keep it secret where whoever chooses the
            ids must not choose the sample. An empty key is an unkeyed hash.
        tie_break: of several payloads of one id, the one for which this is smallest is kept, so
            that the order of the offers never matters. Payloads for which it is equal must be
            interchangeable.
        spill: see `DistinctCount`.

    Raises:
        SampleSizeError: k is negative.

    Example:
        >>> bottom = BottomK[str](2, "key", tie_break=str)
        >>> for request_id, text in [("r-1", "hi"), ("r-2", "z"), ("r-3", "b"), ("r-2", "a")]:
        ...     bottom.offer(request_id, text)
        >>> bottom.items()
        ('a', 'b')
        >>> bottom.distinct
        3
    """

    def __init__(
        self,
        k: int,
        key: str | bytes,
        *,
        tie_break: Callable[[T], SupportsRichComparison],
        spill: IO[bytes] | None = None,
    ) -> None:
        if k < 0:
            raise SampleSizeError(k=k)
        self._k = k
        self._key = _hash_key(key)
        self._hash = blake2b(key=self._key, digest_size=_DIGEST_BYTES)
        self._tie_break = tie_break
        self._kept: dict[bytes, T] = {}
        self._cutoff = _ABOVE_ALL
        self._seen = DistinctCount(spill)

    def __getstate__(self) -> dict[str, Any]:
        """All but the hash, which cannot be pickled."""
        return {name: value for name, value in vars(self).items() if name != "_hash"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._hash = blake2b(key=self._key, digest_size=_DIGEST_BYTES)

    def offer(self, request_id: str, payload: T) -> None:
        """Take one record into account."""
        for _, digest in self.admit([request_id]):
            self.keep(digest, payload)

    def admit(self, request_ids: Iterable[str]) -> list[tuple[int, bytes]]:
        """Count several, and say which of them may be in the sample: their indices and keyed hashes.

        Whoever asks hands the payloads of these to `keep`: so those of the others need not be made.
        """
        copy, digests = self._hash.copy, []
        for request_id in request_ids:
            keyed = copy()
            keyed.update(request_id.encode("utf-8", "surrogatepass"))
            digests.append(keyed.digest())
        self._seen.add(b"".join([digest[:_COUNTED_BYTES] for digest in digests]))
        cutoff = self._cutoff
        return [(index, digest) for index, digest in enumerate(digests) if digest <= cutoff]

    def items(self) -> tuple[T, ...]:
        """The payloads of the sample, min(k, distinct) of them, in the order of their hashes."""
        self._shrink()
        return tuple(self._kept.values())

    @property
    def distinct(self) -> int:
        """How many different ids were offered.

        Ids are told apart by 64 bits of their hash: among a million, two are taken for one with a
        probability of 3e-8.
        """
        return self._seen.total()

    def merge(self, other: BottomK[T]) -> None:
        """Take in all that another sample of the same size and key has been offered.

        Raises:
            SampleMismatchError: the other has another size or key.
        """
        if self._k != other._k or self._hash.digest() != other._hash.digest():
            raise SampleMismatchError
        self._seen.merge(other._seen)
        for digest, payload in other._kept.items():
            self.keep(digest, payload)

    def keep(self, digest: bytes, payload: T) -> None:
        """Take in the payload of an id with that keyed hash (see `admit`)."""
        held = self._kept.get(digest)
        self._kept[digest] = payload if held is None else min(held, payload, key=self._tie_break)
        if len(self._kept) > 2 * self._k:
            self._shrink()

    def _shrink(self) -> None:
        smallest = sorted(self._kept)[: self._k]
        if len(self._kept) >= self._k:
            self._cutoff = smallest[-1] if smallest else b""
        self._kept = {digest: self._kept[digest] for digest in smallest}


def _hash_key(key: str | bytes) -> bytes:
    """The key itself, or its hash where it is longer than blake2b takes (as in HMAC)."""
    raw = key.encode() if isinstance(key, str) else key
    return raw if len(raw) <= blake2b.MAX_KEY_SIZE else blake2b(raw).digest()
