"""Requests are taken out of all archives, and whenever the process dies nothing is undecided."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

import db.archives.erasures
from db import leases
from db.connection.session import writing
from db.cycles.labels import request_hash
from db.errors import LeaseLostError
from db.records import Lease
from db.tables import cycles, erasures
from monitor.archive import erased, erasure, places
from monitor.archive.erasure import (
    Erased,
    ErasureBusyError,
    ErasureIncompleteError,
    ErasurePendingError,
    erase,
)
from monitor.archive.files import read, write
from monitor.archive.places import ArchiveWriteError, Places
from monitor.archive.sample import ScoredSample, without
from tests.support.records.cycles import MONITOR, Cycles, seized, stored, taken
from tests.support.records.factories import HOUR, START
from tests.support.records.samples import make_sample, same
from tests.support.records.tables import note_archive

NOW = START + 100 * HOUR


@pytest.fixture
def samples(engine: Engine, tmp_path: Path) -> list[ScoredSample]:
    """Three cycles of three requests each, archived."""
    concluded = Cycles(engine=engine, lease=taken(engine))
    made = []
    for hour in range(3):
        concluded.conclude(hour)
        sample = make_sample(end=START + hour * HOUR, monitor=MONITOR, seed=hour)
        note_archive(engine, hour + 1, write(tmp_path, sample))
        made.append(sample)
    return made


def take_out(engine: Engine, *request_ids: str) -> Erased:
    return erase(engine, MONITOR, request_ids, NOW, lambda _done, _total: None)


def archived(engine: Engine) -> list[ScoredSample]:
    """As a worker reads them: the bytes must be those that the database knows."""
    return [read(row["archive"], sha256=row["archive_sha256"]) for row in stored(engine, cycles)]


def test_requests_are_taken_out_wherever_they_are(engine: Engine, samples: list[ScoredSample]) -> None:
    ids = ("r-0-1", "r-2-0", "r-2-2", "unknown")
    assert take_out(engine, *ids) == Erased(n_requests=3, n_archives=2)
    assert all(
        same(found, without(sample, ids)) for found, sample in zip(archived(engine), samples, strict=True)
    )
    assert [len(sample.requests) for sample in archived(engine)] == [2, 3, 1]
    rows = stored(engine, erasures)
    assert [(row["cycle_id"], row["n"], row["begun_at"], row["finished_at"]) for row in rows] == [
        (1, 1, NOW, NOW),
        (3, 2, NOW, NOW),
    ]


@pytest.mark.usefixtures("samples")
def test_an_archive_that_was_replaced_since_it_was_read_is_not_begun(engine: Engine) -> None:
    with writing(engine) as connection:
        cycle = db.archives.erasures.archived(connection, MONITOR)[0]
        for outdated in (replace(cycle, sha256="0" * 64), replace(cycle, uri="elsewhere")):
            assert not db.archives.erasures.begin(connection, outdated, sha256_after="1" * 64, n=1, now=NOW)
    assert stored(engine, erasures) == []


def test_after_an_older_backup_an_erased_archive_is_refused_until_it_is_accepted(
    engine: Engine, samples: list[ScoredSample]
) -> None:
    """As docs/restoring.md says: by the digest of the file."""
    row = stored(engine, cycles)[0]
    take_out(engine, "r-0-1")
    digests = {"backup": row["archive_sha256"]}
    digests["file"] = hashlib.sha256(Path(row["archive"]).read_bytes()).hexdigest()

    def record(whose: str) -> None:
        with writing(engine) as connection:
            found = update(cycles).where(cycles.c.archive.like(f"%/{Path(row['archive']).name}"))
            connection.execute(found.values(archive_sha256=digests[whose]))

    record("backup")
    with pytest.raises(ErasureIncompleteError, match="it was changed after it was written"):
        take_out(engine, "r-0-1")
    record("file")
    assert take_out(engine, "r-0-1") == Erased(n_requests=0, n_archives=0)
    assert same(archived(engine)[0], without(samples[0], {"r-0-1"}))


def test_what_is_out_is_out(engine: Engine, samples: list[ScoredSample]) -> None:
    del samples
    take_out(engine, "r-0-1")
    assert take_out(engine, "r-0-1") == Erased(n_requests=0, n_archives=0)
    assert take_out(engine, "r-0-0", "r-0-2") == Erased(n_requests=2, n_archives=1)
    assert archived(engine)[0].requests == ()
    assert archived(engine)[0].teacher_logits.shape == (0, 2)


def test_an_archive_that_takes_the_place_of_one_meanwhile_is_looked_at_too(
    engine: Engine, samples: list[ScoredSample], tmp_path: Path
) -> None:
    """As where a window is judged again: its new sample may have requests that the earlier one had not."""
    more = make_sample(4, end=START, monitor=MONITOR, seed=0)

    def judge_again(done: int, total: int) -> None:
        shown.append((done, total))
        if done == 1:
            note_archive(engine, 1, write(tmp_path, more, beside=True))

    shown: list[tuple[int, int]] = []
    erased = erase(engine, MONITOR, ("r-0-3", "r-1-1"), NOW, judge_again)
    assert erased == Erased(n_requests=2, n_archives=2)
    assert same(archived(engine)[0], without(more, ("r-0-3",)))
    assert same(archived(engine)[1], without(samples[1], ("r-1-1",)))
    assert shown == [(1, 3), (2, 3), (3, 3), (4, 4)]


def test_an_archive_that_has_expired_is_passed_over(engine: Engine, samples: list[ScoredSample]) -> None:
    del samples
    Path(stored(engine, cycles)[1]["archive"]).unlink()
    assert take_out(engine, "r-0-1", "r-1-1") == Erased(n_requests=1, n_archives=1)


def test_a_damaged_archive_keeps_none_of_the_others(engine: Engine, samples: list[ScoredSample]) -> None:
    del samples
    damaged = Path(stored(engine, cycles)[0]["archive"])
    damaged.write_bytes(b"other bytes")
    with pytest.raises(ErasureIncompleteError, match=r"except from 1 .*changed after it was"):
        take_out(engine, "r-0-1", "r-2-1")
    assert [row["cycle_id"] for row in stored(engine, erasures)] == [3]
    assert damaged.read_bytes() == b"other bytes"


class DiedError(Exception):
    """Stands for the end of the process."""


def dies(*_args: object, **_kwargs: object) -> None:
    raise DiedError


@pytest.mark.parametrize("where", ["before the file", "after the file"])
def test_a_process_that_dies_leaves_an_archive_that_the_next_one_sets_right(
    engine: Engine, samples: list[ScoredSample], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with monkeypatch.context() as patch:
        if where == "before the file":
            patch.setattr(places._Folders, "put", dies)
        else:
            patch.setattr("db.archives.erasures.finish", dies)
        with pytest.raises(DiedError):
            take_out(engine, "r-1-1")
    assert take_out(engine, "r-1-1").n_requests == (1 if where == "before the file" else 0)
    assert same(archived(engine)[1], without(samples[1], ("r-1-1",)))
    (row,) = stored(engine, erasures)
    assert (row["cycle_id"], row["n"], row["finished_at"]) == (2, 1, NOW)


@pytest.fixture
def left(engine: Engine, samples: list[ScoredSample], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The second archive, without r-1-1, of which the database does not know yet: the process died."""
    del samples
    with monkeypatch.context() as patch:
        patch.setattr("db.archives.erasures.finish", dies)
        with pytest.raises(DiedError):
            take_out(engine, "r-1-1")
    return Path(stored(engine, cycles)[1]["archive"])


def unfinished(engine: Engine) -> list[int]:
    return [row["cycle_id"] for row in stored(engine, erasures) if row["finished_at"] is None]


def test_what_was_left_and_cannot_be_read_keeps_none_of_the_others(engine: Engine, left: Path) -> None:
    content = left.read_bytes()
    left.unlink()
    left.mkdir()
    with pytest.raises(ErasureIncompleteError, match=r"except from 1 .*Is a directory"):
        take_out(engine, "r-0-1", "r-2-1")
    assert unfinished(engine) == [2]
    left.rmdir()
    left.write_bytes(content)
    take_out(engine)
    assert unfinished(engine) == []
    assert [len(sample.requests) for sample in archived(engine)] == [2, 2, 2]


@pytest.mark.parametrize("instead", [None, b"other bytes"], ids=["gone", "damaged"])
def test_what_was_left_stays_unfinished_while_nobody_can_say_how_it_ended(
    engine: Engine, left: Path, instead: bytes | None
) -> None:
    """It may have expired, or lie on a disk that is away; when it is back it is the new file."""
    content = left.read_bytes()
    left.unlink()
    if instead is None:
        assert take_out(engine, "r-0-1") == Erased(n_requests=1, n_archives=1)
    else:
        left.write_bytes(instead)
        with pytest.raises(ErasureIncompleteError):
            take_out(engine, "r-0-1")
    assert unfinished(engine) == [2]
    left.write_bytes(content)
    assert take_out(engine, "r-1-2") == Erased(n_requests=1, n_archives=1)
    assert unfinished(engine) == []
    assert [len(sample.requests) for sample in archived(engine)] == [2, 1, 3]


@pytest.mark.usefixtures("left")
def test_others_may_write_to_the_database_while_an_archive_is_fetched(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = places._Folders.get

    def write_and_get(self: places._Folders, uri: str) -> bytes | None:
        with writing(engine) as connection:
            connection.execute(update(cycles).values(n_seen=cycles.c.n_seen))
        return get(self, uri)

    monkeypatch.setattr(places._Folders, "get", write_and_get)
    take_out(engine, "r-0-1")


def test_a_second_erasure_is_refused_while_one_is_at_work(
    engine: Engine, samples: list[ScoredSample]
) -> None:
    """It would take the first one's change for that of a dead process, and each could undo the other's."""

    def meanwhile(_done: int, _total: int) -> None:
        with pytest.raises(ErasureBusyError, match="Another erasure"):
            take_out(engine, "r-1-2")

    erase(engine, MONITOR, ["r-0-1", "r-1-1"], NOW, meanwhile)
    assert take_out(engine, "r-1-2") == Erased(n_requests=1, n_archives=1)
    assert same(archived(engine)[1], without(samples[1], ("r-1-1", "r-1-2")))
    assert [(row["cycle_id"], row["n"]) for row in stored(engine, erasures)] == [(1, 1), (2, 1), (2, 1)]


def test_an_erasure_that_was_away_too_long_changes_no_further_archive(
    engine: Engine, samples: list[ScoredSample]
) -> None:
    def seize(_done: int, _total: int) -> None:
        seized(engine, Lease(name=f"erasure:{MONITOR}", owner="first", token=1))

    with pytest.raises(LeaseLostError):
        erase(engine, MONITOR, ["r-0-1", "r-1-1"], NOW, seize)
    assert same(archived(engine)[1], samples[1])
    assert [row["cycle_id"] for row in stored(engine, erasures)] == [1]


def test_an_archive_that_cannot_be_written_stays_as_it_is(
    engine: Engine, samples: list[ScoredSample], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(places, "_write_all", full)
        with pytest.raises(ArchiveWriteError, match="No space left on device"):
            take_out(engine, "r-1-1")
    assert same(archived(engine)[1], samples[1])
    assert take_out(engine, "r-1-1").n_requests == 1


def free(engine: Engine) -> None:
    """End the lease under which the fixture has concluded its cycles."""
    with writing(engine) as connection:
        leases.revoke(connection, f"monitor:{MONITOR}")


def take_out_of(folder: Path, engine: Engine, *request_ids: str) -> Erased:
    folders = [f"{folder}/{MONITOR}"]
    return erase(engine, MONITOR, request_ids, NOW, lambda _done, _total: None, folders=folders)


def orphan(folder: Path, hour: int = 7) -> tuple[Path, ScoredSample]:
    """The archive of a cycle that was killed before its decision."""
    sample = make_sample(end=START + hour * HOUR, monitor=MONITOR, seed=hour)
    return Path(write(folder, sample).uri), sample


def test_an_archive_without_a_decision_and_a_temporary_file_are_erased_too(
    engine: Engine, samples: list[ScoredSample], tmp_path: Path
) -> None:
    del samples
    free(engine)
    path, sample = orphan(tmp_path)
    other, _ = orphan(tmp_path, 8)
    temporary = path.parent / f".{path.name}.x1.tmp"
    temporary.write_bytes(path.read_bytes()[:20])
    gone = sample.requests[1].id
    assert take_out_of(tmp_path, engine, gone) == Erased(n_requests=1, n_archives=1)
    assert not path.exists()
    assert not temporary.exists()
    assert other.exists()
    assert len(archived(engine)) == 3


def test_no_later_cycle_archives_what_was_erased(
    engine: Engine, samples: list[ScoredSample], tmp_path: Path
) -> None:
    """Neither a backfill, nor the next attempt at a cycle; also under a new name of the monitor."""
    del samples
    sample = make_sample(end=START + 9 * HOUR, monitor=MONITOR, seed=9)
    gone = sample.requests[0].id
    take_out_of(tmp_path, engine, gone, "never seen")
    written = erased.write(tmp_path, sample, names=["renamed", MONITOR], beside=False)
    assert same(read(written.uri, sha256=written.sha256), without(sample, [gone]))
    remembered = (tmp_path / MONITOR / "erased.txt").read_text().split()
    assert remembered == sorted(map(request_hash, [gone, "never seen"]))


def test_an_erasure_in_the_middle_of_a_write_is_seen_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = make_sample(monitor=MONITOR)
    put, gone = places._Folders.put, sample.requests[0].id

    def put_and_erase(self: places._Folders, uri: str, content: bytes) -> None:
        put(self, uri, content)
        if uri.endswith(".zst"):
            erased.remember(f"{tmp_path}/{MONITOR}", [gone], Places())

    monkeypatch.setattr(places._Folders, "put", put_and_erase)
    written = erased.write(tmp_path, sample, names=[MONITOR], beside=False)
    assert same(read(written.uri, sha256=written.sha256), without(sample, [gone]))


def test_the_archive_of_a_cycle_under_way_is_waited_for(
    engine: Engine, samples: list[ScoredSample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fixture's lease is held, as by a cycle; the archives of ended cycles are done meanwhile."""
    monkeypatch.setattr(erasure, "WAIT_SECONDS", 0.0)
    path, _ = orphan(tmp_path)
    with pytest.raises(ErasurePendingError, match="run the command again when it has ended"):
        take_out_of(tmp_path, engine, "r-7-0", "r-0-0")
    assert path.exists()
    assert same(archived(engine)[0], without(samples[0], ["r-0-0"]))


def test_an_archive_without_a_cycle_that_cannot_be_read_is_named(
    engine: Engine, samples: list[ScoredSample], tmp_path: Path
) -> None:
    del samples
    free(engine)
    path, _ = orphan(tmp_path)
    path.write_bytes(b"damaged")
    with pytest.raises(ErasureIncompleteError, match=path.name):
        take_out_of(tmp_path, engine, "r-0-0")
    assert path.exists()
