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
from db.connection.session import reading
from db.cycles.cycle_archives import PairArchive
from db.records import Job
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


def read(engine: Engine, job: Job, folder: Path) -> JobData:
    for name in ("train", "test"):
        (folder / name).write_text(json.dumps({"text": f"a text to {name}", "label": "faq"}) + "\n")
    section = RedistillSection.model_validate({"train": folder / "train", "test": folder / "test"})
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


def archives(sizes: Sequence[int]) -> list[PairArchive]:
    return [PairArchive(uri=str(index), sha256="", n=n) for index, n in enumerate(sizes)]


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
