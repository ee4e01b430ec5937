"""The world that the acceptance tests live in, built once a session."""

import os
from collections.abc import Iterator

import pytest
import torch

from tests.processes import ROOT, preload
from tests.world import World, build


@pytest.fixture(scope="session")
def one_thread() -> Iterator[None]:
    """As in the processes that these tests start: the same numbers, to the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Iterator[World]:
    del one_thread
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        preload()
        yield build(tmp_path_factory.mktemp("world"))
