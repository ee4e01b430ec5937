"""The registry of a monitor is recorded once, even if two workers start at the same moment."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from db import registries
from db.connection.session import writing
from db.tables import registries as recorded
from tests.support.records.cycles import MONITOR, stored
from tests.support.records.factories import START


def confirm(engine: Engine, registry_id: str = "a") -> None:
    with writing(engine) as connection:
        registries.confirm(
            connection, MONITOR, registry_id=registry_id, link="current", location="registry", now=START
        )


def test_two_workers_that_start_at_the_same_moment_record_one_registry(engine: Engine) -> None:
    """The second waits for the first, which has not committed yet."""
    with ThreadPoolExecutor(1) as second:
        with writing(engine) as first:
            registries.confirm(
                first, MONITOR, registry_id="a", link="current", location="registry", now=START
            )
            late = second.submit(confirm, engine)
            with pytest.raises(TimeoutError):
                late.result(0.3)
        late.result(timeout=30)
    assert [row["registry_id"] for row in stored(engine, recorded)] == ["a"]


def test_a_registry_without_models_is_replaced_and_the_same_one_written_no_second_time(
    engine: Engine,
) -> None:
    for registry_id in ("a", "b", "b"):
        confirm(engine, registry_id)
    assert [row["registry_id"] for row in stored(engine, recorded)] == ["b"]
