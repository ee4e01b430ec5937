"""A world for tests that start processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from tests.support.processes.product import ROOT, preload
from tests.support.world.tiny_world import NEW, Words, World, build


@contextmanager
def built(folder: Path, *, new_words: Words = NEW) -> Iterator[World]:
    """The processes are forked from loaded code. This one has one thread, as they have: the same numbers, to
    the last bit.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        preload()
        yield build(folder, new_words=new_words)
    torch.set_num_threads(threads)
