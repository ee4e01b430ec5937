"""Databases for the tests, and the markers that the folders give.

A part that a test needs and does not find makes it fail, and says how to get it: nothing is skipped.
"""

import gc
import os
import shutil
import signal
import sys
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path

import botocore.loaders
import pytest
from hypothesis import settings
from sqlalchemy import Engine

from db.connection.migrate import upgrade
from db.connection.session import connect
from tests.support.processes.disks import in_a_namespace
from tests.support.records.statements import compiled_once
from tests.support.scheduling import ByFile
from tests.support.servers.postgres import Postgres, running
from tests.support.servers.postgres_reuse import Reused

# Tiny models on several threads are many times slower as soon as something else wants a core.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # clusters that tests start tell nobody of it

# Shells start background jobs with SIGINT ignored, which the processes of the tests would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Each session would read botocore's descriptions of the services again, which are megabytes of JSON.
botocore.loaders.create_loader = cache(botocore.loaders.create_loader)

# How long an example takes says more about the machine than about the code.
settings.register_profile("redistill", deadline=None, max_examples=50)
settings.register_profile("thorough", deadline=None, max_examples=500)  # of `make slow`
settings.load_profile("redistill")

MARKERS = {
    "unit": "unit",
    "integration": "integration",
    "deploy": "integration",
    "acceptance": "acceptance",
    "statistical": "slow",
    "chaos": "chaos",
    "image": "image",
    "gpu": "gpu",
    "fuzz": "fuzz",
    "soak": "soak",
}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """While modules load, the garbage collector would look through all that is loaded, again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    return ByFile(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    if os.geteuid() != 0:
        items[:] = [in_a_namespace(item) if item.get_closest_marker("mounts") else item for item in items]
    for item in items:
        if item.path.is_relative_to(root):
            item.add_marker(MARKERS[item.path.relative_to(root).parts[0]])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the session, started when the first test asks for it."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def reused(postgres: Postgres) -> Iterator[Reused]:
    """A migrated PostgreSQL database that one test after the other has for itself."""
    found = Reused(postgres)
    yield found
    found.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """The URL of a migrated SQLite file of one's own."""
    path = tmp_path / "redistill.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(reused: Reused) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database of one's own."""
    with reused.lent() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database of one's own, once on SQLite and once on PostgreSQL."""
    url = request.getfixturevalue(f"{request.param}_url")
    assert isinstance(url, str)
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of one's own, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'redistill.db'}"
        return
    server = request.getfixturevalue("postgres")
    assert isinstance(server, Postgres)
    with server.database() as url:
        yield url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A migrated database of one's own, once on SQLite and once on PostgreSQL."""
    yield from _engine(database_url)


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """A migrated SQLite file of one's own, for what does not depend on the database."""
    yield from _engine(sqlite_url)


@pytest.fixture
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    """A migrated PostgreSQL database of one's own, for what only PostgreSQL has."""
    yield from _engine(postgres_url)


@pytest.fixture
def empty_engine(empty_database_url: str) -> Iterator[Engine]:
    """An empty database of one's own, once on SQLite and once on PostgreSQL."""
    yield from _engine(empty_database_url)


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """The URL of an S3 server for the session."""
    from tests.support.servers.buckets import serving  # noqa: PLC0415 - its server takes seconds to import

    with serving() as url:
        yield url


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A test that runs the product in this process must not leave the product's number of threads behind.

    Threads that wait for each other make tiny models many times slower on a busy machine.
    """
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def _engine(url: str) -> Iterator[Engine]:
    engine = compiled_once(connect(url))
    yield engine
    engine.dispose()
