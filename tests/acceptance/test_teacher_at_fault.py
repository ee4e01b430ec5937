"""A teacher that errs on what users ask now: with true labels of the requests, the student learns it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from sqlalchemy import Engine, create_engine

from db.states import GateResult
from db.tables import gate_outcomes, incidents, jobs
from distill.evaluation.gates import CONDEMNED, passed
from distill.job_data import Condemned, JobData
from distill.judgement import Judge, Judgement
from distill.settings import GatesSection
from distill.training.archived import ArchivedRow
from distill.training.dataset import chosen, read_labelled, training_set
from distill.training.schedule import Schedule
from distill.training.train import train
from monitor.labels.files import read_labels
from monitor.labels.join import import_labels
from monitor.scoring.batches import score
from monitor.scoring.models import Model, load
from monitor.settings import MetricsSection
from monitor.stop import never_stopped
from monitor.strata import Strata
from redistill import assembly
from redistill.configuration.settings import Settings
from redistill.display.progress import show_nothing
from tests.support.processes.workers import without_labels
from tests.support.records.cycles import stored
from tests.support.world.installation import MONITOR, Site, hours, make_site, now
from tests.support.world.reruns import rerun
from tests.support.world.tiny_world import LABELS, NEW, Utterance, World, build, utterances

SCHEDULE: Final = Schedule(epochs=3, batch_size=32, learning_rate=6e-3, seed=2025)
#: Two intents in six have changed: their new words mean another one now, and the teacher does not know.
MOVED: Final = {"promotion": "recommendation", "checkout_help": "escalation"}


def accuracy(model: Model, rows: Sequence[Utterance]) -> float:
    texts = [row.text for row in rows]
    logits = score(model, texts, tokens_per_batch=4_096, stopped=never_stopped, progress=lambda _done: None)
    answers = [model.labels[index] for index in logits.argmax(axis=1)]
    return float(np.mean([answer == row.label for answer, row in zip(answers, rows, strict=True)]))


def as_users_mean(row: Utterance) -> Utterance:
    is_new = bool(set(NEW[row.label]) & set(row.text.split()))
    return replace(row, label=MOVED.get(row.label, row.label)) if is_new else row


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A candidate on fresh utterances, and its judgement on the condemned sample."""

    on_new: float
    judgement: Judgement


@pytest.fixture(scope="module")
def fresh() -> list[Utterance]:
    found = utterances(600, new=1.0, rng=np.random.default_rng(99))
    return [as_users_mean(row) for row in found]


def distilled(world: World, fresh: Sequence[Utterance], *, is_labelled: bool) -> Judged:
    """A job at alpha 0.2 on 400 archived requests, of which 300 more are held out."""
    rng = np.random.default_rng(1)
    rows = [as_users_mean(row) for row in utterances(700, new=0.4, rng=rng)]
    archived = [ArchivedRow(row.text, label=LABELS.index(row.label) if is_labelled else None) for row in rows]
    test = chosen(read_labelled(world.test, LABELS), 100)
    data = JobData(
        training=training_set(chosen(read_labelled(world.train, LABELS), 300), archived[:400], test),
        validation=None,
        test=test,
        condemned=Condemned(rows=tuple(archived[400:]), strata=Strata.one(300)),
        sha256={},
    )
    teacher, incumbent, candidate = load(world.teacher), load(world.student), load(world.student)
    train(
        candidate,
        teacher,
        data.training,
        SCHEDULE,
        alpha=0.2,
        temperature=3.0,
        stopped=never_stopped,
        progress=lambda *_: None,
    )
    judge = Judge(
        gates=GatesSection(latency_p95_ms=None),
        teacher_min_accuracy=0.8,
        metrics=MetricsSection(resamples=200),
        tokens_per_batch=4_096,
        calibrator=without_labels(create_engine("sqlite://"), MONITOR),
        show=show_nothing,
    )
    judgement = judge.judge(candidate, incumbent, teacher, data, never_stopped)
    return Judged(on_new=accuracy(candidate, fresh), judgement=judgement)


def of_condemned(judgement: Judgement) -> dict[str, GateResult]:
    return {each.gate: each.result for each in judgement.gates if each.dataset == CONDEMNED}


def test_with_labels_accuracy_promotes_what_the_teacher_does_not_know(
    world: World, fresh: Sequence[Utterance]
) -> None:
    assert 0.6 < accuracy(load(world.teacher), fresh) < 0.7
    found = distilled(world, fresh, is_labelled=True)
    assert found.on_new >= 0.85
    assert of_condemned(found.judgement) == {"accuracy": GateResult.PASS, "agreement": GateResult.REPORTED}
    assert passed(found.judgement.gates)
    *_, gate, agreement = found.judgement.gates
    why = "in place of agreement: of 300 labelled requests the teacher is right on 0.8"
    assert why in (gate.detail or "")
    assert agreement.value < agreement.threshold


def test_without_labels_the_student_learns_the_teachers_errors(
    world: World, fresh: Sequence[Utterance]
) -> None:
    found = distilled(world, fresh, is_labelled=False)
    assert found.on_new < 0.7
    assert list(of_condemned(found.judgement)) == ["agreement"]


#: Where a request has one of these words, the teacher of the ladder takes a new keyword for another intent's.
MISLEADING: Final = {"please", "today"}
MISLEADING_SOME: Final = {"my"}


def misled(row: Utterance) -> Utterance:
    words = set(row.text.split())
    misleading = MISLEADING | (MISLEADING_SOME if LABELS.index(row.label) % 3 == 0 else set())
    if not (words & set(NEW[row.label]) and words & misleading):
        return row
    return replace(row, label=LABELS[(LABELS.index(row.label) + 1) % len(LABELS)])


@dataclass(frozen=True, kw_only=True)
class Climbed:
    """A ladder from its first job to the incident that ends it."""

    jobs: list[dict[str, Any]]
    gates: list[dict[str, Any]]
    incidents: dict[str, dict[str, Any]]
    on_new: list[float]  #: accuracy of each candidate on new utterances
    served: float  #: that of the student in service at the end


@pytest.fixture(scope="module")
def misled_site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, World]:
    folder = tmp_path_factory.mktemp("misled")
    (folder / "world").mkdir()
    rng = np.random.default_rng(5)
    lesson = [misled(row) for new in (0.5, 0.8) for row in utterances(2_000, new=new, rng=rng)]
    world = build(folder / "world", lesson=lesson)
    site = make_site(folder / "site", world, hours(healthy=1, drifted=7), url="sqlite:///x.db", requests=700)
    return site, world


@contextmanager
def climbing(site: Site, folder: Path) -> Iterator[tuple[Settings, Engine]]:
    keys = {"cooldown": timedelta(0), "watch_cycles": 2, "max_attempts": 2, "epochs": 4}
    with rerun(site, folder, monitor={"sample_size": 680}, redistill=keys) as found:
        yield found


def climb(site: Site, folder: Path, *, is_labelled: bool) -> Climbed:
    new = utterances(1_500, new=1.0, rng=np.random.default_rng(99))
    with climbing(site, folder) as (settings, engine):
        runner = assembly.slot_runner(settings, engine, show_nothing)
        worker = assembly.worker(settings, engine, show_nothing)
        for slot, truth in zip(site.slots, sorted(site.truth.iterdir()), strict=True):
            runner.run([slot], never_stopped)
            if is_labelled:
                rows = read_labels(truth, id_name="id", label_name="label", progress=lambda *_: None)
                import_labels(
                    engine, MONITOR, rows, kept=timedelta(days=30), now=now(), progress=lambda *_: None
                )
            worker.run_once(never_stopped)
        made = stored(engine, jobs)
        versions = Path(settings.redistill.registry) / "versions"
        return Climbed(
            jobs=made,
            gates=stored(engine, gate_outcomes),
            incidents={row["kind"]: row for row in stored(engine, incidents)},
            on_new=[accuracy(load(versions / job["candidate_version"]), new) for job in made],
            served=accuracy(load((Path(settings.redistill.registry) / "current").resolve()), new),
        )


@pytest.mark.slow
def test_a_ladder_with_labels_ends_with_a_student_that_is_better_than_its_teacher(
    misled_site: tuple[Site, World], tmp_path: Path
) -> None:
    site, world = misled_site
    of_teacher = accuracy(load(world.teacher), utterances(1_500, new=1.0, rng=np.random.default_rng(99)))
    assert 0.55 < of_teacher < 0.72
    found = climb(site, tmp_path / "run", is_labelled=True)
    assert found.served >= 0.85
    promoted = [job for job in found.jobs if job["decision"] == "promoted"]
    assert promoted
    assert all("accuracy (condemned)" in job["decision_reason"] for job in promoted)
    assert all(job["n_labelled_traffic"] > 400 for job in found.jobs)
    decided = {(row["gate"], row["result"]) for row in found.gates if row["dataset"] == CONDEMNED}
    assert ("accuracy", "pass") in decided
    assert {result for gate, result in decided if gate == "agreement"} == {"reported"}


@pytest.mark.slow
def test_the_same_ladder_without_labels_leads_to_the_errors_of_the_teacher(
    misled_site: tuple[Site, World], tmp_path: Path
) -> None:
    """The first job improves, but does not end the drift; the next continues from its student. No label
    shows that the teacher is wrong.
    """
    site, _ = misled_site
    found = climb(site, tmp_path / "run", is_labelled=False)
    assert max(*found.on_new, found.served) < 0.8
    assert {job["decision"] for job in found.jobs} == {"promoted"}
    on_condemned = [row for row in found.gates if row["dataset"] == CONDEMNED]
    assert {row["gate"] for row in on_condemned} == {"agreement"}
    assert on_condemned[0]["result"] == "improves"
    assert "does not end the drift, whose incident stays open" in found.jobs[0]["decision_reason"]
    assert on_condemned[1]["incumbent_value"] > on_condemned[0]["incumbent_value"] + 0.1
