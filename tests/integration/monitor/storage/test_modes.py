"""What Redistill writes is for its owner only, whatever the umask allows, except model weights."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from db.connection.session import connect, writing
from monitor.archive.files import write
from monitor.storage.disk import private_folder
from monitor.storage.local_store import LocalStore
from tests.support.records.samples import make_sample

OPEN_TO_ALL = 0


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(OPEN_TO_ALL)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_database_and_the_files_beside_it(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/r.db")
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE t (x)"))
        found = {path.name: mode(path) for path in tmp_path.iterdir()}
    engine.dispose()
    assert found["r.db"] == 0o600
    assert set(found) > {"r.db"}
    assert set(found.values()) == {0o600}


def test_a_database_that_was_opened_to_a_group_stays_so(tmp_path: Path) -> None:
    (tmp_path / "r.db").touch(mode=0o660)
    engine = connect(f"sqlite:///{tmp_path}/r.db")
    with writing(engine) as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    engine.dispose()
    assert mode(tmp_path / "r.db") == 0o660


def test_a_database_in_a_folder_that_is_missing_creates_nothing(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/none/r.db")
    with pytest.raises(Exception, match="unable to open"), writing(engine):
        pass
    assert not (tmp_path / "none").exists()


def test_an_archive_and_the_folders_above_it(tmp_path: Path) -> None:
    path = Path(write(tmp_path / "archive", make_sample()).uri)
    assert mode(path) == 0o600
    assert {mode(path.parent), mode(path.parent.parent)} == {0o700}


def test_a_file_of_a_store_and_a_checkpoint(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "registry")
    store.create("registry.json", b"{}")
    staged = store.staging / ".tmp-1"
    staged.write_bytes(b"weights and moments")
    store.put(".checkpoint-1/7.safetensors", staged)
    assert mode(store.root / "registry.json") == 0o600
    assert mode(store.root / ".checkpoint-1/7.safetensors") == 0o600


def test_an_owner_who_allows_less_gets_less(tmp_path: Path) -> None:
    os.umask(0o277)
    private_folder(tmp_path / "a")
    assert mode(tmp_path / "a") == 0o500


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir(mode=0o755)
    private_folder(tmp_path / "shared" / "own" / "deep")
    assert [mode(tmp_path / each) for each in ("shared", "shared/own", "shared/own/deep")] == [
        0o755,
        0o700,
        0o700,
    ]
