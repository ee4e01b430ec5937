"""The repaired site that invariants 6 and 8 inspect; it costs a training, so it is built once."""

from collections.abc import Iterator

import pytest

from tests.support.world.repaired import Repaired, repaired_site
from tests.support.world.tiny_world import World


@pytest.fixture(scope="session")
def repaired(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repaired]:
    with repaired_site(world, tmp_path_factory.mktemp("repaired")) as repaired:
        yield repaired
