"""The world that the acceptance tests live in, built once a session."""

from collections.abc import Iterator

import pytest

import distill.evaluate
from tests.support.processes.product import FEW_LATENCY_RUNS
from tests.support.world.for_processes import built
from tests.support.world.tiny_world import World


@pytest.fixture(autouse=True)
def few_latency_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of a model is measured with as few runs as in a forked process."""
    monkeypatch.setattr(distill.evaluate, "_LATENCY_RUNS", FEW_LATENCY_RUNS)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with built(tmp_path_factory.mktemp("world")) as world:
        yield world
