"""Invariant 6: a candidate is judged by the functions that condemned the incumbent."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine

from db.states import JobDecision, JobStatus, Role
from db.tables import cycles, evaluations, gate_outcomes, jobs, promotions
from distill.evaluation import gates
from distill.evaluation.churn import CHURN, NEGATIVE_FLIPS
from distill.evaluation.comparison import AGREEMENT_GAIN, GAIN, RARE_GAIN
from distill.training.dataset import split_archive
from monitor.archive import files
from monitor.archive.sample import ScoredSample
from monitor.measure import measure
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.records.cycles import stored
from tests.support.world.repaired import Repaired
from tests.support.world.reruns import rerun


def test_a_candidate_is_judged_as_the_incumbent_was(repaired: Repaired) -> None:
    """On the held-out part of the condemning sample the worker's figures for the incumbent equal those from
    the daemon's logits, and both students are measured there and on the test set.
    """
    (job,) = stored(repaired.engine, jobs)
    sample = condemned_by(repaired.engine, job)
    held_out = set(split_archive([request.text for request in sample.requests]).held_out)
    kept = np.array([request.text in held_out for request in sample.requests])
    daemons = measure(
        sample.teacher_logits[kept],
        sample.student_logits[kept],
        sample.labels,
        temperature=sample.temperature,
        strata=sample.strata.at(kept),
    )
    incumbent = evaluated(repaired.engine, job["student_version"], gates.CONDEMNED)
    assert incumbent["agreement"] == (daemons.agreement.estimate, daemons.n)
    for name in ("kl", "kl_t1", "js"):
        value = daemons.kl.estimate if name == "kl" else getattr(daemons, name)
        assert incumbent[name] == (pytest.approx(value, rel=1e-4), daemons.n)
    candidate = evaluated(repaired.engine, job["candidate_version"], gates.CONDEMNED)
    assert candidate["agreement"][0] >= 0.95 > incumbent["agreement"][0]
    # confidence bins and labels are stored only if they have rows
    on_test = [
        {name for name in evaluated(repaired.engine, job[role], gates.TEST) if ":" not in name}
        for role in ("student_version", "candidate_version")
    ]
    compared = {*gates.LATENCY_RATIOS, GAIN, RARE_GAIN, CHURN, NEGATIVE_FLIPS}
    assert on_test[0] | compared == on_test[1]
    assert on_test[1] > set(candidate) - {AGREEMENT_GAIN}
    gain = candidate["agreement"][0] - incumbent["agreement"][0]
    assert candidate[AGREEMENT_GAIN] == (pytest.approx(gain), daemons.n)


def condemned_by(engine: Engine, job: dict[str, Any]) -> ScoredSample:
    (cycle,) = [row for row in stored(engine, cycles) if row["id"] == job["cycle_id"]]
    return files.read(cycle["archive"], sha256=cycle["archive_sha256"])


def evaluated(engine: Engine, version: str, dataset: str) -> dict[str, tuple[float, int]]:
    return {
        row["metric"]: (row["value"], row["n"])
        for row in stored(engine, evaluations)
        if (row["version"], row["dataset"]) == (version, dataset)
    }


def test_the_test_set_alone_promotes_nobody(repaired: Repaired, tmp_path: Path) -> None:
    """A candidate that learned nothing passes on the test set and fails on the drifted sample."""
    lazy = {"learning_rate": 1e-12, "epochs": 1}
    with rerun(repaired.site, tmp_path / "lazy", redistill=lazy) as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(repaired.site.slots[:3], never_stopped)
        assert assembly.worker(settings, engine, show_nothing).run_once(never_stopped)
        (job,) = stored(engine, jobs)
        assert (job["status"], job["decision"]) == (JobStatus.REJECTED, JobDecision.REJECTED)
        failed = [
            (row["gate"], row["dataset"]) for row in stored(engine, gate_outcomes) if row["result"] == "fail"
        ]
        assert failed == [("agreement", gates.CONDEMNED)]
        current = [row["version"] for row in stored(engine, promotions) if row["role"] == Role.STUDENT]
        assert current == [job["student_version"]]
        assert (Path(settings.redistill.registry) / "current").resolve() == settings.student.uri
