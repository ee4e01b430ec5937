"""What the commands say of a job whose worker is started in ECS, and what `doctor` says of [ecs]."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from db import queue
from db.connection.session import connect, writing
from tests.support.records.cycles import MONITOR, make_audience
from tests.support.records.factories import make_new_job
from tests.support.servers.ecs import (
    CLUSTER,
    CONTAINER,
    DEFINITION,
    SmallEcs,
    TestCluster,
    failure,
    moto_cluster,
    small_ecs,
)
from tests.support.world.installation import now
from tests.support.world.project import findings, run
from triggers.worker_tasks.ecs import Ecs
from triggers.worker_tasks.settings import EcsSection
from triggers.worker_tasks.starter import Starter

SECTION = EcsSection(cluster=CLUSTER, task_definition=DEFINITION)


@dataclass(frozen=True, kw_only=True)
class Daemon:
    """Starts a worker for the project's job 1, as far as ECS lets it."""

    amazon: SmallEcs
    starter: Starter

    def tend(self, after: timedelta = timedelta(0)) -> None:
        self.starter.tend(now() + after)


@pytest.fixture
def daemon(migrated: Path) -> Iterator[Daemon]:
    engine = connect(f"sqlite:///{migrated / 'redistill.db'}")
    with writing(engine) as connection:
        assert queue.enqueue(connection, make_new_job(MONITOR), now()) == 1
    with small_ecs() as amazon:
        starter = Starter(engine=engine, audience=make_audience(), ecs=Ecs(SECTION))
        yield Daemon(amazon=amazon, starter=starter)
    engine.dispose()


def shown(what: str) -> str:
    (line,) = [each for each in run("jobs", "show", "1").stdout.splitlines() if each.startswith(what)]
    return line.removeprefix(what).strip()


def test_a_job_that_nobody_started_a_worker_for_is_told_as_ever(daemon: Daemon) -> None:
    assert not daemon.amazon.calls
    assert shown("status") == "queued"
    assert "task" not in run("jobs", "show", "1").stdout
    job = json.loads(run("jobs", "show", "1", "--json").stdout)
    assert (job["worker"], job["tasks"]) == (None, [])


def test_a_worker_on_its_way_is_told(daemon: Daemon) -> None:
    daemon.tend()
    daemon.amazon.tasks[0].status = "PENDING"
    daemon.tend(timedelta(seconds=10))
    arn = daemon.amazon.tasks[0].arn
    assert shown("status") == "queued, its worker is starting"
    assert shown("task").startswith("PENDING, requested ")
    assert shown("task").endswith(arn)
    assert "queued, its worker is starting" in run("jobs", "list").stdout
    assert "job 1: queued (its worker is starting), for " in run("status").stdout
    job = json.loads(run("jobs", "show", "1", "--json").stdout)
    (task,) = job["tasks"]
    assert (job["worker"], task["state"], task["arn"], task["last_status"]) == (
        "starting",
        "started",
        arn,
        "PENDING",
    )
    assert {"token", "turn"}.isdisjoint(task)


def test_what_keeps_a_worker_from_starting_is_told_everywhere(daemon: Daemon) -> None:
    daemon.amazon.answer("RunTask", failure("RESOURCE:GPU"))
    daemon.tend()
    said = "no worker started, try 1, no_capacity: RESOURCE:GPU"
    assert shown("status") == "queued, no worker could be started"
    assert shown("last error") == said
    assert shown("task").startswith("no_capacity at 20")
    assert shown("task").endswith(": RESOURCE:GPU")
    assert "queued, no worker could be started" in run("jobs", "list").stdout
    told = run("status", width=400).stdout
    assert "job 1: queued (no worker could be started), for " in told
    assert f"; last error: {said}" in told
    (listed,) = json.loads(run("jobs", "list", "--json").stdout)
    assert listed["worker"] == "not_started"
    state = json.loads(run("status", "--json").stdout)
    assert (state["worker"], state["open_job"]["error"]) == ("not_started", said)


def test_doctor_knows_a_job_whose_worker_starts_from_one_that_waits(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert findings()["queue"]["fix"] == "start `redistill worker` if none runs"
    daemon.amazon.answer("RunTask", failure("RESOURCE:GPU"))
    daemon.tend()
    queue_of = findings()["queue"]
    assert not queue_of["ok"]
    assert queue_of["found"] == "job 1: no worker started, try 1, no_capacity: RESOURCE:GPU"
    daemon.tend(timedelta(minutes=1))
    assert findings()["queue"]["found"] == "job 1 is queued, and its worker is starting"
    assert findings()["queue"]["ok"]
    assert monkeypatch


@pytest.fixture
def cluster(migrated: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestCluster]:
    """A cluster in which nothing is wrong, and the project's [ecs] that names it."""
    assert migrated
    with moto_cluster(s3_url) as found:
        found.define(found.name)
        monkeypatch.setenv("REDISTILL__ECS__CLUSTER", found.name)
        monkeypatch.setenv("REDISTILL__ECS__TASK_DEFINITION", found.name)
        monkeypatch.setenv("REDISTILL__ECS__SUBNETS", json.dumps([found.subnet]))
        monkeypatch.setenv("REDISTILL__ECS__LAUNCH_TYPE", "FARGATE")
        yield found


def of_ecs() -> dict[str, tuple[bool, str]]:
    return {
        name: (each["ok"], f"{each['found']}; {each['fix']}" if each["fix"] else each["found"])
        for name, each in findings().items()
        if name.startswith("ecs")
    }


@pytest.mark.usefixtures("migrated")
def test_without_the_section_nothing_is_looked_at() -> None:
    assert of_ecs() == {}


def test_a_sound_cluster_and_definition_are_told(cluster: TestCluster) -> None:
    assert of_ecs() == {
        "ecs cluster": (True, f"{cluster.name} is ACTIVE"),
        "ecs task": (True, f"{cluster.name}:1: redistill worker --once"),
    }


Breaking = Callable[[TestCluster, pytest.MonkeyPatch], None]


def _named(name: str, value: str) -> Breaking:
    return lambda _cluster, patch: patch.setenv(f"REDISTILL__ECS__{name}", value)


def _defined(**changes: Any) -> Breaking:  # noqa: ANN401 - of RegisterTaskDefinition
    def broken(cluster: TestCluster, _patch: pytest.MonkeyPatch) -> None:
        cluster.define(cluster.name, **changes)

    return broken


def _gone(cluster: TestCluster, _patch: pytest.MonkeyPatch) -> None:
    cluster.client.delete_cluster(cluster=cluster.name)


def _deregistered(cluster: TestCluster, patch: pytest.MonkeyPatch) -> None:
    cluster.client.deregister_task_definition(taskDefinition=f"{cluster.name}:1")
    patch.setenv("REDISTILL__ECS__TASK_DEFINITION", f"{cluster.name}:1")


def _no_network(_cluster: TestCluster, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("REDISTILL__ECS__SUBNETS")


def _bridged(cluster: TestCluster, patch: pytest.MonkeyPatch) -> None:
    cluster.define(cluster.name, networkMode="bridge", requiresCompatibilities=["EC2"])
    patch.setenv("REDISTILL__ECS__LAUNCH_TYPE", "EC2")


WRONG: dict[str, tuple[Breaking, str, str]] = {
    "no such cluster": (
        _named("CLUSTER", "nowhere"),
        "ecs cluster",
        "nowhere is MISSING; set [ecs] cluster to an ACTIVE one",
    ),
    "a cluster that was deleted": (_gone, "ecs cluster", " is "),
    "no such definition": (_named("TASK_DEFINITION", "nobody"), "ecs", "ClientException: Unable to describe"),
    "one that was deregistered": (_deregistered, "ecs task", ":1: it is INACTIVE; register it again"),
    "no such container": (
        _named("CONTAINER", "gpu"),
        "ecs task",
        "it has no container 'gpu'; set [ecs] container to one of worker",
    ),
    "no subnets": (_no_network, "ecs task", "its network mode is awsvpc, and [ecs] lacks subnets"),
    "subnets for nothing": (_bridged, "ecs task", "its network mode is bridge, and [ecs] has subnets"),
    "another launch type": (_named("LAUNCH_TYPE", "EXTERNAL"), "ecs task", "not on EXTERNAL; correct"),
    "a worker that never ends": (
        _defined(container={"command": ["redistill", "worker"]}),
        "ecs task",
        "its command is 'redistill worker', which never exits; let it run `redistill worker --once`",
    ),
    "a worker that is killed too soon": (
        _defined(container={"stopTimeout": 5}),
        "ecs task",
        "worker is killed 5 s after a stop request; set stopTimeout to at least 20",
    ),
}


@pytest.mark.parametrize(("break_it", "check", "says"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_the_section_is_found(
    cluster: TestCluster, monkeypatch: pytest.MonkeyPatch, break_it: Breaking, check: str, says: str
) -> None:
    break_it(cluster, monkeypatch)
    problems = {name: said for name, (ok, said) in of_ecs().items() if not ok}
    assert list(problems) == [check]
    assert says in problems[check]


def test_a_container_that_gets_the_command_needs_none_of_its_own(
    cluster: TestCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.define(cluster.name, container={"command": ["redistill", "worker"]})
    monkeypatch.setenv("REDISTILL__ECS__CONTAINER", CONTAINER)
    assert of_ecs()["ecs task"] == (True, f"{cluster.name}:2: redistill worker --once")


def test_an_ecs_that_is_not_reached_keeps_nothing_from_being_checked(
    cluster: TestCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    found = findings()
    assert "EndpointConnectionError" in found["ecs"]["found"]
    assert found["teacher"]["ok"]
