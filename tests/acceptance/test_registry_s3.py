"""Everything in S3: teacher, student, labelled files and registry; workers that share no disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine

from db.connection.session import connect
from db.tables import jobs, registries
from monitor.scoring.models import fingerprint
from monitor.stop import never_stopped
from monitor.storage.artifacts import Artifacts
from redistill import assembly
from redistill.display.progress import show_nothing
from tests.support.processes.killed import killed
from tests.support.processes.product import amazon_of_this_test, fork, run, running
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import stored
from tests.support.servers.buckets import TestBucket, empty_bucket
from tests.support.world.installation import Site, hours, make_site
from tests.support.world.reruns import rerun
from tests.support.world.tiny_world import World


@pytest.fixture
def bucket(s3_url: str) -> Iterator[TestBucket]:
    with empty_bucket(s3_url) as found:
        yield found


def upload(bucket: TestBucket, path: Path, key: str) -> str:
    for file in [path] if path.is_file() else path.iterdir():
        bucket.put(key if file == path else f"{key}/{file.name}", file.read_bytes())
    return f"s3://{bucket.name}/{key}"


def sections(bucket: TestBucket, world: World, **redistill: int | str) -> dict[str, dict[str, Any]]:
    return {
        "monitor": {"archive": f"s3://{bucket.name}/archive"},
        "teacher": {"uri": upload(bucket, world.teacher, "models/teacher")},
        "student": {"uri": upload(bucket, world.student, "models/student")},
        "redistill": {
            "train": upload(bucket, world.train, "data/train.jsonl"),
            "test": upload(bucket, world.test, "data/test.jsonl"),
            "registry": f"s3://{bucket.name}/registry",
            **redistill,
        },
    }


def machine(site: Site, name: str) -> dict[str, Any]:
    """The processes of one machine, which has a cache of its own."""
    return {"prepare": amazon_of_this_test(REDISTILL__S3__CACHE=str(site.folder / name))}


@contextmanager
def ordered(
    folder: Path, world: World, url: str, bucket: TestBucket, **redistill: int | str
) -> Iterator[tuple[Site, Engine]]:
    """An installation in which a job waits."""
    timeline = hours(healthy=0, drifted=2)
    given: dict[str, Any] = sections(bucket, world, **redistill)
    site = make_site(folder, world, timeline, url=url, **given)
    run(fork, site, "cycle", "--at", timeline.start.isoformat(), **machine(site, "a"))
    engine = connect(url)
    try:
        yield site, engine
    finally:
        engine.dispose()


def objects(bucket: TestBucket, prefix: str) -> list[str]:
    found = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=prefix).get("Contents", ())
    return [each["Key"] for each in found]


def served(bucket: TestBucket, folder: Path) -> str:
    """The version that serving code finds: it follows the pointer, as docs/artifacts.md has it."""
    return fingerprint(Artifacts(cache=folder / "serving").directory(f"s3://{bucket.name}/registry/current"))


def test_a_training_goes_on_at_another_machine_and_ends_in_the_same_student(
    sqlite_url: str, world: World, bucket: TestBucket, tmp_path: Path
) -> None:
    with ordered(tmp_path / "site", world, sqlite_url, bucket, checkpoint_every="0s") as found:
        site, engine = found
        with running(fork, site, "worker", **machine(site, "a")) as worker:
            wait_until(lambda: site.events("checkpoint written"), "at work", every=0.01)
            killed(engine, worker)
        assert objects(bucket, "registry/.checkpoint-1-")
        run(fork, site, "worker", "--once", **machine(site, "b"))
        (resumed,) = site.events("training resumed")
        assert resumed["step"] > 0
        (job,) = stored(engine, jobs)
        assert (job["status"], job["decision"], job["attempt"]) == ("succeeded", "promoted", 2)
        assert objects(bucket, "registry/.checkpoint-1-") == []
        assert served(bucket, tmp_path) == job["candidate_version"]
        assert_the_registry_is_the_monitors(engine, bucket)
        assert_rolled_back_and_promoted(site, world, bucket, tmp_path, str(job["candidate_version"]))
        assert str(job["candidate_version"]) == version_made_on_a_disk(tmp_path / "disk", site, world)


def assert_the_registry_is_the_monitors(engine: Engine, bucket: TestBucket) -> None:
    found = bucket.client.get_object(Bucket=bucket.name, Key="registry/registry.json")["Body"].read()
    (row,) = stored(engine, registries)
    assert (row["registry_id"], row["link"]) == (orjson.loads(found)["id"], "current")


def assert_rolled_back_and_promoted(
    site: Site, world: World, bucket: TestBucket, folder: Path, candidate: str
) -> None:
    said = run(fork, site, "models", "rollback", **machine(site, "c"))
    assert f"s3://{bucket.name}/registry/current points to it, in s3://{bucket.name}/models/student" in said
    assert served(bucket, folder) == fingerprint(world.student)
    run(fork, site, "models", "promote", candidate[:12], **machine(site, "c"))
    assert served(bucket, folder) == candidate
    run(fork, site, "cycle", "--at", site.slots[1].window_start.isoformat(), **machine(site, "c"))
    assert site.events("cycle ended")[-1]["verdict"] == "healthy"


def version_made_on_a_disk(folder: Path, site: Site, world: World) -> str:
    """The student that the same job makes where everything is on one disk and nobody is killed."""
    local: dict[str, dict[str, Any]] = {
        "teacher": {"uri": world.teacher},
        "student": {"uri": world.student},
        "redistill": {"train": world.train, "test": world.test},
    }
    with rerun(site, folder, **local) as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots[:1], never_stopped)
        assert assembly.worker(settings, engine, show_nothing).run_once(never_stopped)
        (job,) = stored(engine, jobs)
    return str(job["candidate_version"])


def test_the_configuration_is_read_from_s3(
    sqlite_url: str, world: World, bucket: TestBucket, tmp_path: Path
) -> None:
    site = make_site(tmp_path, world, hours(healthy=1, drifted=0), url=sqlite_url)
    uri = upload(bucket, site.config, "redistill.toml")
    site.config.unlink()
    run(fork, site, "cycle", "--config", uri, **machine(site, "a"))
    assert [line["verdict"] for line in site.events("cycle ended")] == ["healthy"]
    bucket.client.delete_object(Bucket=bucket.name, Key="redistill.toml")
    process = fork(site, "db", "check", "--config", uri, **machine(site, "a"))
    assert process.wait() == 2
    assert "redistill.toml does not exist: upload it" in process.log.read_text()


def test_a_worker_with_another_registry_leaves_the_job(
    sqlite_url: str, world: World, bucket: TestBucket, tmp_path: Path
) -> None:
    """Its disk would be gone with its container, and the promoted student with it."""
    with ordered(tmp_path / "site", world, sqlite_url, bucket, epochs=1) as (site, engine):
        run(fork, site, "worker", "--once", **machine(site, "a"))
        run(fork, site, "jobs", "enqueue", "--reason", "again", **machine(site, "a"))
        site.config.write_text(
            site.config.read_text().replace(f"s3://{bucket.name}/registry", str(tmp_path / "elsewhere"))
        )
        run(fork, site, "worker", "--once", **machine(site, "a"))
        (line,) = site.events("registry not usable")
        assert f"The registry {tmp_path / 'elsewhere'} has the id" in line["error"]
        assert "copy that registry to" in line["error"]
        _, job = stored(engine, jobs)
        assert (job["status"], job["error"]) == ("queued", line["error"])
