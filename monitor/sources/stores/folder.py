"""The files of a folder, or one file, as objects."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from db.states import RejectReason
from monitor.sources.stores.port import (
    BrokenObjectError,
    TrafficMissingError,
    TrafficObject,
    TrafficUnavailableError,
    is_skipped,
    unavailable_if_unread,
)
from monitor.sources.stores.window import Window
from monitor.stop import Stopped, never_stopped


@dataclass(frozen=True, kw_only=True)
class Folder:
    """All files below a folder, or one file, except *.tmp and those that `is_skipped` names.

    Only its records determine the windows of a file, so all files are listed for each window.
    """

    uri: Path

    def list(self, _window: Window | None = None, /) -> tuple[TrafficObject, ...]:
        """Return the files, ordered by path.

        Raises:
            TrafficMissingError: there is neither a file nor a folder.
            TrafficUnavailableError: a folder cannot be listed.
        """
        with unavailable_if_unread(self.uri):
            if not _exists(self.uri):
                raise TrafficMissingError(path=self.uri)
            if not self.uri.is_dir():
                return (_describe(self.uri, self.uri.name),)
            found = (
                _describe(path, os.path.relpath(path, self.uri)) for path in _walk(self.uri) if _exists(path)
            )
            return tuple(sorted(found, key=lambda each: each.name))

    def open(self, each: TrafficObject, _stopped: Stopped = never_stopped, /) -> BinaryIO:
        """Open a file; anything else is refused without opening it, since a pipe would wait for its writer.

        Raises:
            BrokenObjectError: the path is not a file, or is a link that leads nowhere.
            TrafficUnavailableError: the file may not be read, or has been moved since it was listed.
        """
        path = Path(each.address)
        with unavailable_if_unread(path):
            if path.is_symlink() and not path.exists():
                raise _unreadable("it is a link to a file that does not exist")
            if stat.S_ISREG(path.stat().st_mode):
                return path.open("rb")
        raise _unreadable("it is not a regular file")


def _exists(path: Path) -> bool:
    """Return whether there is a file, a folder or a link. Raises OSError if that cannot be known."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _unreadable(problem: str) -> BrokenObjectError:
    return BrokenObjectError(problem=problem, reason=RejectReason.UNREADABLE_OBJECT)


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not is_skipped(name)]
        listed = (name for name in files if not is_skipped(name) and not name.endswith(".tmp"))
        yield from (Path(parent, name) for name in listed)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # else it was removed meanwhile
        raise TrafficUnavailableError(uri=error.filename, problem=error.strerror) from error


def _describe(path: Path, name: str) -> TrafficObject:
    try:
        status = path.stat()
    except OSError:
        status = path.lstat()
    return TrafficObject(
        name=os.fsencode(name).decode(errors="backslashreplace"),
        address=path,
        version=f"{status.st_ino}-{status.st_size}-{status.st_ctime_ns}",
        size=status.st_size,
        modified_at=datetime.fromtimestamp(status.st_mtime, UTC),
    )
