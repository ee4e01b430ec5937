"""A job whose teacher answers before the training."""

import json
from pathlib import Path

from structlog.testing import capture_logs

from db.connection.session import connect
from db.tables import jobs
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.records.cycles import stored
from tests.support.world.installation import LONG_TRAINING, hours, make_site
from tests.support.world.tiny_world import World


def test_a_job_keeps_the_answers_of_its_teacher(sqlite_url: str, world: World, tmp_path: Path) -> None:
    """The archived requests have the teacher's answers, and the next job finds those for the train file."""
    site = make_site(
        tmp_path / "site",
        world,
        hours(healthy=0, drifted=1),
        url=sqlite_url,
        redistill={**LONG_TRAINING, "epochs": 2, "soft_labels": "offline"},
    )
    engine = connect(sqlite_url)
    with capture_logs() as logged:
        assembly.slot_runner(site.settings, engine, show_nothing).run([*site.slots], never_stopped)
        assert assembly.worker(site.settings, engine, show_nothing).run_once(never_stopped)
    (job,) = stored(engine, jobs)
    engine.dispose()
    assert job["soft_labels"] == "offline"
    assert [line["soft_labels"] for line in logged if line["event"] == "training data read"] == ["offline"]
    manifest = json.loads(
        (site.registry / "versions" / job["candidate_version"] / "manifest.json").read_bytes()
    )
    assert manifest["soft_labels"] == "offline"
    assert [each.name for each in (site.registry / "soft-labels").iterdir()] == [job["teacher_version"]]
