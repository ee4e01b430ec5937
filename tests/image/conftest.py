"""The image, built once a session, and the world that its containers work in."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployment.containers import build
from tests.support.world.for_processes import built
from tests.support.world.tiny_world import World


@pytest.fixture(scope="session", autouse=True)
def image() -> str:
    return build()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world that the user of the image may read."""
    with built(tmp_path_factory.mktemp("world")) as world:
        for path in (world.teacher.parent, *world.teacher.parent.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield world


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder whose parents everybody may enter."""
    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and "pytest" in str(parent):
            parent.chmod(0o755)
    return tmp_path
