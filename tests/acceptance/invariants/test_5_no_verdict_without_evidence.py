"""Invariant 5: no verdict without evidence."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from db.connection.session import writing
from db.cycles import ledger
from db.states import CycleStatus, IncidentKind, Verdict, VerdictReason
from db.tables import cycles, incidents, jobs, rule_outcomes
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.records.cycles import Cycles, due_at, stored, taken
from tests.support.records.factories import make_measurement, make_result, make_slot
from tests.support.world.installation import REQUESTS, hours, make_site
from tests.support.world.reruns import rerun
from tests.support.world.tiny_world import World


@pytest.mark.parametrize(
    ("sections", "status", "reason"),
    [
        (
            {"monitor": {"min_samples": REQUESTS + 1, "max_window": timedelta(0)}},
            CycleStatus.INCONCLUSIVE,
            VerdictReason.TOO_FEW_SAMPLES,
        ),
        ({"monitor": {"min_samples": REQUESTS + 1}}, CycleStatus.INCONCLUSIVE, VerdictReason.QUIET),
        ({"monitor": {"max_reject_share": 0.001}}, CycleStatus.INCONCLUSIVE, VerdictReason.TOO_MANY_REJECTS),
        ({"traffic": {"uri": Path("quiet")}}, CycleStatus.INCONCLUSIVE, VerdictReason.QUIET),
        ({"teacher": {"uri": Path("gone")}}, CycleStatus.FAILED, VerdictReason.ERROR),
        ({}, CycleStatus.EVALUATED, VerdictReason.RULE_FIRED),
    ],
    ids=["few samples", "few samples so far", "many rejects", "no traffic", "no teacher", "enough of all"],
)
def test_no_verdict_without_evidence(
    world: World,
    sqlite_url: str,
    tmp_path: Path,
    sections: dict[str, dict[str, Any]],
    status: CycleStatus,
    reason: VerdictReason,
) -> None:
    """A drifted window without enough evidence is neither healthy nor breached, and orders no job."""
    site = make_site(tmp_path / "site", world, hours(healthy=0, drifted=1), url=sqlite_url)
    anchored = {
        name: {key: at(tmp_path, item) for key, item in table.items()} for name, table in sections.items()
    }
    (tmp_path / "quiet").mkdir()
    with rerun(site, tmp_path / "run", **anchored) as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
        (cycle,) = stored(engine, cycles)
        assert (cycle["status"], cycle["verdict_reason"]) == (status, reason)
        is_evidence = status is CycleStatus.EVALUATED
        assert (cycle["verdict"] in {Verdict.HEALTHY, Verdict.BREACHED}) == is_evidence
        assert [row["fired"] for row in stored(engine, rule_outcomes) if row["fired"]] == [True] * is_evidence
        drifts = [row for row in stored(engine, incidents) if row["kind"] == IncidentKind.DRIFT]
        assert len(stored(engine, jobs)) == len(drifts) == is_evidence


def at(folder: Path, value: object) -> object:
    return folder / value if isinstance(value, Path) else value


def test_what_has_no_evidence_neither_counts_nor_resets(engine: Engine) -> None:
    cycle = Cycles(engine=engine, lease=taken(engine))
    few = make_result(measurement=make_measurement(n=999, disagreements=999, kl=9.0))
    breached = make_result(measurement=make_measurement(disagreements=1_000))
    cycle.conclude(0, breached)
    cycle.conclude(1, few)
    with writing(engine) as connection:
        ledger.skip(connection, [make_slot(2)], due_at(2))
    cycle.conclude(3, breached)
    streaks = [row["streak"] for row in stored(engine, rule_outcomes) if row["rule"] == "low-agreement"]
    assert streaks == [1, 1, 2]
    assert stored(engine, jobs) == []
