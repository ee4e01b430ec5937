"""A world for tests that start processes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes.product import ROOT, preload
from tests.support.world.tiny_world import NEW, Words, World, build


@contextmanager
def built(folder: Path, *, new_words: Words = NEW) -> Iterator[World]:
    """The processes are forked from loaded code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        preload()
        yield build(folder, new_words=new_words)
