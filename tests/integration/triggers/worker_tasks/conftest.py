"""An ECS on this machine, and a daemon that starts workers there."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.support.processes.starters import Office
from tests.support.servers.ecs import SmallEcs, small_ecs


@pytest.fixture
def amazon() -> Iterator[SmallEcs]:
    with small_ecs() as server:
        yield server


@pytest.fixture
def office(engine: Engine, amazon: SmallEcs) -> Office:
    assert amazon
    return Office(engine=engine)
