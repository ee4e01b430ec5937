"""Labels that come later are joined with the sampled requests, whatever happens meanwhile."""

import multiprocessing
import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import astuple, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from db.connection.session import connect, reading, writing
from db.cycles import labels as cycle_labels
from db.cycles.labels import correctness_of, request_hash
from db.tables import correctness, cycles, labels
from monitor.archive import files
from monitor.archive.erasure import Erased, erase
from monitor.archive.files import write
from monitor.archive.sample import ScoredSample
from monitor.labels.files import GivenLabel, Malformed
from monitor.labels.join import Imported, NothingJoinedError, NothingLabelledError, import_labels
from monitor.strata import Strata
from tests.support.processes.races import in_processes
from tests.support.records.cycles import MONITOR, Cycles, stored, taken
from tests.support.records.factories import HOUR, START, STUDENT, TEACHER
from tests.support.records.samples import make_sample
from tests.support.records.tables import note_archive
from triggers.teacher.correctness import split

NOW = START + 100 * HOUR
#: What both answer to the four requests of a cycle: they disagree on all but the first.
TEACHER_SAYS, STUDENT_SAYS = [0, 0, 0, 0], [0, 1, 1, 1]


def make_answered(hour: int, **fields: Any) -> ScoredSample:  # noqa: ANN401 - any field of a sample
    sample = make_sample(4, end=START + hour * HOUR, monitor=MONITOR, seed=hour)
    logits = np.eye(2, dtype=np.float32)
    answers = {"teacher_logits": logits[TEACHER_SAYS], "student_logits": logits[STUDENT_SAYS]}
    return replace(sample, **{**answers, **fields})


@pytest.fixture
def archive(engine: Engine, tmp_path: Path) -> Path:
    """Three cycles of four requests, r-HOUR-0 to r-HOUR-3, archived."""
    concluded = Cycles(engine=engine, lease=taken(engine))
    for hour in range(3):
        concluded.conclude(hour)
        note_archive(engine, hour + 1, write(tmp_path, make_answered(hour)))
    return tmp_path


def bring(
    engine: Engine,
    given: Mapping[str, str] | Iterable[GivenLabel | Malformed],
    **fields: Any,  # noqa: ANN401 - any argument of import_labels
) -> Imported:
    """Labels by request id, or rows."""
    rows = (
        (GivenLabel(request_id=key, label=label) for key, label in given.items())
        if isinstance(given, Mapping)
        else given
    )
    usual = {"kept": timedelta(days=30), "now": NOW, "progress": lambda _done, _total: None}
    return import_labels(engine, MONITOR, rows, **{**usual, **fields})


def counts(engine: Engine) -> dict[int, tuple[int, int, int]]:
    return {
        row["cycle_id"]: (row["n_labelled"], row["n_disagreements"], row["n_out_of_scope"])
        for row in stored(engine, correctness)
    }


def known(engine: Engine) -> dict[tuple[int, str], str | None]:
    return {(row["cycle_id"], row["request_hash"]): row["label"] for row in stored(engine, labels)}


GIVEN = {
    "r-0-1": "faq",
    "r-0-2": "promotion",
    "r-0-3": "refund",
    "r-2-0": "promotion",
    "elsewhere": "faq",
}


@pytest.mark.usefixtures("archive")
def test_labels_are_stored_with_what_the_two_said_and_who_is_right(engine: Engine) -> None:
    found = bring(engine, GIVEN)
    assert (found.n_read, found.n_requests, found.n_joined, found.n_unsampled) == (5, 5, 4, 1)
    assert (found.n_changed, found.n_cycles) == (4, 2)
    assert (found.n_unknown, found.first_unknown) == (1, "refund")
    rows = {row["request_hash"]: row for row in stored(engine, labels)}
    assert rows[request_hash("r-0-1")] == {
        "cycle_id": 1,
        "request_hash": request_hash("r-0-1"),
        "label": "faq",
        "teacher_label": "faq",
        "student_label": "promotion",
        "weight": 1.0,
        "imported_at": NOW,
    }
    assert rows[request_hash("r-0-3")]["label"] is None
    assert counts(engine) == {1: (3, 3, 1), 3: (1, 0, 0)}
    oldest, newest = stored(engine, correctness)
    assert [oldest[name] for name in ("teacher_right", "student_right", "both_wrong")] == pytest.approx(
        [1 / 3] * 3
    )
    assert (newest["teacher_right"], newest["teacher_right_low"], newest["teacher_accuracy"]) == (
        None,
        None,
        0,
    )


@pytest.mark.usefixtures("archive")
def test_who_is_right_is_read_back_as_it_was_computed(engine: Engine) -> None:
    bring(engine, GIVEN)
    with reading(engine) as connection:
        newest, oldest = correctness_of(connection, MONITOR)
        assert correctness_of(connection, MONITOR, newest=1) == (newest,)
        assert correctness_of(connection, MONITOR, until=oldest.window_end) == (oldest,)
        assert len(correctness_of(connection, MONITOR, pair=(TEACHER, STUDENT))) == 2
        assert correctness_of(connection, MONITOR, pair=(TEACHER, "another")) == ()
        assert correctness_of(connection, "another") == ()
    expected = split([0, 1, -1], [0, 0, 0], [1, 1, 1], [1, 1, 1])
    assert oldest.correctness == expected
    assert newest.correctness.tallies == split([1], [0], [0], [1]).tallies
    assert np.isnan(newest.correctness.both_wrong.estimate)


@pytest.mark.usefixtures("archive")
def test_the_same_file_twice_changes_nothing(engine: Engine) -> None:
    bring(engine, GIVEN)
    before = stored(engine, labels), stored(engine, correctness)
    again = bring(engine, GIVEN, now=NOW + HOUR)
    assert (stored(engine, labels), stored(engine, correctness)) == before
    assert (again.n_joined, again.n_changed, again.n_cycles) == (4, 0, 0)


@pytest.mark.usefixtures("archive")
def test_a_later_label_takes_the_place_of_the_earlier_one(engine: Engine) -> None:
    """In one file as in two; the other labels of the cycle stay."""
    rows = [GivenLabel(request_id="r-0-1", label=label) for label in ("refund", "faq")]
    bring(engine, [*rows, GivenLabel(request_id="r-0-2", label="faq")])
    assert known(engine)[1, request_hash("r-0-1")] == "faq"
    changed = bring(engine, {"r-0-1": "promotion"}, now=NOW + HOUR)
    assert changed.n_changed == 1
    assert known(engine) == {(1, request_hash("r-0-1")): "promotion", (1, request_hash("r-0-2")): "faq"}
    assert {row["imported_at"] for row in stored(engine, labels)} == {NOW, NOW + HOUR}
    (row,) = stored(engine, correctness)
    assert (row["teacher_right"], row["student_right"], row["n_labelled"]) == (0.5, 0.5, 2)


def test_labels_of_the_log_count_until_a_later_one_comes(engine: Engine, archive: Path) -> None:
    sample = make_answered(0)
    labelled = tuple(request._replace(label="faq") for request in sample.requests)
    note_archive(engine, 1, write(archive, replace(sample, requests=labelled)))
    bring(engine, {"r-0-1": "promotion"})
    (row,) = stored(engine, correctness)
    assert (row["n_labelled"], row["student_right"], row["teacher_right"]) == (
        4,
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
    )
    assert len(stored(engine, labels)) == 1


def test_requests_count_as_what_they_stand_for(engine: Engine, archive: Path) -> None:
    strata = Strata(sizes=(900, 100), of=np.array([0, 0, 1, 1]))
    sample = make_answered(1, strata=strata, stratum_labels=("faq", "promotion"))
    note_archive(engine, 2, write(archive, sample))
    bring(engine, {"r-1-1": "faq", "r-1-2": "promotion", "r-1-3": "promotion"})
    expected = split([0, 1, 1], [0, 0, 0], [1, 1, 1], [1.8, 0.2, 0.2])
    (row,) = stored(engine, correctness)
    found = (row["teacher_right"], row["teacher_right_low"], row["teacher_right_high"])
    assert found == pytest.approx(astuple(expected.teacher_right))
    assert [each["weight"] for each in stored(engine, labels)].count(pytest.approx(1.8)) == 1


# --- what cannot be read ---------------------------------------------------------------------------------


def test_a_sample_that_cannot_be_read_is_named_and_the_others_are_joined(
    engine: Engine, archive: Path
) -> None:
    damaged = Path(stored(engine, cycles)[1]["archive"])
    damaged.write_bytes(b"other bytes")
    found = bring(engine, {"r-0-1": "faq", "r-1-1": "faq"})
    assert (found.n_joined, found.n_unread) == (1, 1)
    assert found.first_unread is not None
    assert str(damaged) in found.first_unread
    assert archive in damaged.parents


@pytest.mark.usefixtures("archive")
def test_if_nothing_could_be_joined_for_want_of_samples_it_is_an_error(engine: Engine) -> None:
    Path(stored(engine, cycles)[1]["archive"]).unlink()
    with pytest.raises(
        NothingJoinedError, match=r"None of the 1 requests .* 1 of the samples .*no such file"
    ):
        bring(engine, {"r-1-1": "faq"})
    assert known(engine) == {}


@pytest.mark.usefixtures("archive")
def test_samples_that_have_expired_are_not_missed(engine: Engine) -> None:
    Path(stored(engine, cycles)[0]["archive"]).unlink()
    found = bring(engine, {"r-0-1": "faq", "r-2-1": "faq"}, kept=HOUR)
    assert (found.n_joined, found.n_unsampled, found.n_unread) == (1, 1, 0)


@pytest.mark.usefixtures("archive")
def test_no_sample_is_read_after_all_requests_are_found(engine: Engine) -> None:
    Path(stored(engine, cycles)[0]["archive"]).unlink()
    assert bring(engine, {"r-2-1": "faq", "r-1-1": "faq"}).n_unread == 0


@pytest.mark.usefixtures("archive")
def test_malformed_rows_are_counted_with_the_first_one(engine: Engine) -> None:
    rows: list[GivenLabel | Malformed] = [
        Malformed(line=1, problem="no label"),
        GivenLabel(request_id="r-0-1", label="faq"),
        Malformed(line=3, problem="no id"),
    ]
    found = bring(engine, rows)
    assert (found.n_read, found.n_malformed, found.first_malformed) == (3, 2, rows[0])
    assert found.n_joined == 1
    with pytest.raises(NothingLabelledError, match="the first, line 1, has no label: name the fields"):
        bring(engine, rows[:1])
    assert bring(engine, []).n_read == 0


# --- others at the same time, and deaths -----------------------------------------------------------------


@pytest.mark.usefixtures("archive")
def test_of_two_imports_at_once_both_count(database_url: str, engine: Engine) -> None:
    """Each computes the cycle's numbers from the labels of both, or the later one does."""
    for turn in range(5):
        with writing(engine) as connection:
            connection.execute(labels.delete())
            connection.execute(correctness.delete())
        in_processes(2, database_url, lambda own, number: bring(own, {f"r-1-{number + 1}": "faq"}).n_changed)
        assert counts(engine) == {2: (2, 2, 0)}, turn


@pytest.mark.usefixtures("archive")
def test_a_process_that_is_killed_leaves_whole_cycles(
    database_url: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies when the labels of its second cycle are written and who is right by them is not yet."""
    everything = {f"r-{hour}-{number}": "faq" for hour in range(3) for number in range(4)}

    def work() -> None:
        own = connect(database_url)
        write_down = cycle_labels.set_correctness

        def die_at_the_second(*arguments: Any) -> None:  # noqa: ANN401 - passed on
            if counts(own):
                os.kill(os.getpid(), signal.SIGKILL)
            write_down(*arguments)

        monkeypatch.setattr(cycle_labels, "set_correctness", die_at_the_second)
        bring(own, everything)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert counts(engine) == {3: (4, 3, 0)}
    assert {cycle_id for cycle_id, _ in known(engine)} == {3}
    assert bring(engine, everything).n_cycles == 2
    assert counts(engine) == dict.fromkeys((1, 2, 3), (4, 3, 0))


@pytest.mark.usefixtures("archive")
def test_an_interruption_leaves_whole_cycles(engine: Engine) -> None:
    def interrupt(done: int, _total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(engine, {"r-0-1": "faq", "r-2-1": "faq"}, progress=interrupt)
    assert counts(engine) == {3: (1, 1, 0)}


def take_out(engine: Engine, *request_ids: str) -> Erased:
    return erase(engine, MONITOR, request_ids, NOW, lambda _done, _total: None)


@pytest.mark.usefixtures("archive")
def test_the_labels_of_erased_requests_go_and_the_numbers_stay(engine: Engine) -> None:
    bring(engine, GIVEN)
    before = stored(engine, correctness)
    Path(stored(engine, cycles)[2]["archive"]).unlink()  # as if it had expired
    assert take_out(engine, "r-0-1", "r-2-0") == Erased(n_requests=1, n_archives=1, n_labels=2)
    assert set(known(engine)) == {(1, request_hash("r-0-2")), (1, request_hash("r-0-3"))}
    assert stored(engine, correctness) == before


@pytest.mark.usefixtures("archive")
def test_an_erasure_in_the_middle_of_an_import_wins(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a label of a request that is erased would come back."""
    sample_in = files.sample_in

    def erase_and_go_on(content: bytes, uri: str, *, sha256: str | None = None) -> ScoredSample:
        sample = sample_in(content, uri, sha256=sha256)
        if sample.requests[1].id == "r-1-1":
            with monkeypatch.context() as patch:
                patch.setattr(files, "sample_in", sample_in)
                take_out(engine, "r-1-1")
        return sample

    with monkeypatch.context() as patch:
        patch.setattr(files, "sample_in", erase_and_go_on)
        with pytest.raises(NothingJoinedError, match="changed meanwhile; import the file again"):
            bring(engine, {"r-1-1": "faq", "r-1-2": "faq"})
    assert known(engine) == {}
    assert bring(engine, {"r-1-1": "faq", "r-1-2": "faq"}).n_joined == 1
