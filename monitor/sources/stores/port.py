"""The port to the store of a request log's objects: a folder or a bucket."""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Protocol

from db.errors import RedistillError
from db.states import RejectReason
from monitor.sources.stores.window import Window
from monitor.stop import Stopped
from monitor.storage.disk import NO_ROOM

_SKIPPED = re.compile(r"(?<![^/])[._]")


class TrafficMissingError(RedistillError):
    """There is no request log at {path}: create the folder and let the service write its log there,
    or fix 'uri' in [traffic].
    """


class TrafficUnavailableError(RedistillError):
    """The request log at {uri} cannot be read now ({problem}): check that it is available, and that [traffic]
    and the credentials or permissions are right. The cycle is retried automatically.
    """


@contextmanager
def unavailable_if_unread(uri: object) -> Iterator[None]:
    """Raise TrafficUnavailableError if the operating system refuses to read: a part of the log is missing.

    A disk that is full is of the process that writes, not of the log.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise TrafficUnavailableError(uri=uri, problem=error.strerror or error) from error


class BrokenObjectError(RedistillError):
    """The object cannot be read to its end: {problem}."""

    def __init__(self, *, problem: object, reason: RejectReason) -> None:
        super().__init__(problem=problem)
        self.reason = reason
        self.example_hash = sha256().hexdigest()  #: of the bytes that are not part of any record


@dataclass(frozen=True, kw_only=True)
class TrafficObject:
    """One object (file) of the request log."""

    name: str  #: the path inside the log; bytes that are not UTF-8 are written as \\xNN
    address: Path | str  #: by which the store opens the object
    version: str  #: changes with the content
    size: int  #: stored bytes
    modified_at: datetime  #: in a bucket, as near to it as the hour of the key allows


def is_skipped(path: str, named: int = 0) -> bool:
    """Return whether a part of the path begins with `_` or `.`, after the first `named` characters.

    Such names, which Arrow skips too, are markers, checksums, and files that are still being written.

    Example:
        >>> [is_skipped(path) for path in ("a/_SUCCESS", "_temporary/0/a", ".a.crc", "a_1.parquet")]
        [True, True, True, False]
        >>> is_skipped("_raw/10/a", len("_raw/10/"))
        False
    """
    return _SKIPPED.search(path, named) is not None


class ObjectStore(Protocol):
    """A store of objects. It can be pickled, so that other processes can read, too."""

    def list(self, window: Window, /) -> Sequence[TrafficObject]:
        """Return all objects that may have records of the window, ordered by name.

        Raises:
            TrafficMissingError: there is no log.
            TrafficUnavailableError: the log cannot be listed now.
        """
        ...

    def open(self, each: TrafficObject, stopped: Stopped, /) -> AbstractContextManager[BinaryIO]:
        """Open the bytes of an object, as a seekable file.

        Raises:
            StoppedError: `stopped` returned True while the object was fetched.
            BrokenObjectError: the object itself is unreadable.
            TrafficUnavailableError: the object cannot be fetched now, or has changed since it was listed.
        """
        ...
