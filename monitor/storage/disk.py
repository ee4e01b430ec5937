"""Durable writes to disk, and errors of a disk that accepts no more."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

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


def sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a folder, are on disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
