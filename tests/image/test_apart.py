"""Daemon and worker in two containers that share no disk: all is in S3, SQS and PostgreSQL over TLS."""

import json
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from db.connection.session import connect
from db.tables import jobs
from tests.support.deployment.containers import contained
from tests.support.processes.product import run, running
from tests.support.processes.waiting import wait_until
from tests.support.records.cycles import stored
from tests.support.servers.buckets import TestBucket, empty_bucket
from tests.support.servers.certificates import Authority
from tests.support.servers.postgres import stoppable
from tests.support.servers.queues import TestQueue, fifo_queue
from tests.support.world.installation import Site, hours, make_site
from tests.support.world.tiny_world import World


@pytest.fixture
def bucket(s3_url: str) -> Iterator[TestBucket]:
    with empty_bucket(s3_url) as found:
        yield found


@pytest.fixture
def queue(s3_url: str) -> Iterator[TestQueue]:
    with fifo_queue(s3_url) as found:
        yield found


@pytest.fixture
def authority(place: Path) -> Authority:
    return Authority(place)


@pytest.fixture
def database(authority: Authority) -> Iterator[str]:
    """An empty database that is reached by TCP, with TLS, and whose server proves its name."""
    with stoppable(tcp=True, tls=authority.server("db.test")) as server:
        server.execute("CREATE ROLE app LOGIN PASSWORD 'app'")
        server.execute("CREATE DATABASE app OWNER app")
        proof = {"hostaddr": "127.0.0.1", "sslmode": "verify-full", "sslrootcert": str(authority.path)}
        url = URL.create("postgresql", "app", "app", "db.test", server.port, "app", query=proof)
        yield url.render_as_string(hide_password=False)


def upload(bucket: TestBucket, path: Path, key: str) -> str:
    for file in [path] if path.is_file() else path.iterdir():
        bucket.put(key if file == path else f"{key}/{file.name}", file.read_bytes())
    return f"s3://{bucket.name}/{key}"


def sections(bucket: TestBucket, queue: TestQueue, world: World) -> dict[str, dict[str, Any]]:
    return {
        "monitor": {"archive": f"s3://{bucket.name}/archive"},
        "traffic": {"kind": "s3", "uri": f"s3://{bucket.name}/log"},
        "teacher": {"uri": upload(bucket, world.teacher, "models/teacher")},
        "student": {"uri": upload(bucket, world.student, "models/student")},
        "redistill": {
            "train": upload(bucket, world.train, "data/train.jsonl"),
            "test": upload(bucket, world.test, "data/test.jsonl"),
            "registry": f"s3://{bucket.name}/registry",
        },
        "queue": {"kind": "sqs", "url": queue.url},
    }


def upload_traffic(bucket: TestBucket, site: Site) -> None:
    """The request log as it is written to S3: each object under its hour."""
    for index, path in enumerate(sorted(site.traffic.iterdir())):
        hour = site.timeline.start + index * timedelta(hours=1)
        bucket.put(f"log/{hour:%Y/%m/%d/%H}/{path.name}", path.read_bytes())


def test_a_job_is_called_by_a_message_and_its_student_is_promoted(
    place: Path, world: World, authority: Authority, database: str, bucket: TestBucket, queue: TestQueue
) -> None:
    timeline = hours(healthy=1, drifted=1)
    given: dict[str, Any] = sections(bucket, queue, world)
    site = make_site(place / "site", world, timeline, url=database, **given)
    upload_traffic(bucket, site)
    start = contained(authority.path, alone=True)
    run(start, site, "db", "upgrade")
    said = run(
        start, site, "cycle", "--backfill", timeline.start.isoformat(), timeline.end.isoformat(), "--json"
    )
    assert [row["verdict"] for row in json.loads(said)] == ["healthy", "breached"]
    engine = connect(database)
    with running(start, site, "monitor") as daemon:
        wait_until(lambda: queue.counts() == (1, 0), "the daemon has called", timeout=90)
        with running(start, site, "worker") as worker:
            wait_until(lambda: stored(engine, jobs)[0]["finished_at"] is not None, "ended", timeout=300)
            wait_until(lambda: queue.counts() == (0, 0), "the message is read and deleted")
            worker.signal(signal.SIGTERM)
            assert worker.wait(60) == 0
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(30) == 0
    (job,) = stored(engine, jobs)
    engine.dispose()
    assert job["status"] == "succeeded"
    assert '"message_id"' in worker.log.read_text(encoding="utf-8")
    current = bucket.client.get_object(Bucket=bucket.name, Key="registry/current")["Body"].read()
    assert job["candidate_version"] in current.decode()
