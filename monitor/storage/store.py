"""The port of artifact stores, which conformance tests hold the implementations to.

A store is a tree of files by key, such as `versions/<version>` or `registry.json`. Whatever a reader finds is
whole: a file or directory appears completely or not at all.
"""

from datetime import datetime
from pathlib import Path
from typing import Protocol

from db.errors import RedistillError


class ArtifactReadError(RedistillError):
    """The artifact {location} cannot be read: {problem}."""


class ArtifactMissingError(ArtifactReadError):
    """The artifact {location} does not exist: correct the location, or put the artifact there."""


class ArtifactUnavailableError(ArtifactReadError):
    """The artifact {location} cannot be read now: {problem}. A later attempt may succeed."""


class ArtifactWriteError(RedistillError):
    """The artifact {location} cannot be written: {problem}."""


class Store(Protocol):
    """A tree of artifacts at one location.

    Reading raises ArtifactReadError or one of its subclasses, writing ArtifactWriteError.
    """

    @property
    def staging(self) -> Path:
        """A local folder in which new artifacts are prepared; readers of the store ignore it."""
        ...

    def location(self, key: str) -> str:
        """Return where a key is: a path, or `s3://…`."""
        ...

    def names(self, key: str) -> tuple[str, ...]:
        """Return the names of the files and directories in a directory, in order; none if it is absent."""
        ...

    def modified(self, key: str) -> datetime | None:
        """Return when a directory last got or lost a file; None if it is absent."""
        ...

    def size(self, key: str) -> int:
        """Return the bytes of all files in a directory; 0 if it is absent."""
        ...

    def fetch(self, key: str) -> Path:
        """Return a local copy of a file, not to be changed."""
        ...

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a small file, or None if it is absent."""
        ...

    def put(self, key: str, staged: Path) -> None:
        """Store a staged file, in place of an earlier one; `staged` no longer exists afterwards."""
        ...

    def put_directory(self, key: str, staged: Path, *, last: str) -> None:
        """Store the files of a staged directory, unless the key is taken; `staged` no longer exists.

        `last` is the name of the file whose presence makes the directory whole.
        """
        ...

    def create(self, key: str, content: bytes) -> bytes:
        """Store a small file unless the key is taken; return the content that is there afterwards."""
        ...

    def publish(self, key: str, content: bytes) -> None:
        """Store a small file that others may read, in place of an earlier one."""
        ...

    def remove(self, key: str) -> None:
        """Remove a file, or a directory with all that is in it; nothing happens if it is absent."""
        ...

    def remove_directory(self, key: str, *, last: str) -> None:
        """Remove a directory, which readers find whole or not at all; nothing happens if it is absent.

        `last` is as for `put_directory`. What is left if this fails midway is removed by the next attempt.
        """
        ...

    def remove_incomplete(self, key: str, *, last: str, before: datetime) -> None:
        """Remove directories in `key` without the file `last` to which nothing was written since `before`."""
        ...

    def point(self, name: str, target: str) -> bool:
        """Let the pointer `name` name a target, a key of this store or a location; return whether it changed.

        Whoever reads the pointer finds the earlier target or the new one.
        """
        ...

    def pointed(self, name: str) -> str | None:
        """Return the location that the pointer names, or None if it is absent."""
        ...
