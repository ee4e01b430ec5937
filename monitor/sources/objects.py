"""The objects of a folder, and their bytes: plain, gzip or zstandard, told apart by their first bytes."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import Protocol, cast

from isal import igzip_lib

from db.errors import RedistillError
from db.records import RejectReason

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_READ_BYTES = 2**16
_CHUNK_BYTES = 2**18  #: the largest piece that a compressed one becomes
_ISAL_ERROR = cast("type[Exception]", igzip_lib.IsalError)  # its stub says that it is an instance


class TrafficMissingError(RedistillError):
    """There is no request log at {path}: create the folder and let the service write its log there,
    or mend 'uri' in [traffic].
    """


class BrokenObjectError(RedistillError):
    """{path} cannot be read to its end: {problem}."""

    def __init__(self, *, path: Path, problem: object, reason: RejectReason) -> None:
        super().__init__(path=path, problem=problem)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class TrafficObject:
    """One file of the request log, or a folder in it that cannot be listed."""

    path: Path
    name: str  #: the path inside the folder, with bytes that are not UTF-8 written as \\xNN
    modified_at: datetime
    version: tuple[int, int, int]  #: changes with the contents: inode, size, time of change (ns)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def list_objects(uri: Path) -> tuple[TrafficObject, ...]:
    """The file `uri`, or all files below the folder, by their paths; hidden ones and *.tmp are left out.

    Raises:
        TrafficMissingError: there is neither a file nor a folder.
    """
    if not os.path.lexists(uri):
        raise TrafficMissingError(path=uri)
    if not uri.is_dir():
        return (_describe(uri, uri.name),)
    found = (_describe(path, os.path.relpath(path, uri)) for path in _walk(uri) if os.path.lexists(path))
    return tuple(sorted(found, key=lambda each: each.name))


def read_chunks(path: Path) -> Iterator[bytes]:
    """The contents in pieces of at most 256 KiB, decompressed, all that is whole before any damage.

    Raises:
        BrokenObjectError: the object cannot be opened or read, ends early, or is damaged.
    """
    try:
        with _open_regular(path) as file:
            yield from _decompress(file)
    except EOFError as error:
        reason = RejectReason.TRUNCATED_OBJECT
        raise BrokenObjectError(path=path, problem="it ends too early", reason=reason) from error
    except (OSError, _ISAL_ERROR, zstd.ZstdError) as error:
        reason = RejectReason.UNREADABLE_OBJECT
        raise BrokenObjectError(path=path, problem=error, reason=reason) from error


def _walk(folder: Path) -> Iterator[Path]:
    unlisted: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=lambda e: unlisted.append(Path(e.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not _is_left_out(name))
    yield from unlisted


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name.endswith(".tmp")


def _describe(path: Path, name: str) -> TrafficObject:
    try:
        status = path.stat()
    except OSError:
        status = path.lstat()
    return TrafficObject(
        path=path,
        name=os.fsencode(name).decode(errors="backslashreplace"),
        modified_at=datetime.fromtimestamp(status.st_mtime, UTC),
        version=(status.st_ino, status.st_size, status.st_ctime_ns),
    )


def _open_regular(path: Path) -> BufferedReader:
    """Refuses what is not a file without opening it: a pipe would wait for its writer."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("not a regular file")
    return path.open("rb")


def _decompress(file: BufferedReader) -> Iterator[bytes]:
    magic = file.peek(len(_ZSTD_MAGIC))
    if magic.startswith(_GZIP_MAGIC):
        yield from _inflate(file, lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP))
    elif magic.startswith(_ZSTD_MAGIC):
        yield from _inflate(file, zstd.ZstdDecompressor)
    else:
        yield from iter(lambda: file.read(_CHUNK_BYTES), b"")


def _inflate(file: BufferedReader, new_decompressor: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """All members, one after the other.

    Raises:
        EOFError: the last member ends too early.
    """
    data = file.read(_READ_BYTES)
    while data:
        decompressor = new_decompressor()
        while not decompressor.eof:
            if not data and decompressor.needs_input:
                data = _read_some(file)
            yield decompressor.decompress(data, _CHUNK_BYTES)
            data = b""
        data = _skip_padding(decompressor.unused_data, file)


def _read_some(file: BufferedReader) -> bytes:
    data = file.read(_READ_BYTES)
    if not data:
        raise EOFError
    return data


def _skip_padding(data: bytes, file: BufferedReader) -> bytes:
    """The start of the next member, past the zeros that some writers pad with; empty at the end."""
    data = data.lstrip(b"\0")
    while not data and (more := file.read(_READ_BYTES)):
        data = more.lstrip(b"\0")
    return data
