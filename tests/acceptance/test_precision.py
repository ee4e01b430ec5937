from pathlib import Path

from tests.support.world.placed_jobs import run_job
from tests.support.world.tiny_world import World


def test_a_cycle_and_a_job_run_in_bfloat16(sqlite_url: str, world: World, tmp_path: Path) -> None:
    """Log and manifest name the precision, and the latency gate what it was measured on."""
    job = run_job(tmp_path / "site", world, sqlite_url, device="cpu", precision="bfloat16")
    assert job.status == "succeeded"
    assert (job.manifest["device"], job.manifest["precision"]) == ("cpu", "bfloat16")
    assert job.trained_on == "cpu, bfloat16"
    assert ", on cpu, bfloat16, " in job.timed_on
