"""What a job trains on: the samples of its episode, the newest first, within a bound."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine
from structlog.testing import capture_logs

from db import queue
from db.connection.session import reading, writing
from db.cycles import labels as imported
from db.cycles.cycle_archives import PairArchive
from db.cycles.labels import request_hash
from db.records import Job, LateLabel
from distill import job_data
from distill.job_data import JobData, read_job_data, within
from distill.settings import RedistillSection
from distill.training.dataset import split_archive
from monitor.archive import files
from monitor.storage.artifacts import Artifacts
from tests.support.records.cycles import MONITOR, Cycles, make_policy, taken
from tests.support.records.factories import HOUR, START, make_measurement, make_result, make_traffic
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


def read(engine: Engine, job: Job, folder: Path, **keys: object) -> JobData:
    for name in ("train", "test"):
        (folder / name).write_text(json.dumps({"text": f"a text to {name}", "label": "faq"}) + "\n")
    section = RedistillSection.model_validate({"train": folder / "train", "test": folder / "test", **keys})
    return read_job_data(
        engine,
        job,
        section,
        Artifacts(),
        labels=("faq", "promotion"),
        redact=str,
        kept=timedelta(days=30),
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
