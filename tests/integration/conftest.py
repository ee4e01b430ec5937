import pytest
from sqlalchemy import Engine

from tests.support.records.cycles import Cycles, taken


@pytest.fixture
def run(engine: Engine) -> Cycles:
    """Cycles to conclude, under the monitor's lease."""
    return Cycles(engine=engine, lease=taken(engine))
