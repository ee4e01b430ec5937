"""What outlives a power cut."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Wait until the disk holds a file's bytes, or the names in a folder. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
