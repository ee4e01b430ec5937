"""The deletion of old students from the registry: rejected candidates and those that have served."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from db import registries
from db.connection.session import reading, writing
from distill.registry import MANIFEST, REGISTRY_FILE, VERSIONS
from distill.settings import RedistillSection
from monitor.storage.location import Location
from monitor.storage.store import ArtifactReadError, Store


@dataclass(frozen=True, kw_only=True)
class OldVersions:
    """The versions of one monitor in its registry, of which the `keep` newest stay, and all that are needed.

    The rows of a version stay in SQL, with the time when its files were deleted.
    """

    engine: Engine
    monitor: str
    store: Store
    keep: int | None  #: None: all
    configured: Collection[Location]  #: models that the configuration names

    def deletable(self) -> tuple[str, ...]:
        """Return the versions whose files are to be deleted now, oldest first. Raises ArtifactReadError."""
        if self.keep is None:
            return ()
        named = frozenset(self._named())
        with reading(self.engine) as connection:
            old = registries.made(connection, self.monitor)[self.keep :]
            needed = registries.needed(connection, self.monitor)
        return tuple(version for version in reversed(old) if version not in needed | named)

    def delete(self, now: datetime) -> Sequence[str]:
        """Delete the files of these versions, and what a worker that died left of others; return all these.

        While the monitor has an open job, no deletion begins.

        Raises:
            ArtifactReadError, ArtifactWriteError: the registry cannot be read or written now.
        """
        with reading(self.engine) as connection:
            begun = registries.half_deleted(connection, self.monitor)
        deleted = []
        for version in (*begun, *self.deletable()):
            if version not in begun and not self._begin(version, now):
                continue
            self.store.remove_directory(f"{VERSIONS}/{version}", last=MANIFEST)
            with writing(self.engine) as connection:
                registries.end_deletion(connection, self.monitor, version, now)
            deleted.append(version)
        return deleted

    def _begin(self, version: str, now: datetime) -> bool:
        with writing(self.engine) as connection:
            return registries.begin_deletion(connection, self.monitor, version, now)

    def _named(self) -> Iterator[str]:
        """Yield the versions in the registry that one of its links or the configuration names."""
        links = (name for name in self.store.names("") if not name.startswith(".") and name != VERSIONS)
        targets = [self._target(name) for name in links if name != REGISTRY_FILE]
        folder = self.store.location(VERSIONS)
        for target in (*targets, *map(str, self.configured)):
            if target is not None and _parent(target) in {folder, _resolved(folder)}:
                yield target.rstrip("/").rpartition("/")[2]

    def _target(self, name: str) -> str | None:
        try:
            return self.store.pointed(name)
        except ArtifactReadError:  # an object that is not a link
            return None


def old_versions(
    engine: Engine, monitor: str, section: RedistillSection, store: Store, *, student: Location
) -> OldVersions:
    """Return the old versions of the monitor, by its configuration."""
    configured = {student} if section.student_init is None else {student, section.student_init}
    return OldVersions(
        engine=engine, monitor=monitor, store=store, keep=section.keep_versions, configured=configured
    )


def _parent(target: str) -> str:
    folder = target.rstrip("/").rpartition("/")[0]
    return folder if target.startswith("s3://") else _resolved(folder)


def _resolved(folder: str) -> str:
    return folder if folder.startswith("s3://") else str(Path(folder).resolve())
