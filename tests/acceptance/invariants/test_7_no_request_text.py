"""Invariant 7: no request text in SQL or in logs."""

import json
import shutil
from pathlib import Path

from db.connection.session import connect
from db.states import JobStatus
from db.tables import cycles, jobs, slices
from tests.support.processes.product import fork, run
from tests.support.records.cycles import stored
from tests.support.records.leaks import leaks
from tests.support.world.installation import hours, make_site
from tests.support.world.tiny_world import KEYWORDS, World


def test_no_request_text_in_sql_or_logs(world: World, sqlite_url: str, tmp_path: Path) -> None:
    """Neither successful cycles, a failed cycle nor a job that fails on a row of its data leaks text."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"text": " ".join(KEYWORDS), "label": 5}) + "\n")
    site = make_site(
        tmp_path, world, hours(healthy=1, drifted=2), url=sqlite_url, redistill={"train": str(bad)}
    )
    run(
        fork,
        site,
        "cycle",
        "--backfill",
        site.timeline.start.isoformat(),
        site.slots[1].window_end.isoformat(),
    )
    run(fork, site, "worker", "--once")
    shutil.rmtree(site.archive.parent)
    site.archive.parent.write_text("no folder")
    failing = fork(site, "cycle", "--at", site.slots[2].window_start.isoformat())
    assert failing.wait() == 1
    engine = connect(sqlite_url)
    assert [row["status"] for row in stored(engine, jobs)] == [JobStatus.FAILED]
    assert [row["status"] for row in stored(engine, cycles)] == ["evaluated", "evaluated", "failed"]
    assert site.events("cycle failed")
    assert stored(engine, slices)
    assert leaks(site, engine) == []
    engine.dispose()
