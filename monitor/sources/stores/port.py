"""The port to where objects of a request log lie: a folder, or a bucket."""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO, Protocol

from db.errors import RedistillError
from db.states import RejectReason
from monitor.sources.stores.window import Window
from monitor.stop import Stopped

_SKIPPED = re.compile(r"(?<![^/])[._]")


class TrafficMissingError(RedistillError):
    """There is no request log at {path}: create the folder and let the service write its log there,
    or mend 'uri' in [traffic].
    """


class TrafficUnavailableError(RedistillError):
    """The request log at {uri} cannot be read now ({problem}): see that it is up, and that [traffic] and the
    credentials are right; a cycle is tried again by itself.
    """


class BrokenObjectError(RedistillError):
    """The object cannot be read to its end: {problem}."""

    def __init__(self, *, problem: object, reason: RejectReason) -> None:
        super().__init__(problem=problem)
        self.reason = reason
        self.example_hash = sha256().hexdigest()  #: of the bytes that no record was made of


@dataclass(frozen=True, kw_only=True)
class TrafficObject:
    """One object (file) of the request log, or a folder in it that cannot be listed."""

    name: str  #: the path inside the log, with bytes that are not UTF-8 written as \\xNN
    address: Path | str  #: by which its store opens it
    version: str  #: changes with the contents
    size: int  #: bytes, as they are stored
    modified_at: datetime


def is_skipped(path: str, named: int = 0) -> bool:
    """Whether a part of the path begins with `_` or `.`, but for parts that begin in its first `named` chars.

    As Arrow does. Such are markers, checksums, and what is being written.

    Example:
        >>> [is_skipped(path) for path in ("a/_SUCCESS", "_temporary/0/a", ".a.crc", "a_1.parquet")]
        [True, True, True, False]
        >>> is_skipped("_raw/10/a", len("_raw/10/"))
        False
    """
    return _SKIPPED.search(path, named) is not None


class ObjectStore(Protocol):
    """Lists objects and opens them. Can be pickled, so that other processes may read, too."""

    def list(self, window: Window, /) -> Sequence[TrafficObject]:
        """All objects that may hold records of the window, by their names.

        Raises:
            TrafficMissingError: there is no log.
            TrafficUnavailableError: it cannot be listed now.
        """
        ...

    def open(self, each: TrafficObject, stopped: Stopped, /) -> AbstractContextManager[BinaryIO]:
        """Its bytes, which can be sought in.

        Raises:
            StoppedError: `stopped` said so while it was fetched.
            BrokenObjectError: the object itself is at fault.
            TrafficUnavailableError: it cannot be fetched now, or has changed since it was listed.
        """
        ...
