"""Durable and private writes to disk, and errors of a disk that accepts no more."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from db.errors import RedistillError

#: The disk is full, over quota or read-only, or the file would be larger than allowed.
NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


class ScratchError(RedistillError):
    """No temporary file can be written to {folder}: {problem}. Free space there, or set TMPDIR to another
    folder.
    """


@contextmanager
def scratch() -> Iterator[None]:
    """Report a disk that accepts no temporary files of the block.

    Raises:
        ScratchError: the disk accepts no more.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise ScratchError(folder=tempfile.gettempdir(), problem=error.strerror) from error


def private_folder(path: Path) -> None:
    """Create a folder, and those above it that are missing, for their owner only. Raises OSError."""
    for each in (*reversed(path.parents), path):
        if not each.exists():
            each.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, content: bytes) -> None:
    """Write a file, which is for its owner only if it is new. Raises OSError."""
    with open_private(path) as file:
        file.write(content)


def open_private(path: Path) -> BinaryIO:
    """Open a file to write it, which is for its owner only if it is new. Raises OSError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
