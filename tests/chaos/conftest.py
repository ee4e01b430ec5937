"""The world of the scenario, built once a session."""

from collections.abc import Iterator

import pytest

from tests.chaos.scenario import all_words
from tests.support.world.for_processes import built
from tests.support.world.tiny_world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with built(tmp_path_factory.mktemp("world"), new_words=all_words()) as world:
        yield world
