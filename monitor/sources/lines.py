"""Chunks of bytes, cut into lines in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from monitor.sources.objects import read_chunks

#: A longer line is passed over without being held.
MAX_LINE_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class LongLine:
    """A line of more than `MAX_LINE_BYTES`, of which only the hash is left."""

    sha256: str


class LineSplitter:
    """What is left of a chunk after its last line feed waits for the next chunk."""

    def __init__(self) -> None:
        self._tail = b""
        self._passed_over = sha256()  #: the start of a long line that is not held
        self._is_long = False

    def feed(self, chunk: bytes) -> list[bytes | LongLine]:
        """The lines that end in this chunk, without their line feeds."""
        if self._is_long:
            return self._feed_long(chunk)
        *lines, self._tail = (self._tail + chunk).split(b"\n")
        if len(self._tail) > MAX_LINE_BYTES:
            self._pass_over(self._tail)
        return [*lines]

    def finish(self) -> list[bytes | LongLine]:
        """The last line, where the file does not end in a line feed."""
        if self._is_long:
            return [LongLine(sha256=self.tail_sha256)]
        return [self._tail] if self._tail else []

    @property
    def tail_sha256(self) -> str:
        """The hash of what came after the last line feed so far."""
        whole = self._passed_over.copy()
        whole.update(self._tail)
        return whole.hexdigest()

    def _feed_long(self, chunk: bytes) -> list[bytes | LongLine]:
        end, line_feed, rest = chunk.partition(b"\n")
        self._pass_over(end)
        if not line_feed:
            return []
        long_line = LongLine(sha256=self.tail_sha256)
        self._passed_over, self._is_long = sha256(), False
        return [long_line, *self.feed(rest)]

    def _pass_over(self, part: bytes) -> None:
        self._passed_over.update(part)
        self._tail, self._is_long = b"", True


def read_lines(path: Path) -> Iterator[bytes | LongLine]:
    """All lines of an object, without their line feeds.

    Raises:
        BrokenObjectError: after the last whole line of an object that ends early or is damaged.
    """
    lines = LineSplitter()
    for chunk in read_chunks(path):
        yield from lines.feed(chunk)
    yield from lines.finish()
