"""An ECS on this machine, and a daemon that starts workers there."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.ecs import SmallEcs, small_ecs
from tests.starters import Office


@pytest.fixture
def amazon() -> Iterator[SmallEcs]:
    with small_ecs() as server:
        yield server


@pytest.fixture
def office(engine: Engine, amazon: SmallEcs) -> Office:
    assert amazon
    return Office(engine=engine)
