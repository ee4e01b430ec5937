"""The loop with its archive in a bucket: the same numbers, and a worker that trains from there."""

from pathlib import Path
from typing import Any

from db.states import JobStatus
from db.tables import cycles, jobs
from monitor.stop import never_stopped
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.records.cycles import stored
from tests.support.servers.buckets import empty_bucket
from tests.support.world.installation import hours, make_site
from tests.support.world.reruns import rerun
from tests.support.world.tiny_world import World


def test_a_worker_trains_from_an_archive_in_s3(world: World, s3_url: str, tmp_path: Path) -> None:
    site = make_site(
        tmp_path / "site",
        world,
        hours(healthy=1, drifted=3),
        url="sqlite:///unused.db",
        redistill={"epochs": 1},
    )

    def run(name: str, **sections: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        with rerun(site, tmp_path / name, **sections) as (settings, engine):
            assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
            assert assembly.worker(settings, engine, show_nothing).run_once(never_stopped)
            return stored(engine, cycles), stored(engine, jobs)

    with empty_bucket(s3_url) as bucket:
        encrypted = {"server_side_encryption": "aws:kms", "kms_key": "alias/redistill"}
        there, (job,) = run("s3", monitor={"archive": f"s3://{bucket.name}/samples"}, s3=encrypted)
        keys = [each["Key"] for each in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]]
        for key in keys:
            found = bucket.client.head_object(Bucket=bucket.name, Key=key)
            assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", "alias/redistill")
    here, (same_job,) = run("folder")
    assert [row["archive"].rpartition("/")[2] for row in there] == [
        key.rpartition("/")[2] for key in keys if key.endswith(".zst")
    ]
    assert [row["archive_sha256"] for row in there] == [row["archive_sha256"] for row in here]
    assert job["status"] in {JobStatus.SUCCEEDED, JobStatus.REJECTED}
    assert job["candidate_version"] == same_job["candidate_version"]
