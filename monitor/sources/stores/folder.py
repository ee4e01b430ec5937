"""The files of a folder, or one file, as objects."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from db.states import RejectReason
from monitor.sources.stores.port import BrokenObjectError, TrafficMissingError, TrafficObject, is_skipped
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
        """
        if not os.path.lexists(self.uri):
            raise TrafficMissingError(path=self.uri)
        if not self.uri.is_dir():
            return (_describe(self.uri, self.uri.name),)
        paths = (path for path in _walk(self.uri) if os.path.lexists(path))
        found = (_describe(path, os.path.relpath(path, self.uri)) for path in paths)
        return tuple(sorted(found, key=lambda each: each.name))

    def open(self, each: TrafficObject, _stopped: Stopped = never_stopped, /) -> BinaryIO:
        """Open a file; anything else is refused without opening it, since a pipe would wait for its writer.

        Raises:
            BrokenObjectError: the path is not a file, does not exist, or may not be read.
        """
        path = Path(each.address)
        try:
            if stat.S_ISREG(path.stat().st_mode):
                return path.open("rb")
            problem: object = "it is not a regular file"
        except OSError as error:
            problem = error
        raise BrokenObjectError(problem=problem, reason=RejectReason.UNREADABLE_OBJECT)


def _walk(folder: Path) -> Iterator[Path]:
    unlisted: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=lambda e: unlisted.append(Path(e.filename))):
        folders[:] = [name for name in folders if not is_skipped(name)]
        listed = (name for name in files if not is_skipped(name) and not name.endswith(".tmp"))
        yield from (Path(parent, name) for name in listed)
    yield from unlisted


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
