"""The places of students: a version is found by the content of its files, wherever they are now."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from db.errors import RedistillError
from db.records import ModelVersion
from monitor.scoring.files import fingerprint
from monitor.scoring.model import Model, ModelError
from monitor.scoring.models import load
from monitor.scoring.placement import Placement
from monitor.storage.artifacts import Artifacts, located, places_of
from monitor.storage.location import Location
from monitor.storage.store import ArtifactMissingError


class ModelLostError(RedistillError):
    """The files of the student {version} are in none of its places: {places}. Put them back into one of
    these places, or run `redistill models promote VERSION` with a student whose files are there.
    """


class ModelChangedError(RedistillError):
    """The files of the model in {directory} were changed while they were loaded as version {version}: retry
    once they are complete.
    """


#: The names, sizes, times and inodes of files, which change whenever a file is replaced or written.
_State: TypeAlias = tuple[tuple[object, ...], ...]


@dataclass(frozen=True, kw_only=True)
class StudentPlaces:
    """The places where the students of one monitor may be.

    Files that did not change are read once.
    """

    artifacts: Artifacts
    registry: Location
    configured: Location  #: `uri` in [student]
    _read: dict[Location, tuple[_State, str | None]] = field(default_factory=dict, repr=False, compare=False)

    def find(self, student: ModelVersion) -> Location:
        """Return the place that has the files of the student.

        Raises:
            ModelLostError: no place has them.
            ArtifactReadError: a place in S3 cannot be read.
        """
        places = places_of(student, self.registry, self.configured)
        for place in places:
            if self.version_in(place) == student.version:
                return place
        described = ", ".join(f"{place} ({self._describe(place)})" for place in places)
        raise ModelLostError(version=student.version[:12], places=described)

    def load(self, student: ModelVersion, placement: Placement) -> Model:
        """Load a recorded student. Errors as for `find`, and those of `monitor.scoring.models.load`."""
        location = self.find(student)
        found = load(self.artifacts.directory(location), placement)
        if found.version != student.version:
            raise ModelChangedError(directory=location, version=student.version[:12])
        return found

    def may_be_found(self, student: ModelVersion) -> bool:
        """Return whether a folder has the files of the student, or S3 may have them, which is not asked."""
        places = places_of(student, self.registry, self.configured)
        return any(isinstance(place, str) or self.version_in(place) == student.version for place in places)

    def linked_version(self, link: str) -> str | None:
        """Return the version to which the registry's link leads; None if there is no model.

        Raises:
            ArtifactReadError: S3 refuses, or cannot be read now.
        """
        store = self.artifacts.store(self.registry)
        pointed, versions = store.pointed(link), f"{store.location('versions')}/"
        if pointed is None:
            return None
        is_registered = pointed.startswith(versions)
        return pointed.removeprefix(versions) if is_registered else self.version_in(located(pointed))

    def version_in(self, place: Location) -> str | None:
        """Return the version of the model in a place, or None if there is none.

        Raises:
            ArtifactReadError: S3 refuses, or cannot be read now.
        """
        try:
            directory = self.artifacts.directory(place)
            state = _state(directory)
        except (ArtifactMissingError, OSError):
            return None
        known = self._read.get(place)
        if known is None or known[0] != state:
            known = self._read[place] = (state, _version_in(directory))
        return known[1]

    def _describe(self, place: Location) -> str:
        version = self.version_in(place)
        return "no model" if version is None else f"version {version[:12]}"


def without_links(location: Location) -> Location:
    """Return the folder to which a location leads now: a link in it may lead elsewhere later."""
    if isinstance(location, str) or not any(each.is_symlink() for each in (location, *location.parents)):
        return location
    return location.resolve()


def _state(directory: Path) -> _State:
    found = ((path, path.stat()) for path in directory.iterdir() if path.is_file())
    return tuple(
        sorted(
            (path.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino) for path, stat in found
        )
    )


def _version_in(directory: Path) -> str | None:
    try:
        return fingerprint(directory)
    except ModelError:
        return None
