"""A job from its order to its candidate, on any device and in any precision."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from db.connection.session import connect
from db.tables import jobs
from monitor.setting_values import Device, Precision
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.records.cycles import stored
from tests.support.world.installation import LONG_TRAINING, hours, make_site
from tests.support.world.tiny_world import World


@dataclass(frozen=True, kw_only=True)
class PlacedJob:
    """What is known of the job afterwards."""

    status: str
    manifest: dict[str, Any]
    trained_on: str  #: by the log

    @property
    def timed_on(self) -> str:
        """The detail of the latency gate."""
        (detail,) = [gate["detail"] for gate in self.manifest["gates"] if gate["gate"] == "latency_p95_ms"]
        return str(detail)


def run_job(home: Path, world: World, url: str, *, device: Device, precision: Precision) -> PlacedJob:
    """Measure a drifted window and run its job, in this process, both in that place."""
    placed = {"device": device, "precision": precision}
    sections: dict[str, Any] = {
        "redistill": {**LONG_TRAINING, **placed, "epochs": 3},
        "scoring": {**placed, "threads": 1},
    }
    site = make_site(home, world, hours(healthy=0, drifted=1), url=url, **sections)
    settings, engine = site.settings, connect(url)
    with capture_logs() as logged:
        assembly.slot_runner(settings, engine, show_nothing).run([*site.slots], never_stopped)
        assert assembly.worker(settings, engine, show_nothing).run_once(never_stopped)
    (job,) = stored(engine, jobs)
    engine.dispose()
    directory = site.registry / "versions" / str(job["candidate_version"])
    (started,) = [line for line in logged if line["event"] == "training started"]
    return PlacedJob(
        status=job["status"],
        manifest=json.loads((directory / "manifest.json").read_bytes()),
        trained_on=started["on"],
    )
