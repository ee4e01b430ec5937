"""A monitor whose lease is held, on each database."""

import pytest
from sqlalchemy import Engine

from tests.support.records.cycles import Cycles, taken


@pytest.fixture
def run(engine: Engine) -> Cycles:
    return Cycles(engine=engine, lease=taken(engine))
