"""Two databases with a monitor of the same name do not share a folder of archives."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine

from db import monitors
from db.connection.session import writing
from monitor.archive.owner import OWNER_FILE, OtherArchiveError, confirm, refuse_other
from monitor.archive.places import ArchiveReadError, ArchiveWriteError
from monitor.storage.artifacts import Artifacts
from tests.support.records.factories import START
from tests.support.servers.buckets import empty_bucket

ARTIFACTS = Artifacts()


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "archive")
        return
    with empty_bucket(request.getfixturevalue("s3_url")) as bucket:
        yield f"s3://{bucket.name}/archive"


def take(engine: Engine, folder: str, monitor: str = "prod") -> None:
    confirm(engine, monitor, folder, ARTIFACTS, START)


def test_the_folder_of_another_database_is_refused(
    sqlite_engine: Engine, postgres_engine: Engine, place: str
) -> None:
    folder = f"{place}/prod"
    assert not refuse_other(postgres_engine, "prod", folder, ARTIFACTS)
    take(sqlite_engine, folder)
    take(sqlite_engine, folder)
    assert refuse_other(sqlite_engine, "prod", folder, ARTIFACTS)
    for refused in (take, lambda engine, at: refuse_other(engine, "prod", at, ARTIFACTS)):
        with pytest.raises(OtherArchiveError) as error:
            refused(postgres_engine, folder)
        assert str(error.value).startswith(f"The archives in {folder} are those of another database")
        assert f"delete {OWNER_FILE} there" in str(error.value)
    take(postgres_engine, f"{place}/staging")  # the fix
    take(sqlite_engine, folder)


def test_of_two_first_cycles_at_the_same_moment_one_has_the_folder(
    sqlite_engine: Engine, postgres_engine: Engine, place: str
) -> None:
    def outcome(engine: Engine) -> type[Exception] | None:
        try:
            take(engine, f"{place}/prod")
        except OtherArchiveError as error:
            return type(error)
        return None

    with ThreadPoolExecutor() as pool:
        found = set(pool.map(outcome, (sqlite_engine, postgres_engine) * 4))
    assert found == {None, OtherArchiveError}


def test_a_new_place_and_a_moved_folder_are_the_monitors(sqlite_engine: Engine, tmp_path: Path) -> None:
    take(sqlite_engine, f"{tmp_path}/old/prod")
    take(sqlite_engine, f"{tmp_path}/new/prod")
    one, other = ((tmp_path / name / "prod" / OWNER_FILE).read_bytes() for name in ("old", "new"))
    assert one == other
    shutil.move(tmp_path / "old", tmp_path / "moved")
    take(sqlite_engine, f"{tmp_path}/moved/prod")


def test_a_monitor_with_a_new_name_keeps_its_folders(engine: Engine, tmp_path: Path) -> None:
    take(engine, f"{tmp_path}/prod")
    with writing(engine) as connection:
        monitors.rename(connection, "prod", "shop", START)
    take(engine, f"{tmp_path}/shop", "shop")
    take(engine, f"{tmp_path}/prod", "shop")


def test_after_the_file_is_deleted_the_next_database_has_the_folder(
    sqlite_engine: Engine, postgres_engine: Engine, tmp_path: Path
) -> None:
    take(sqlite_engine, f"{tmp_path}/prod")
    (tmp_path / "prod" / OWNER_FILE).unlink()
    take(postgres_engine, f"{tmp_path}/prod")
    with pytest.raises(OtherArchiveError):
        take(sqlite_engine, f"{tmp_path}/prod")


def test_the_file_and_its_folder_are_for_their_owner_only(sqlite_engine: Engine, tmp_path: Path) -> None:
    take(sqlite_engine, f"{tmp_path}/archive/prod")
    folder = tmp_path / "archive" / "prod"
    assert [folder.stat().st_mode & 0o077, (folder / OWNER_FILE).stat().st_mode & 0o077] == [0, 0]
    assert [path.name for path in folder.iterdir()] == [OWNER_FILE]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"id": '])
def test_a_damaged_file_is_an_error_of_the_archive(
    sqlite_engine: Engine, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / OWNER_FILE).write_bytes(content)
    with pytest.raises(ArchiveReadError, match=r"owner.json cannot be read: it has no 'id'; restore it"):
        take(sqlite_engine, str(tmp_path))


@pytest.mark.parametrize("place", ["archive", "/proc/archive"])
def test_a_place_that_cannot_be_made_is_an_error_of_the_archive(
    sqlite_engine: Engine, tmp_path: Path, place: str
) -> None:
    (tmp_path / "archive").write_text("")
    with pytest.raises((ArchiveReadError, ArchiveWriteError), match=r"The archive .* cannot be"):
        take(sqlite_engine, f"{tmp_path / place}/prod")
