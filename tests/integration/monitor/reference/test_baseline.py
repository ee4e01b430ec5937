"""A sample is compared with the oldest healthy one that is still there, as it is archived."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import structlog
from sqlalchemy import Engine, update

from db.archives import cycle_archives
from db.connection.session import reading, writing
from db.records import Archive, ArchivedCycle, InputDrift, Slot
from db.tables import cycles
from monitor.archive import files
from monitor.archive.sample import ScoredSample, without
from monitor.reference.baseline import Reference
from monitor.scoring.models import Model, load
from monitor.strata import Strata
from tests.support.records.cycles import Cycles, stored, taken
from tests.support.records.factories import (
    HOUR,
    START,
    STUDENT,
    TEACHER,
    make_measurement,
    make_result,
    make_slot,
)
from tests.support.records.samples import TEN, make_sample
from tests.support.world.models import CORPUS, make_model

USUAL, NEW = CORPUS[:4], CORPUS[4:]
SEEDS = (2025, 2026)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(make_model(tmp_path_factory.mktemp("teacher"), ("faq", "promotion"), seed=1))


def sample_of(corpus: Sequence[str], *, n: int = 60, hours: int = 1, seed: int = 1) -> ScoredSample:
    """So many texts of the corpus, each with a word more, of the window that ends at TEN + hours."""
    sample = make_sample(n, end=TEN + hours * HOUR, seed=seed)
    rng = np.random.default_rng(seed)
    requests = (
        each._replace(text=f"{rng.choice(corpus)} {rng.choice(['please', 'today', 'you', 'how'])}")
        for each in sample.requests
    )
    return replace(sample, requests=tuple(requests))


def archived(folder: Path, cycle_id: int, sample: ScoredSample) -> ArchivedCycle:
    written = files.write(folder, sample)
    return ArchivedCycle(cycle_id=cycle_id, uri=written.uri, sha256=written.sha256)


def make_reference(*known: ArchivedCycle, n_texts: int = 1_000) -> Reference:
    def healthy(_slot: Slot, _pair: tuple[str, str], _since: datetime) -> Sequence[ArchivedCycle]:
        return known

    return Reference(healthy=healthy, n_texts=n_texts, seeds=SEEDS)


def test_new_texts_are_told_from_the_oldest_healthy_ones(teacher: Model, tmp_path: Path) -> None:
    oldest = archived(tmp_path, 3, sample_of(USUAL, hours=1))
    other = archived(tmp_path, 4, sample_of(NEW, hours=2))
    reference = make_reference(oldest, other)
    new = reference.compare(sample_of(NEW, hours=3, seed=3), teacher, since=START)
    same = reference.compare(sample_of(USUAL, hours=4, seed=4), teacher, since=START)
    assert new is not None
    assert same is not None
    assert (new.reference_cycle_id, new.n, new.n_reference) == (3, 60, 60)
    assert new.accuracy > 0.95
    assert new.p_value < 0.01
    assert same.accuracy < 0.7
    assert same.p_value > 0.05


def test_what_is_remembered_changes_nothing(teacher: Model, tmp_path: Path) -> None:
    """A process that starts now says the same as one that has looked at the reference before."""
    oldest = archived(tmp_path, 3, sample_of(USUAL))
    veteran = make_reference(oldest)
    found: list[InputDrift | None] = []
    for reference in (veteran, veteran, make_reference(oldest)):
        sample = sample_of([*USUAL, NEW[0]], hours=3, seed=len(found) // 3 + 5)
        found.append(reference.compare(sample, teacher, since=START))
    assert found[0] is not None
    assert found == [found[0]] * 3


def test_an_archive_is_read_once_until_something_is_erased_from_it(teacher: Model, tmp_path: Path) -> None:
    sample = sample_of(USUAL)
    known = [archived(tmp_path, 3, sample)]
    reference = Reference(healthy=lambda *_: known, n_texts=1_000, seeds=SEEDS)
    for _ in range(2):
        found = reference.compare(sample_of(NEW, hours=3), teacher, since=START)
        assert found is not None
        assert found.n_reference == 60
        Path(known[0].uri).unlink(missing_ok=True)
    known[0] = archived(tmp_path, 3, without(sample, {request.id for request in sample.requests[:10]}))
    found = reference.compare(sample_of(NEW, hours=3), teacher, since=START)
    assert found is not None
    assert found.n_reference == 50


def test_a_missing_a_damaged_and_an_emptied_archive_are_passed_over(teacher: Model, tmp_path: Path) -> None:
    missing, damaged, emptied, sound = (
        archived(tmp_path, hours, sample_of(USUAL, n=15 if hours == 3 else 60, hours=hours))
        for hours in range(1, 5)
    )
    Path(missing.uri).unlink()
    Path(damaged.uri).write_bytes(b"nothing of the kind")
    with structlog.testing.capture_logs() as logs:
        found = make_reference(missing, damaged, emptied, sound).compare(
            sample_of(NEW, hours=5), teacher, since=START
        )
    assert found is not None
    assert found.reference_cycle_id == 4
    assert [line["event"] for line in logs] == ["archive passed over"]
    assert make_reference(missing).compare(sample_of(NEW), teacher, since=START) is None


@pytest.mark.parametrize(("n", "n_texts"), [(19, 1_000), (60, 0), (60, 19), (0, 1_000)])
def test_too_few_texts_tell_nothing(n: int, n_texts: int, teacher: Model, tmp_path: Path) -> None:
    oldest = archived(tmp_path, 3, sample_of(USUAL))
    reference = make_reference(oldest, n_texts=n_texts)
    assert reference.compare(sample_of(NEW, n=n, hours=3), teacher, since=START) is None
    assert make_reference().compare(sample_of(NEW, hours=3), teacher, since=START) is None


def test_of_a_stratified_sample_the_first_half_is_looked_at_and_all_its_labels_are_weighted(
    teacher: Model, tmp_path: Path
) -> None:
    """A label of a tenth of the window fills half of the sample."""
    strata = Strata(sizes=(900, 100), of=np.repeat([0, 1], 50))
    logits = np.where(strata.of[:, None] == [0, 1], 5.0, 0.0).astype(np.float32)
    stratified = replace(
        sample_of(USUAL, n=100, hours=3),
        strata=strata,
        stratum_labels=("faq", "promotion"),
        teacher_logits=logits,
    )
    uniform = replace(
        sample_of(USUAL, n=100),
        teacher_logits=np.where(np.arange(100)[:, None] < [90, 100], 5.0, [[0.0, 4.0]]).astype(np.float32),
    )
    found = make_reference(archived(tmp_path, 3, uniform)).compare(stratified, teacher, since=START)
    assert found is not None
    assert (found.n, found.n_reference) == (50, 100)
    assert found.psi.estimate == found.js.estimate == 0


def test_a_reference_is_healthy_archived_earlier_in_time_and_of_the_same_pair(engine: Engine) -> None:
    """Whatever order the cycles ended in."""
    run = Cycles(engine=engine, lease=taken(engine))
    drifted = make_measurement(disagreements=1_000)
    results = {
        0: make_result(archive=Archive(uri="too old", sha256="0")),
        2: make_result(archive=Archive(uri="second", sha256="2")),
        1: make_result(archive=Archive(uri="first", sha256="1")),
        3: make_result(archive=Archive(uri="breached", sha256="3"), measurement=drifted),
        4: make_result(
            archive=Archive(uri="few", sha256="4"), measurement=make_measurement(n=500, disagreements=0)
        ),
        5: make_result(archive=Archive(uri="other student", sha256="5"), student_version="s2"),
        6: make_result(archive=Archive(uri="other teacher", sha256="6"), teacher_version="t2"),
        7: make_result(),
        8: make_result(archive=Archive(uri="itself", sha256="8")),
        9: make_result(archive=Archive(uri="later", sha256="9")),
    }
    for index, result in results.items():
        run.conclude(index, result)
    run.conclude(10, make_result(archive=Archive(uri="elsewhere", sha256="10")))
    with writing(engine) as connection:
        connection.execute(update(cycles).where(cycles.c.archive == "elsewhere").values(monitor="another"))
    with reading(engine) as connection:
        found = cycle_archives.healthy_before(
            connection, make_slot(8), (TEACHER, STUDENT), since=make_slot(1).window_end
        )
    assert [(each.uri, each.sha256) for each in found] == [("first", "1"), ("second", "2")]
    ids = {row["archive"]: row["id"] for row in stored(engine, cycles)}
    assert [each.cycle_id for each in found] == [ids["first"], ids["second"]]


def test_the_slices_are_compared_with_the_same_reference(teacher: Model, tmp_path: Path) -> None:
    """And with the others alone if there is none, or where nothing is to be compared."""
    reference = make_reference(archived(tmp_path, 3, answered(hours=1)))
    drifted = answered(hours=2, wrong=40)
    (first, *_) = reference.slices(drifted, teacher, since=START)
    assert (first.kind, first.name, first.n_disagreements) == ("label", "promotion", 40)
    assert first.reference is not None
    assert first.reference.rate == 0
    assert first.q_moved is not None
    assert first.q_moved < 0.001
    for alone in (make_reference(), make_reference(archived(tmp_path, 3, answered(hours=1)), n_texts=0)):
        found = alone.slices(drifted, teacher, since=START)
        assert [each.now for each in found] == [
            each.now for each in reference.slices(drifted, teacher, since=START)
        ]
        assert {each.q_moved for each in found} == {None}
    assert make_reference().slices(make_sample(3), teacher, since=START) == ()


def answered(*, hours: int, wrong: int = 0) -> ScoredSample:
    """200 requests, half of them promotions, of which the student does not know some."""
    sample = sample_of(CORPUS, n=200, hours=hours, seed=hours)
    requests = tuple(each._replace(text=f"{each.text} {at}") for at, each in enumerate(sample.requests))
    first = np.arange(200) % 2
    student = np.where(np.arange(200) < 2 * wrong, 0, first)
    logits = np.eye(2, dtype=np.float32)
    return replace(sample, requests=requests, teacher_logits=logits[first], student_logits=logits[student])
