"""What a job trains on: the samples of its episode, the newest first, within a bound."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, insert, select, update
from structlog.testing import capture_logs

from db import queue
from db.archives.cycle_archives import PairArchive
from db.connection.session import reading, writing
from db.cycles import labels as imported
from db.cycles.labels import request_hash
from db.records import Job, LateLabel
from db.tables import cycles, jobs, promotions
from distill import job_data
from distill.job_data import JobData, read_job_data, within
from distill.settings import RedistillSection
from distill.training.dataset import split_archive
from monitor.archive import files
from monitor.archive.places import ArchiveReadError
from monitor.storage.artifacts import Artifacts
from tests.support.records.cycles import MONITOR, Cycles, make_policy, taken
from tests.support.records.factories import (
    HOUR,
    START,
    make_measurement,
    make_new_job,
    make_result,
    make_traffic,
)
from tests.support.records.samples import make_sample

N = 40  #: requests in each sample
SAMPLES = 8  #: more than were read when a count was the bound
BREACH = make_result(measurement=make_measurement(n=N, disagreements=20), traffic=make_traffic(n_sampled=N))


def texts(index: int) -> list[str]:
    return [f"{index} is {number}" for number in range(N)]


@pytest.fixture
def job(engine: Engine, tmp_path: Path) -> Job:
    """Of the newest of so many breached cycles; the first one ordered it, as if nobody had taken it yet."""
    run = Cycles(engine=engine, lease=taken(engine), policy=make_policy(alerts=(), min_samples=N))
    for index in range(SAMPLES):
        sample = make_sample(N, end=START + (index + 1) * HOUR, monitor=MONITOR)
        requests = (
            each._replace(text=text) for each, text in zip(sample.requests, texts(index), strict=True)
        )
        archive = files.write(tmp_path / "archive", replace(sample, requests=tuple(requests)))
        run.conclude(index, replace(BREACH, archive=archive))
    with reading(engine) as connection:
        (found,) = queue.of_monitor(connection, MONITOR)
    return replace(found, cycle_id=SAMPLES)


def read(
    engine: Engine,
    job: Job,
    folder: Path,
    *,
    labels: Sequence[str] = ("faq", "promotion"),
    kept: timedelta = timedelta(days=30),
    test_rows: str = "",
    **keys: object,
) -> JobData:
    for name in ("train", "test"):
        row = json.dumps({"text": f"a text to {name}", "label": "faq"}) + "\n"
        (folder / name).write_text(row + (test_rows if name == "test" else ""))
    section = RedistillSection.model_validate({"train": folder / "train", "test": folder / "test", **keys})
    return read_job_data(
        engine,
        job,
        section,
        Artifacts(),
        labels=labels,
        redact=str,
        kept=kept,
    )


def test_all_samples_of_the_episode_are_learned_from(engine: Engine, job: Job, tmp_path: Path) -> None:
    """The newest first, and the held-out part of the cycle's own is what the candidate is judged on."""
    data = read(engine, job, tmp_path)
    expected = [text for index in range(SAMPLES)[::-1] for text in split_archive(texts(index)).training]
    assert data.training.texts == ("a text to train", *expected)
    assert data.condemned is not None
    assert data.condemned.texts == split_archive(texts(SAMPLES - 1)).held_out
    assert len(data.sha256) == SAMPLES + 2


def test_older_samples_than_fit_the_bound_are_left_out_and_told(
    engine: Engine, job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_data, "MAX_ARCHIVED_REQUESTS", 2 * N + 1)
    with capture_logs() as logs:
        data = read(engine, job, tmp_path)
    found = {text.split()[0] for text in data.training.texts[1:]}
    assert found == {str(SAMPLES - 1), str(SAMPLES - 2)}
    (line,) = (each for each in logs if each["event"] == "training data read")
    assert (line["n_samples"], line["n_samples_left_out"], line["n_requests_left_out"]) == (2, 6, 6 * N)


def import_labels(engine: Engine, index: int, labels: Sequence[str | None]) -> None:
    """Of the requests of one sample, in their order."""
    sample = make_sample(N, end=START + (index + 1) * HOUR, monitor=MONITOR)
    late = [
        LateLabel(
            request_hash=request_hash(request.id),
            label=label,
            teacher_label="faq",
            student_label="faq",
            weight=1.0,
        )
        for request, label in zip(sample.requests, labels, strict=False)
    ]
    with writing(engine) as connection:
        imported.put(connection, index + 1, late, START)


def test_imported_labels_are_those_of_the_requests_of_their_own_cycle(
    engine: Engine, job: Job, tmp_path: Path
) -> None:
    """Requests of several cycles may share an id; here all of them do."""
    import_labels(engine, SAMPLES - 1, ["promotion"] * N)
    import_labels(engine, SAMPLES - 2, [None, *["faq"] * (N - 1)])
    with capture_logs() as logs:
        data = read(engine, job, tmp_path)
    rows = zip(data.training.texts, data.training.labels.tolist(), data.training.labelled, strict=True)
    found = {text: label for text, label, is_labelled in rows if is_labelled}
    newest = dict.fromkeys(split_archive(texts(SAMPLES - 1)).training, 1)
    earlier = {
        text: 0 for text in split_archive(texts(SAMPLES - 2)).training if text != texts(SAMPLES - 2)[0]
    }
    assert found == {"a text to train": 0, **newest, **earlier}
    assert data.condemned is not None
    assert {row.label for row in data.condemned.rows} == {1}
    (line,) = (each for each in logs if each["event"] == "training data read")
    assert (line["n_labelled_traffic"], line["label_source"]) == (len(newest) + len(earlier), "random")
    out_of_scope = texts(SAMPLES - 2)[0] in split_archive(texts(SAMPLES - 2)).training
    assert line["n_out_of_scope"] == data.training.traffic_labels.n_out_of_scope == int(out_of_scope)


def test_labels_can_be_ignored(engine: Engine, job: Job, tmp_path: Path) -> None:
    import_labels(engine, SAMPLES - 1, ["promotion"] * N)
    data = read(engine, job, tmp_path, traffic_labels="ignore")
    assert data.training.labelled.sum() == 1
    assert data.training.traffic_labels.n == 0
    assert data.condemned is not None
    assert {row.label for row in data.condemned.rows} == {None}


def serve(engine: Engine, version: str, job_cycle: int, *, teacher: str | None = None) -> None:
    """Record an earlier job of that cycle, whose candidate came into service."""
    with writing(engine) as connection:
        order = make_new_job(MONITOR, cycle_id=job_cycle)
        cycle = connection.execute(select(cycles).where(cycles.c.id == job_cycle)).one()
        order = replace(order, teacher_version=teacher or cycle.teacher_version)
        row = {"soft_labels": "online", "status": "succeeded", "attempt": 1, "enqueued_at": START}
        connection.execute(insert(jobs).values(**vars(order), **row, candidate_version=version))
        promoted = {"promoted_at": START, "retired_at": START, "reason": "gates_passed"}
        connection.execute(
            insert(promotions).values(monitor=MONITOR, role="student", version=version, **promoted)
        )


@pytest.fixture
def later_job(engine: Engine, job: Job) -> Job:
    """The third student's job, of the last two samples; the first and the second student had three each."""
    with writing(engine) as connection:
        for first, student in ((3, "second"), (6, "third")):
            connection.execute(update(cycles).where(cycles.c.id > first).values(student_version=student))
        connection.execute(update(jobs).values(cycle_id=None, status="failed"))
    serve(engine, "second", 3)
    serve(engine, "third", 6)
    return replace(job, job_id=99)


def learned(data: JobData) -> list[int]:
    """The samples that are trained on, in their order."""
    return [
        int(text.split()[0]) for text in dict.fromkeys(text.split()[0] for text in data.training.texts[1:])
    ]


def test_the_samples_of_earlier_jobs_are_replayed_after_its_own(
    engine: Engine, later_job: Job, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        data = read(engine, later_job, tmp_path)
    assert learned(data) == [7, 6, 5, 4, 3, 2, 1, 0]
    assert data.condemned is not None
    assert data.condemned.texts == split_archive(texts(7)).held_out
    (line,) = (each for each in logs if each["event"] == "training data read")
    assert (line["n_samples"], line["n_samples_replayed"]) == (8, 6)


@pytest.mark.parametrize(("replay_jobs", "expected"), [(0, [7, 6]), (1, [7, 6, 5, 4, 3])])
def test_as_many_jobs_are_replayed_as_configured(
    replay_jobs: int, expected: list[int], engine: Engine, later_job: Job, tmp_path: Path
) -> None:
    assert learned(read(engine, later_job, tmp_path, replay_jobs=replay_jobs)) == expected


def test_jobs_of_another_teacher_and_candidates_that_never_served_are_not_replayed(
    engine: Engine, later_job: Job, tmp_path: Path
) -> None:
    with writing(engine) as connection:
        connection.execute(update(jobs).where(jobs.c.cycle_id == 3).values(teacher_version="other"))
        connection.execute(delete(promotions).where(promotions.c.version == "third"))
    assert learned(read(engine, later_job, tmp_path)) == [7, 6]


def test_the_bound_leaves_out_what_is_oldest(
    engine: Engine, later_job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_data, "MAX_ARCHIVED_REQUESTS", 4 * N)
    assert learned(read(engine, later_job, tmp_path)) == [7, 6, 5, 4]


def test_samples_of_earlier_jobs_that_have_expired_are_not_looked_for(
    engine: Engine, later_job: Job, tmp_path: Path
) -> None:
    assert learned(read(engine, later_job, tmp_path, kept=3.5 * HOUR)) == [7, 6, 5, 4]


def test_a_replayed_sample_that_cannot_be_read_is_passed_over_and_one_of_its_own_is_not(
    engine: Engine, later_job: Job, tmp_path: Path
) -> None:
    uris = sorted((tmp_path / "archive" / MONITOR).iterdir())
    uris[5].unlink()
    with capture_logs() as logs:
        assert learned(read(engine, later_job, tmp_path)) == [7, 6, 4, 3, 2, 1, 0]
    assert [each["event"] for each in logs if each["log_level"] == "warning"] == ["archive passed over"]
    uris[6].unlink()
    with pytest.raises(ArchiveReadError):
        read(engine, later_job, tmp_path)


def test_the_teacher_s_logits_of_the_original_texts_stand_for_those_of_redacted_ones(
    engine: Engine, job: Job, tmp_path: Path
) -> None:
    """In training and in judging; the labels of the archive are in another order than the models'."""
    sample = make_sample(N, end=START + SAMPLES * HOUR, monitor=MONITOR)
    requests = zip(sample.requests, texts(SAMPLES - 1), strict=True)
    redacted = tuple(row % 4 == 0 for row in range(N))
    named = tuple(each._replace(text=text) for each, text in requests)
    archive = files.write(tmp_path / "archive", replace(sample, requests=named, redacted=redacted))
    with writing(engine) as connection:
        own = cycles.c.id == SAMPLES
        connection.execute(update(cycles).where(own).values(archive_sha256=archive.sha256))
    data = read(engine, job, tmp_path, labels=("promotion", "faq"))
    expected = {
        text: logits[::-1].tolist()
        for text, logits, is_redacted in zip(texts(SAMPLES - 1), sample.teacher_logits, redacted, strict=True)
        if is_redacted
    }
    known = data.training.known_logits
    assert known is not None
    assert data.condemned is not None
    rows = zip(known.rows.tolist(), known.logits.tolist(), strict=True)
    trained = {data.training.texts[row]: logits for row, logits in rows}
    held_out = ((row.text, row.teacher_logits) for row in data.condemned.rows)
    judged = {text: logits.tolist() for text, logits in held_out if logits is not None}
    assert {**trained, **judged} == expected
    assert not {*trained} & {*judged}


def test_a_test_set_that_fences_off_much_of_the_archive_is_told(
    engine: Engine, job: Job, tmp_path: Path
) -> None:
    frequent = "".join(
        json.dumps({"text": text, "label": "faq"}) + "\n" for index in (7, 6, 5) for text in texts(index)
    )
    with capture_logs() as logs:
        data = read(engine, job, tmp_path, test_rows=frequent)
    assert data.training.n_fenced > 0.2 * SAMPLES * N * 0.7
    (line,) = (each for each in logs if each["event"] == "much of the archive is in the test set")
    assert line["share"] == pytest.approx(3 / 8, abs=0.05)


def archives(sizes: Sequence[int]) -> list[PairArchive]:
    return [PairArchive(cycle_id=index, uri=str(index), sha256="", n=n) for index, n in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "limit", "expected"),
    [
        pytest.param([], 10, 0, id="nothing"),
        pytest.param([11], 10, 1, id="the first one counts whatever its size"),
        pytest.param([11, 1], 10, 1, id="and may leave no room"),
        pytest.param([4, 6], 10, 2, id="a bound that is reached is kept"),
        pytest.param([4, 7, 1], 10, 1, id="no older one in place of one that does not fit"),
    ],
)
def test_within(sizes: list[int], limit: int, expected: int) -> None:
    read, left_out = within(archives(sizes), limit)
    assert (len(read), [*read, *left_out]) == (expected, archives(sizes))


@given(sizes=st.lists(st.integers(0, 100), min_size=1), limit=st.integers(0, 300))
def test_no_more_than_the_bound_is_read_and_no_less_than_fits(sizes: list[int], limit: int) -> None:
    read, left_out = within(archives(sizes), limit)
    assert len(read) == 1 or sum(each.n for each in read) <= limit
    assert not left_out or sum(each.n for each in [*read, left_out[0]]) > limit
