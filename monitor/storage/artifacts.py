"""Artifacts: models, labelled files and registries, in folders of this machine or in S3.

A location is a path or `s3://bucket/key`. Code that reads an artifact asks for a local copy: of a path it is
the path itself, of S3 a folder in the cache. Code that writes asks for the store at a location.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from db.records import ModelVersion
from monitor.storage.local_store import LocalStore
from monitor.storage.location import Location
from monitor.storage.s3_copies import S3Copies
from monitor.storage.s3_store import S3Store
from monitor.storage.store import ArtifactMissingError, Store


def located(uri: str | Path) -> Location:
    """Return the location that a recorded URI names: an `s3://…` string, or else a path.

    Example:
        >>> located("s3://models/teacher"), located("/models/teacher").is_absolute()
        ('s3://models/teacher', True)
    """
    text = str(uri)
    return text if text.startswith("s3://") else Path(text)


def places_of(student: ModelVersion, registry: Location, configured: Location) -> tuple[Location, ...]:
    """Return the places where the files of a recorded student may be, the most likely one first.

    A version that a job made is in the registry, which may have been moved since. Any other is where it was
    recorded, or its folder was moved and the configuration names the new place.
    """
    recorded, registered = located(student.uri), located(f"{registry}/versions/{student.version}")
    first = (recorded, registered) if student.job_id is None else (registered, recorded)
    return tuple(dict.fromkeys((*first, configured)))


@dataclass(frozen=True)
class Artifacts:
    """The reader of artifacts, and the opener of stores."""

    cache: Path = Path("cache")  #: the folder of the copies of what is in S3
    encryption: Mapping[str, str] = field(default_factory=dict)  #: parameters of each upload to S3
    show: Callable[[str, int, int], None] = lambda _what, _done, _total: None  #: the progress of downloads

    def directory(self, location: Location) -> Path:
        """Return a local copy of a directory, or of the one that a registry's pointer names.

        Raises:
            ArtifactMissingError: there is no such directory in S3. A path is not checked.
            ArtifactUnavailableError: S3 cannot be read now; a later attempt may succeed.
            ArtifactReadError: S3 refuses, or the disk of the cache is full.
        """
        return location if isinstance(location, Path) else self._copies.directory(location)

    def file(self, location: Location) -> Path:
        """Return a local copy of a file. Errors as for `directory`."""
        return location if isinstance(location, Path) else self._copies.file(location)

    def read(self, uri: str) -> bytes:
        """Return the bytes of a small object in S3. Errors as for `directory`."""
        found = self._copies.read(uri)
        if found is None:
            raise ArtifactMissingError(location=uri)
        return found[0]

    def holds_model(self, location: Location) -> bool:
        """Return whether there is a model's config.json in a directory. Errors as for `directory`."""
        return "config.json" in self.store(location).names("")

    def store(self, location: Location) -> Store:
        """Return the store at a location; nothing is created before the first write."""
        if isinstance(location, Path):
            return LocalStore(location)
        return S3Store(location, self._copies, self.encryption)

    @cached_property
    def _copies(self) -> S3Copies:
        return S3Copies(self.cache, self.show)
