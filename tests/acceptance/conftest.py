"""The world that the acceptance tests live in, built once a session."""

from collections.abc import Iterator

import pytest

from tests.support.world.for_processes import built
from tests.support.world.tiny_world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with built(tmp_path_factory.mktemp("world")) as world:
        yield world
