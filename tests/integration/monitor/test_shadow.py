"""A candidate in shadow is scored on the texts of the cycle, each of which counts once."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import Engine

from db import queue, versions
from db.connection.session import connect, writing
from db.records import Claim, ModelVersion, ShadowScores
from db.shadows import runs
from db.states import JobDecision, JobStatus, PromotionReason, Role
from monitor.archive.sample import ScoredSample
from monitor.divergence import kl_divergence
from monitor.scoring.batches import score
from monitor.scoring.model import Model
from monitor.scoring.models import fingerprint, load
from monitor.scoring.placement import ON_CPU
from monitor.shadow.scorer import ShadowScorer
from monitor.sources.request import Request
from monitor.stop import StoppedError, never_stopped
from monitor.storage.artifacts import Artifacts
from monitor.storage.store import ArtifactUnavailableError
from monitor.storage.student_places import StudentPlaces
from monitor.strata import Strata
from tests.support.records.cycles import MONITOR
from tests.support.records.factories import LABELS, START, make_new_job, make_slot
from tests.support.world.models import answers, make_copy, make_model

TEXTS = [f"where is order {number}" for number in range(40)]


@dataclass(frozen=True, kw_only=True)
class Setting:
    engine: Engine
    folder: Path
    teacher: Model
    student: Model
    candidate: Path

    def start(self) -> None:
        """The student in service, and the candidate in shadow beside it."""
        version = fingerprint(self.candidate)
        place = self.folder / "registry" / "versions" / version
        shutil.copytree(self.candidate, place)
        served, made = (
            ModelVersion(monitor=MONITOR, version=each, role=Role.STUDENT, uri=str(place))
            for each in (self.student.version, version)
        )
        with writing(self.engine) as connection:
            for model in (served, made):
                versions.record(connection, model, START)
            versions.promote(connection, served, PromotionReason.MANUAL, START)
            queue.enqueue(
                connection,
                replace(make_new_job(cycle_id=None), student_version=self.student.version),
                START,
            )
            claimed = queue.claim(connection, MONITOR, owner="w", lease_seconds=60, now=START)
            assert claimed is not None
            runs.start(connection, claimed[0], version, START)
            done = JobDecision.SHADOWED
            queue.finish(connection, claimed[0], JobStatus.SUCCEEDED, now=START, decision=done)

    def sample(self, texts: Sequence[str]) -> ScoredSample:
        return ScoredSample(
            slot=make_slot(0),
            labels=self.teacher.labels,
            teacher_version=self.teacher.version,
            student_version=self.student.version,
            temperature=3.0,
            requests=tuple(Request(id=f"r{row}", time=START, text=text) for row, text in enumerate(texts)),
            strata=Strata.one(len(texts)),
            stratum_labels=(None,),
            teacher_logits=answers(self.teacher, texts).astype(np.float32),
            student_logits=answers(self.student, texts).astype(np.float32),
        )

    def compare(self, sample: ScoredSample) -> ShadowScores | None:
        places = StudentPlaces(
            artifacts=Artifacts(), registry=self.folder / "registry", configured=self.folder / "student"
        )
        scorer = ShadowScorer(engine=self.engine, places=places, placement=ON_CPU)
        claim = Claim(cycle_id=1, slot=sample.slot, attempt=1, started_at=START)
        return scorer.compare(claim, sample, self.teacher, scored)


def scored(model: Model, role: str, texts: Sequence[str]) -> NDArray[np.float32]:
    assert role == "candidate"
    return score(model, texts, tokens_per_batch=512, stopped=never_stopped, progress=lambda _done: None)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    teacher = make_model(folder / "teacher", LABELS, seed=1)
    students = {name: make_copy(teacher, folder / name, noise=0.3, seed=ord(name)) for name in "ab"}
    return {"teacher": teacher, "other": make_model(folder / "other", ("x", "y"), seed=2), **students}


@pytest.fixture
def setting(sqlite_url: str, tmp_path: Path, models: dict[str, Path]) -> Setting:
    return Setting(
        engine=connect(sqlite_url),
        folder=tmp_path,
        teacher=load(models["teacher"]),
        student=load(models["a"]),
        candidate=models["b"],
    )


def test_without_a_shadow_no_model_is_loaded(setting: Setting) -> None:
    assert setting.compare(setting.sample(TEXTS)) is None


def test_each_text_counts_once_and_each_request_weighs(setting: Setting) -> None:
    setting.start()
    texts = [*TEXTS, *TEXTS[:5] * 3]
    sample = setting.sample(texts)
    found = setting.compare(sample)
    assert found is not None
    assert found.numbers is not None
    logits = answers(load(setting.candidate), texts)
    teacher, first, second = (
        each.argmax(axis=1) for each in (sample.teacher_logits, logits, sample.student_logits)
    )
    won, lost = ((first == teacher) & (second != teacher), (first != teacher) & (second == teacher))
    assert (won[:40].sum(), lost[:40].sum()) == (
        found.numbers.n_candidate_only,
        found.numbers.n_incumbent_only,
    )
    assert won[:40].sum() + lost[:40].sum() > 0, "the models of this test must differ"
    assert found.numbers.n == 40
    assert found.numbers.agreement == pytest.approx((first == teacher).mean())
    assert found.numbers.kl == pytest.approx(kl_divergence(sample.teacher_logits, logits).mean(), rel=1e-5)


def test_another_incumbent_or_an_empty_sample_is_not_compared(setting: Setting) -> None:
    setting.start()
    assert setting.compare(replace(setting.sample(TEXTS), student_version="another")) is None
    assert setting.compare(setting.sample(TEXTS[:0])) is None


def test_files_that_are_gone_and_a_model_with_other_labels_are_reported(
    setting: Setting, models: dict[str, Path]
) -> None:
    setting.start()
    (place,) = (setting.folder / "registry" / "versions").iterdir()
    shutil.rmtree(place)
    found = setting.compare(setting.sample(TEXTS))
    assert found is not None
    assert (found.numbers, "in none of its places" in str(found.error)) == (None, True)
    with_other_labels = replace(setting, candidate=models["other"])
    with_other_labels.start()
    found = setting.compare(setting.sample(TEXTS))
    assert found is not None
    assert found.numbers is None
    assert "label" in str(found.error)


@pytest.mark.parametrize(
    "error", [StoppedError(), ArtifactUnavailableError(location="s3://x", problem="503")]
)
def test_a_stop_passes_through_and_an_outage_of_s3_does_not_count(
    setting: Setting, error: StoppedError | ArtifactUnavailableError
) -> None:
    setting.start()

    def fails(_model: Model, _role: str, _texts: Sequence[str]) -> NDArray[np.float32]:
        raise error

    sample = setting.sample(TEXTS)
    places = StudentPlaces(
        artifacts=Artifacts(), registry=setting.folder / "registry", configured=setting.folder / "student"
    )
    scorer = ShadowScorer(engine=setting.engine, places=places, placement=ON_CPU)
    claim = Claim(cycle_id=1, slot=sample.slot, attempt=1, started_at=START)
    if isinstance(error, StoppedError):
        with pytest.raises(StoppedError):
            scorer.compare(claim, sample, setting.teacher, fails)
    else:
        assert scorer.compare(claim, sample, setting.teacher, fails) is None
