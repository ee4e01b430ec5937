"""The same over the wire against moto's ECS, which knows tasks, networks and definitions of its own."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from db.states import JobStatus, TaskEnd, TaskState
from tests.support.processes.starters import Office
from tests.support.servers.ecs import TestCluster, moto_cluster
from triggers.worker_tasks.ecs import Ecs
from triggers.worker_tasks.settings import EcsSection
from triggers.worker_tasks.steps import Act

LOOK = timedelta(seconds=10)


@pytest.fixture
def cluster(s3_url: str) -> Iterator[TestCluster]:
    with moto_cluster(s3_url) as found:
        yield found


def section(cluster: TestCluster, definition: str, **more: object) -> EcsSection:
    return EcsSection.model_validate(
        {
            "cluster": cluster.name,
            "task_definition": definition,
            "subnets": [cluster.subnet],
            "security_groups": [cluster.security_group],
            "launch_type": "FARGATE",
            **more,
        }
    )


def test_a_task_is_started_watched_and_ended(engine: Engine, cluster: TestCluster) -> None:
    office = Office(engine=engine, section=section(cluster, cluster.define("worker"), container="worker"))
    job_id = office.order()
    assert office.tend() is Act.ASK
    (task,) = office.tasks(job_id)
    assert task.state is TaskState.STARTED
    assert f":task/{cluster.name}/" in str(task.arn)
    (listed,) = cluster.client.list_tasks(cluster=cluster.name)["taskArns"]
    assert listed == task.arn
    (found,) = cluster.client.describe_tasks(cluster=cluster.name, tasks=[listed])["tasks"]
    assert found["startedBy"] == f"redistill/mangaassist/{job_id}"
    assert found["overrides"]["containerOverrides"] == [
        {"name": "worker", "command": ["redistill", "worker", "--once"]}
    ]
    assert found["launchType"] == "FARGATE"
    assert office.tend(LOOK) is Act.LOOK
    (looked,) = office.tasks(job_id)
    assert (looked.state, looked.looked_at) == (TaskState.STARTED, office.now)
    assert looked.last_status in {"DEACTIVATING", "STOPPING", "DEPROVISIONING"}  # moto goes on at each look
    job, lease = office.take()
    office.finish(job, lease)
    assert office.tend(LOOK) is Act.NONE_WANTED
    assert office.ends(job_id) == [TaskEnd.JOB_ENDED]


def test_a_task_that_somebody_stops_is_told_on_the_job_and_replaced(
    engine: Engine, cluster: TestCluster
) -> None:
    office = Office(engine=engine, section=section(cluster, cluster.define("worker")))
    job_id = office.order()
    office.tend()
    (task,) = office.tasks(job_id)
    cluster.client.stop_task(cluster=cluster.name, task=task.arn, reason="maintenance")
    assert office.tend(LOOK) is Act.LOOK
    assert office.ends(job_id)[0] is not None
    assert "maintenance" in str(office.job(job_id).error)
    assert office.tend(3 * LOOK) is Act.ASK
    assert office.tasks(job_id)[-1].state is TaskState.STARTED


def test_a_task_that_hangs_is_stopped_there(engine: Engine, cluster: TestCluster) -> None:
    office = Office(engine=engine, section=section(cluster, cluster.define("worker")))
    job_id = office.order()
    office.tend()
    (task,) = office.tasks(job_id)
    Ecs(office.section).stop(task, "redistill: a test")
    (found,) = cluster.client.describe_tasks(cluster=cluster.name, tasks=[task.arn])["tasks"]
    assert (found["desiredStatus"], found["stoppedReason"]) == ("STOPPED", "redistill: a test")


def test_what_is_not_there_is_said(engine: Engine, cluster: TestCluster) -> None:
    """A definition, a cluster, a network."""
    good = section(cluster, cluster.define("worker"))
    office = Office(engine=engine)
    job_id = office.order()
    for wrong in (
        {"task_definition": "nobody"},
        {"cluster": "nowhere"},
        {"launch_type": None, "capacity_provider": "GONE"},
    ):
        office.section = good.model_copy(update=wrong)
        office.restart()
        office.tend(timedelta(minutes=10))
    assert [task.state for task in office.tasks(job_id)] == [TaskState.ENDED] * 3
    first, second, _ = (str(task.detail) for task in office.tasks(job_id))
    assert first == "ClientException: Unable to describe task definition."
    assert second == "ClusterNotFoundException: Cluster not found."
    job = office.job(job_id)
    assert job.status is JobStatus.QUEUED
    assert str(job.error).startswith("no worker started, try 3")
    office.section = good
    office.restart()
    office.tend(timedelta(minutes=10))
    assert office.tasks(job_id)[-1].state is TaskState.STARTED
