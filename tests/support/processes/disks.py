"""Small disks that a test fills and makes read-only. Only root may mount them, if only of a namespace."""

import errno
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

mounts = pytest.mark.mounts


def in_a_namespace(item: pytest.Item) -> pytest.Item:
    """The same test, run by pytest as root of a namespace of its own."""

    def once_more() -> None:
        with tempfile.TemporaryDirectory() as folder:
            namespace = ["unshare", "--user", "--map-root-user", "--mount", sys.executable]
            runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/test"]
            command = [*namespace, *runner, item.nodeid]
            root = item.config.rootpath
            done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(
                f"as root of a namespace, which who runs it has to be let:\n{done.stdout}{done.stderr}"
            )

    again: pytest.Item = pytest.Function.from_parent(item.parent, name=item.name, callobj=once_more)
    return again


class Disk:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / ".filler"

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte more can be written; what is there may be read and removed."""
        _fill(self._filler)
        try:
            yield
        finally:
            self._filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        _mount("remount,ro", self.folder)
        try:
            yield
        finally:
            _mount("remount,rw", self.folder)


@contextmanager
def small_disk(folder: Path, *, kib: int) -> Iterator[Disk]:
    """A file system of so many KiB, at that folder."""
    folder.mkdir()
    _mount(f"size={kib}k", folder)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


def _mount(options: str, folder: Path) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"these tests need the right to mount a tmpfs: {done.stderr.strip()}")


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
