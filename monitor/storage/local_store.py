"""Artifacts in a folder of this machine. A pointer is a symbolic link."""

import errno
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from db.errors import RedistillError
from monitor.storage.disk import sync, write_private
from monitor.storage.store import ArtifactMissingError, ArtifactReadError, ArtifactWriteError


@dataclass(frozen=True)
class LocalStore:
    """A folder. What is stored is on disk before a method returns."""

    root: Path

    @property
    def staging(self) -> Path:
        """The folder itself, so that a finished artifact is only renamed."""
        return self.root

    def location(self, key: str) -> str:
        """Return the path of a key."""
        return str(self.root / key)

    def names(self, key: str) -> tuple[str, ...]:
        """Return the names in a directory."""
        with self._errors(key, ArtifactReadError):
            try:
                return tuple(sorted(path.name for path in (self.root / key).iterdir()))
            except (FileNotFoundError, NotADirectoryError):
                return ()

    def modified(self, key: str) -> datetime | None:
        """Return when a directory last changed."""
        with self._errors(key, ArtifactReadError):
            try:
                return datetime.fromtimestamp((self.root / key).stat().st_mtime, UTC)
            except FileNotFoundError:
                return None

    def size(self, key: str) -> int:
        """Return the bytes of the files in a directory."""
        with self._errors(key, ArtifactReadError):
            return sum(path.stat().st_size for path in (self.root / key).rglob("*") if path.is_file())

    def fetch(self, key: str) -> Path:
        """Return the file itself."""
        path = self.root / key
        if not path.exists():
            raise ArtifactMissingError(location=path)
        return path

    def read(self, key: str) -> bytes | None:
        """Return the bytes of a file."""
        with self._errors(key, ArtifactReadError):
            try:
                return (self.root / key).read_bytes()
            except FileNotFoundError:
                return None

    def put(self, key: str, staged: Path) -> None:
        """Rename a staged file, which must be on this disk, and is for its owner only."""
        path = self.root / key
        with self._errors(key), removed(staged):
            path.parent.mkdir(parents=True, exist_ok=True)
            staged.chmod(stat.S_IMODE(staged.stat().st_mode) & 0o600)
            sync(staged)
            staged.replace(path)
            sync(path.parent)

    def put_directory(self, key: str, staged: Path, *, last: str) -> None:  # noqa: ARG002 - a rename is atomic
        """Rename a staged directory, which must be on this disk."""
        path = self.root / key
        with self._errors(key), removed(staged):
            for each in staged.rglob("*"):
                sync(each)
            sync(staged)
            path.parent.mkdir(parents=True, exist_ok=True)
            _rename_unless_there(staged, path)
            sync(path.parent)
            sync(self.root)

    def create(self, key: str, content: bytes) -> bytes:
        """Store a small file unless it exists."""
        path, draft = self.root / key, self.root / f".tmp-{uuid.uuid4().hex}"
        with self._errors(key), removed(draft):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(draft, content)
            sync(draft)
            try:
                path.hardlink_to(draft)
            except FileExistsError:
                return path.read_bytes()
            sync(path.parent)
        return content

    def publish(self, key: str, content: bytes) -> None:
        """Rename a new file to its name; as for weights, the umask decides on its readers."""
        path, draft = self.root / key, self.root / f".tmp-{uuid.uuid4().hex}"
        with self._errors(key), removed(draft):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            sync(draft)
            draft.replace(path)
            sync(path.parent)

    def remove(self, key: str) -> None:
        """Remove a file or a directory; what cannot be removed now stays until the next attempt."""
        remove_tree(self.root / key)

    def remove_directory(self, key: str, *, last: str) -> None:  # noqa: ARG002 - a rename is atomic
        """Rename the directory to a name that readers ignore, and remove it."""
        removed_name = self.root / f".tmp-removed-{uuid.uuid4().hex}"
        with self._errors(key):
            try:
                (self.root / key).rename(removed_name)
            except FileNotFoundError:
                return
        remove_tree(removed_name)

    def remove_incomplete(self, key: str, *, last: str, before: datetime) -> None:
        """Do nothing: a directory that is not whole has another name, in `staging`."""

    def point(self, name: str, target: str) -> bool:
        """Replace the symbolic link.

        It is relative if it leads to a place in the store or beside it, so that their folder can be moved.
        """
        link, draft = self.root / name, self.root / f".tmp-{name}-{uuid.uuid4().hex}"
        with self._errors(name):
            self.root.mkdir(parents=True, exist_ok=True)
            wanted = self._from_here(Path(target))
            if link.is_symlink() and link.readlink() == wanted:
                return False
            with removed(draft):
                draft.symlink_to(wanted)
                draft.replace(link)
            sync(self.root)
        return True

    def _from_here(self, path: Path) -> Path:
        if not path.is_absolute() or not path.is_relative_to(self.root.parent):
            return path
        relative = Path(os.path.relpath(path, self.root))
        is_same = path.is_relative_to(self.root) or _is_same(self.root / relative, path)
        return relative if is_same else path

    def pointed(self, name: str) -> str | None:
        """Return the path that the symbolic link names; its own if it is a file or a directory."""
        link = self.root / name
        with self._errors(name, ArtifactReadError):
            if not os.path.lexists(link):
                return None
            return os.path.normpath(self.root / link.readlink()) if link.is_symlink() else str(link)

    @contextmanager
    def _errors(self, key: str, kind: type[RedistillError] = ArtifactWriteError) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise kind(location=self.root / key, problem=error.strerror or error) from error


def _is_same(one: Path, other: Path) -> bool:
    """Return whether both paths lead to the same place, which `..` after a symbolic link may not."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def _rename_unless_there(staged: Path, path: Path) -> None:
    try:
        staged.rename(path)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def remove_tree(path: Path) -> None:
    """Remove a file, a link or a directory; what cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def removed(path: Path) -> Iterator[None]:
    """Remove a path when the block ends."""
    try:
        yield
    finally:
        remove_tree(path)
