"""A user's folder for each test; the models in it are made once."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from db.connection.session import connect
from tests.support.records.cycles import Cycles, taken
from tests.support.world.project import inside, make_models, make_project, write_log


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teacher/ and student/."""
    folder = tmp_path_factory.mktemp("models")
    make_models(folder)
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """An empty folder, in which the command line runs."""
    with inside(tmp_path):
        yield tmp_path


@pytest.fixture
def project(empty: Path, models: Path) -> Path:
    """A configured folder with a log and labelled files, and no database yet."""
    return make_project(empty, models)


@pytest.fixture(scope="module")
def common(models: Path, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a database, for a module to prepare and its tests to copy."""
    project = make_project(tmp_path_factory.mktemp("project"), models)
    shutil.copyfile(sqlite_template, project / "redistill.db")
    return project


@pytest.fixture
def migrated(project: Path, sqlite_template: Path) -> Path:
    """The same, with a database."""
    shutil.copyfile(sqlite_template, project / "redistill.db")
    return project


@pytest.fixture
def sound(migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without problems: its log covers the last hours."""
    monkeypatch.setenv("REDISTILL__MONITOR__LATENESS", "0s")
    shutil.rmtree(migrated / "logs")
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # noqa: TID251 - as the command does
    write_log(migrated, first=hour - timedelta(hours=2))
    return migrated


@pytest.fixture
def cycles(migrated: Path) -> Iterator[Cycles]:
    """Cycles to conclude in the project's database."""
    engine = connect(f"sqlite:///{migrated / 'redistill.db'}")
    yield Cycles(engine=engine, lease=taken(engine))
    engine.dispose()


@pytest.fixture
def engine(cycles: Cycles) -> Engine:
    """The project's database."""
    return cycles.engine
