"""What the teacher answered in one cycle, it is not asked in the next."""

from pathlib import Path

import structlog

from db.tables import cycles
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.records.cycles import stored
from tests.support.world.installation import hours, make_site
from tests.support.world.reruns import rerun
from tests.support.world.tiny_world import World


def test_a_cycle_asks_the_teacher_about_what_it_has_not_answered(world: World, tmp_path: Path) -> None:
    """The utterances of an hour are drawn from few, so that the second has many of the first."""
    site = make_site(tmp_path / "site", world, hours(healthy=2, drifted=0), url="sqlite:///unused.db")
    found, asked = [], []
    for cache_bytes in (2**20, 0):
        scoring = {"cache_bytes": cache_bytes}
        with rerun(site, tmp_path / str(cache_bytes), scoring=scoring) as (settings, engine):
            with structlog.testing.capture_logs() as logs:
                assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
            found.append([(row["n_disagreements"], round(row["kl"], 5)) for row in stored(engine, cycles)])
        asked.append(
            [(line["n_asked"], line["n_known"]) for line in logs if line["event"] == "teacher asked"]
        )
    assert found[0] == found[1]
    ((n_asked, n_known),) = asked[0]
    assert n_asked > 0
    assert n_known > 0
    assert asked[1] == []
