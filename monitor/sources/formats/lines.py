"""Splitting chunks of bytes into lines, in bounded memory."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

import orjson

BOM = b"\xef\xbb\xbf"
#: Longer lines are skipped without being held in memory.
MAX_LINE_BYTES = 16 * 2**20
_LONG_TAIL_BYTES = 2**18  #: longer lines are searched for records without line feeds between them
_OVERLAP_BYTES = 2**10
#: The boundary between two JSON objects on one line. It cannot occur inside a string: the quote would end the
#: string, and one of , } ] : would follow, with which no field name is assumed to begin.
_OBJECT_BOUNDARY = re.compile(rb'(?<=\})[ \t\r]*(?=\{\s*"[^,}\]:\s"])')


@dataclass(frozen=True, kw_only=True)
class LongLine:
    """A line of more than `MAX_LINE_BYTES`, of which only the hash is kept."""

    sha256: str


def split_objects(line: bytes) -> list[bytes]:
    """Return the JSON objects of a line that have no delimiter between them, as Firehose writes them.

    Example:
        >>> split_objects(b'{"a": 1}{"a": "}{"}')
        [b'{"a": 1}', b'{"a": "}{"}']
    """
    return _OBJECT_BOUNDARY.split(line)


def read_objects(line: bytes) -> Iterator[object]:
    """Yield the JSON values of a line, without a byte order mark; None for one that is not JSON.

    Example:
        >>> list(read_objects(b'{"a": 1}{"a": 2}'))
        [{'a': 1}, {'a': 2}]
    """
    whole = _loaded(line)
    yield from [whole] if whole is not None else map(_loaded, split_objects(line))


def _loaded(text: bytes) -> object:
    try:
        return orjson.loads(text.removeprefix(BOM))
    except orjson.JSONDecodeError:
        return None


class LineSplitter:
    """A splitter of chunks into lines; the rest of a chunk after its last line feed is kept for the next."""

    def __init__(self) -> None:
        self._tail = b""
        self._passed_over = sha256()  #: the start of a long line, which is not held in memory
        self._is_long = False

    def feed(self, chunk: bytes) -> list[bytes | LongLine]:
        """Return the lines that end in this chunk, without their line feeds.

        From a long line of JSON objects without delimiters, return the objects that end in this chunk.
        """
        if self._is_long:
            return self._feed_long(chunk)
        *ended, self._tail = (self._tail + chunk).split(b"\n")
        lines = list[bytes | LongLine](ended)
        if len(self._tail) > _LONG_TAIL_BYTES:
            lines += self._whole_objects(min(len(self._tail), len(chunk) + _OVERLAP_BYTES))
        if len(self._tail) > MAX_LINE_BYTES:
            self._pass_over(self._tail)
        return lines

    def finish(self) -> list[bytes | LongLine]:
        """Return the last line, if the file does not end with a line feed."""
        if self._is_long:
            return [LongLine(sha256=self.tail_sha256)]
        return [self._tail] if self._tail else []

    @property
    def tail_sha256(self) -> str:
        """Return the hash of the bytes after the last line feed so far."""
        whole = self._passed_over.copy()
        whole.update(self._tail)
        return whole.hexdigest()

    def _whole_objects(self, new_bytes: int) -> list[bytes | LongLine]:
        boundaries = [
            each.end() for each in _OBJECT_BOUNDARY.finditer(self._tail, len(self._tail) - new_bytes)
        ]
        if not boundaries:
            return []
        whole, self._tail = self._tail[: boundaries[-1]], self._tail[boundaries[-1] :]
        return list[bytes | LongLine](split_objects(whole))

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


def read_lines(chunks: Iterable[bytes]) -> Iterator[bytes | LongLine]:
    """Yield all lines without their line feeds; errors of `chunks` are raised after the last whole line."""
    lines = LineSplitter()
    for chunk in chunks:
        yield from lines.feed(chunk)
    yield from lines.finish()
