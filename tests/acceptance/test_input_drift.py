"""What users write from some hour on is told from what they wrote before, in whatever process it is found."""

from pathlib import Path

from db.tables import input_drift
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.records.cycles import stored
from tests.support.world.installation import SAMPLE, hours, make_site
from tests.support.world.reruns import rerun
from tests.support.world.tiny_world import World


def test_new_requests_are_told_from_those_of_the_first_hour(world: World, tmp_path: Path) -> None:
    """By a process that saw them, and by one an hour, which has to read the archive again."""
    site = make_site(tmp_path / "site", world, hours(healthy=2, drifted=2), url="sqlite:///unused.db")
    found = []
    for name in ("one process", "one an hour"):
        with rerun(site, tmp_path / name) as (settings, engine):
            for slots in [site.slots] if name == "one process" else [[slot] for slot in site.slots]:
                assembly.slot_runner(settings, engine, show_nothing).run(slots, never_stopped)
            found.append(stored(engine, input_drift))
    assert found[0] == found[1]
    assert [(row["cycle_id"], row["reference_cycle_id"]) for row in found[0]] == [(2, 1), (3, 1), (4, 1)]
    assert [row["n"] for row in found[0]] == [SAMPLE // 2] * 3
    usual, *new = found[0]
    assert usual["p_value"] > 0.05
    assert usual["accuracy"] < 0.6
    for row in new:
        assert row["p_value"] < 0.01
        assert row["accuracy"] > 0.6
        assert row["psi_low"] < 0.1  # their labels are as they were


def test_nothing_is_compared_where_that_is_not_wanted(world: World, tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", world, hours(healthy=2, drifted=0), url="sqlite:///unused.db")
    with rerun(site, tmp_path / "off", metrics={"input_sample": 0}) as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
        assert stored(engine, input_drift) == []
