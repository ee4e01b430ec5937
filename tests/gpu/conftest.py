"""The GPU of the tests. Without one they fail and say what they need, as all tests here do."""

import os
from collections.abc import Iterator

import pytest

from monitor.scoring.device import DeviceMissingError, place
from monitor.scoring.placement import Placement
from tests.support.processes.product import ROOT, preload
from tests.support.world.for_processes import built
from tests.support.world.tiny_world import World


@pytest.fixture
def gpu() -> Placement:
    """Float32 on the GPU."""
    try:
        return place("cuda", "float32", section="scoring")
    except DeviceMissingError as error:
        pytest.fail(f"{error} These tests need an NVIDIA GPU and a build of torch with CUDA: see `make gpu`.")


@pytest.fixture(scope="session")
def _loaded() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        preload()
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with built(tmp_path_factory.mktemp("world")) as world:
        yield world
