"""A shop whose student is in service."""

from pathlib import Path

import pytest
from sqlalchemy import Engine

from db import versions
from db.connection.session import writing
from db.states import PromotionReason
from tests.support.records.factories import START
from tests.support.world.models import make_model
from tests.support.world.shop import LABELS, Shop, write_rows


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated")
    make_model(folder / "student", LABELS, seed=2, hidden=8)
    make_model(folder / "teacher", LABELS, seed=5, hidden=8)
    write_rows(folder / "validation.jsonl", 200)
    write_rows(folder / "test.jsonl", 120)
    return folder


@pytest.fixture
def shop(engine: Engine, directory: Path) -> Shop:
    made = Shop(engine=engine, folder=directory)
    with writing(engine) as connection:
        versions.record(connection, made.student, START)
        versions.promote(connection, made.student, PromotionReason.CONFIGURED, START)
    return made
