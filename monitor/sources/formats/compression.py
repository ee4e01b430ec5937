"""Decompression of an object: plain, gzip or zstandard, as its first bytes show."""

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol, cast

from isal import igzip_lib

from db.states import RejectReason
from monitor.sources.stores.port import BrokenObjectError
from monitor.storage.zstandard import zstd

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
#: Other containers, by their first bytes. What is in them would be read as damaged lines.
_OTHERS = {
    b"\xfd7zXZ\x00": "it is xz",
    b"PK\x03\x04": "it is a zip archive or a workbook",
    b"7z\xbc\xaf\x27\x1c": "it is a 7-Zip archive",
    b"\x04\x22\x4d\x18": "it is LZ4",
    b"PAR1\x15": "it is Parquet",
}
_BZIP2 = re.compile(rb"BZh[1-9]1AY&SY")
_TAR = slice(257, 262)  #: where the first header of a tar archive has `ustar`
_READ_BYTES = 2**16
_CHUNK_BYTES = 2**18  #: the largest piece that is returned
_ISAL_ERROR = cast("type[Exception]", igzip_lib.IsalError)  # its stub declares an instance


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def read_chunks(file: BinaryIO, *, max_bytes: int) -> Iterator[bytes]:
    """Yield the decompressed content in pieces of at most 256 KiB, up to any damage.

    Raises:
        BrokenObjectError: the object ends early, is damaged, is larger than `max_bytes` when decompressed, or
            is in a container that is not read.
        OSError: the file cannot be read now.
    """
    left = max_bytes
    try:
        for chunk in _decompress(file):
            if left == max_bytes and (container := _container(chunk)):
                problem = f"{container}; only plain, gzip and zstandard files of lines are read"
                raise BrokenObjectError(problem=problem, reason=RejectReason.UNREADABLE_OBJECT)
            left -= len(chunk)
            if left < 0:
                reason = RejectReason.OVERSIZED_OBJECT
                raise BrokenObjectError(problem=f"it has more than {max_bytes} bytes", reason=reason)
            yield chunk
    except EOFError as error:
        reason = RejectReason.TRUNCATED_OBJECT
        raise BrokenObjectError(problem="it ends too early", reason=reason) from error
    except (_ISAL_ERROR, zstd.ZstdError) as error:
        raise BrokenObjectError(problem=error, reason=RejectReason.UNREADABLE_OBJECT) from error


def _container(head: bytes) -> str | None:
    if head[_TAR] == b"ustar":
        return "it is a tar archive"
    if _BZIP2.match(head):
        return "it is bzip2"
    return next((name for magic, name in _OTHERS.items() if head.startswith(magic)), None)


def _decompress(file: BinaryIO) -> Iterator[bytes]:
    head = file.read(_READ_BYTES)
    if head.startswith(_GZIP_MAGIC):
        yield from _inflate(head, file, lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP))
    elif head.startswith(_ZSTD_MAGIC):
        yield from _inflate(head, file, zstd.ZstdDecompressor)
    else:
        yield head
        yield from iter(lambda: file.read(_CHUNK_BYTES), b"")


def _inflate(data: bytes, file: BinaryIO, new_decompressor: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """Yield the content of all members in order; `data` is the start of the first member.

    Raises:
        EOFError: the last member ends too early.
    """
    while data:
        decompressor = new_decompressor()
        while not decompressor.eof:
            if not data and decompressor.needs_input:
                data = _read_some(file)
            yield decompressor.decompress(data, _CHUNK_BYTES)
            data = b""
        data = _skip_padding(decompressor.unused_data, file)


def _read_some(file: BinaryIO) -> bytes:
    data = file.read(_READ_BYTES)
    if not data:
        raise EOFError
    return data


def _skip_padding(data: bytes, file: BinaryIO) -> bytes:
    """Return the start of the next member, after the zeros with which some writers pad; empty at the end."""
    data = data.lstrip(b"\0")
    while not data and (more := file.read(_READ_BYTES)):
        data = more.lstrip(b"\0")
    return data
