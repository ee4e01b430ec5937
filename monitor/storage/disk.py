"""What outlives a power cut, and what happens on a disk that takes no more."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from db.errors import RedistillError

#: Full, over the quota, read-only, or a larger file than is allowed.
NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


class ScratchError(RedistillError):
    """No temporary file can be written to {folder}: {problem}. Make room there, or name another folder in
    TMPDIR.
    """


@contextmanager
def scratch() -> Iterator[None]:
    """Tell of a disk that has no room for the temporary files of the block.

    Raises:
        ScratchError: it has none.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise ScratchError(folder=tempfile.gettempdir(), problem=error.strerror) from error


def sync(path: Path) -> None:
    """Wait until the disk holds a file's bytes, or the names in a folder. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
