"""ECS is asked for one task for each job that waits, whatever becomes of the calls and of who makes them."""

import time
from dataclasses import replace

import pytest
from botocore.config import Config
from sqlalchemy import Engine
from structlog.testing import capture_logs

from db import queue, worker_tasks
from db.connection.session import writing
from db.states import JobStatus, TaskEnd, TaskState
from tests.support.processes.races import in_threads
from tests.support.processes.starters import MINUTE, SECOND, SECTION, Office
from tests.support.records.cycles import MONITOR, make_audience
from tests.support.records.factories import START, make_new_job
from tests.support.servers.ecs import CLUSTER, CONTAINER, DEFINITION, Answer, SmallEcs, failure, refusal
from triggers.worker_tasks import ecs as ecs_module
from triggers.worker_tasks.ecs import Ecs
from triggers.worker_tasks.settings import EcsSection
from triggers.worker_tasks.starter import Starter
from triggers.worker_tasks.steps import Act


def test_a_job_that_waits_gets_a_task_and_one_only(office: Office, amazon: SmallEcs) -> None:
    """Also when the daemon is another one by now: what it needs to know is in the database."""
    assert office.tend() is Act.NONE_WANTED
    job_id = office.order()
    with capture_logs() as entries:
        assert office.tend() is Act.ASK
    (request,) = amazon.called("RunTask")
    (task,) = office.tasks(job_id)
    assert request == {
        "cluster": CLUSTER,
        "taskDefinition": DEFINITION,
        "count": 1,
        "clientToken": task.token,
        "startedBy": f"redistill/{MONITOR}/{job_id}",
        "launchType": "FARGATE",
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["subnet-1", "subnet-2"],
                "securityGroups": ["sg-1"],
                "assignPublicIp": "DISABLED",
            }
        },
        "overrides": {
            "containerOverrides": [{"name": CONTAINER, "command": ["redistill", "worker", "--once"]}]
        },
    }
    assert (task.state, task.arn, task.last_status) == (
        TaskState.STARTED,
        amazon.tasks[0].arn,
        "PROVISIONING",
    )
    assert [(each["event"], each["task"]) for each in entries] == [("worker task started", task.arn)]
    assert office.tend(SECOND) is Act.AWAITED
    office.restart()
    assert office.tend(SECOND) is Act.AWAITED
    assert office.tend(10 * SECOND) is Act.LOOK
    assert len(amazon.called("RunTask")) == 1
    assert office.job(job_id).error is None


def test_a_plain_configuration_sends_nothing_more(engine: Engine, amazon: SmallEcs) -> None:
    """The definition's own command, and the cluster's own way to run it."""
    office = Office(engine=engine, section=EcsSection(cluster=CLUSTER, task_definition=DEFINITION))
    office.order()
    office.tend()
    (request,) = amazon.called("RunTask")
    assert set(request) == {"cluster", "taskDefinition", "count", "clientToken", "startedBy"}


@pytest.mark.parametrize(
    ("monitor", "name"),
    [
        ("mangaassist", "redistill/mangaassist/7"),
        ("eu.west-1_chat", "redistill/eu-west-1_chat/7"),
        ("m" * 300, f"redistill/{'m' * 116}/7"),
    ],
)
def test_what_has_started_a_task_is_a_name_that_ecs_takes(
    sqlite_engine: Engine, monitor: str, name: str
) -> None:
    """Letters, digits, hyphens, underscores and slashes, at most 128 of them."""
    with writing(sqlite_engine) as connection:
        job = queue.get(connection, queue.enqueue(connection, make_new_job(monitor), START))
    assert ecs_module.started_by(replace(job, job_id=7)) == name
    assert len(name) <= 128


def test_a_capacity_provider_is_a_strategy_of_one(engine: Engine, amazon: SmallEcs) -> None:
    section = EcsSection(cluster=CLUSTER, task_definition=DEFINITION, capacity_provider="FARGATE_SPOT")
    office = Office(engine=engine, section=section)
    office.order()
    office.tend()
    (request,) = amazon.called("RunTask")
    assert request["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT"}]
    assert "launchType" not in request


REFUSALS: dict[str, tuple[Answer, TaskEnd, str]] = {
    "no memory": (failure("RESOURCE:MEMORY"), TaskEnd.NO_CAPACITY, "RESOURCE:MEMORY"),
    "no room in Fargate": (
        failure("Capacity is unavailable at this time. Please try again later"),
        TaskEnd.NO_CAPACITY,
        "Capacity is unavailable at this time. Please try again later",
    ),
    "a quota": (
        refusal(
            "ClientException", "You've reached the limit on the number of vCPUs you can run concurrently"
        ),
        TaskEnd.NO_CAPACITY,
        "ClientException: You've reached the limit on the number of vCPUs you can run concurrently",
    ),
    "throttled": (
        refusal("ThrottlingException", "Rate exceeded"),
        TaskEnd.THROTTLED,
        "ThrottlingException: Rate exceeded",
    ),
    "forbidden": (
        refusal("AccessDeniedException", "User: x is not authorized to perform: ecs:RunTask"),
        TaskEnd.FORBIDDEN,
        "AccessDeniedException: User: x is not authorized to perform: ecs:RunTask",
    ),
    "an expired token": (
        refusal("ExpiredTokenException", "The security token included in the request is expired"),
        TaskEnd.FORBIDDEN,
        "ExpiredTokenException: The security token included in the request is expired",
    ),
    "no such definition": (
        refusal("ClientException", "TaskDefinition not found."),
        TaskEnd.REFUSED,
        "ClientException: TaskDefinition not found.",
    ),
    "no such cluster": (
        refusal("ClusterNotFoundException", "Cluster not found."),
        TaskEnd.REFUSED,
        "ClusterNotFoundException: Cluster not found.",
    ),
    "subnets are missing": (
        refusal("InvalidParameterException", "Network Configuration must be provided"),
        TaskEnd.REFUSED,
        "InvalidParameterException: Network Configuration must be provided",
    ),
    "another zone": (failure("LOCATION"), TaskEnd.REFUSED, "LOCATION"),
    "a fault of ECS": (
        refusal("ServerException", "Internal error", status=500),
        TaskEnd.UNANSWERED,
        "ServerException: Internal error",
    ),
    "a reset": (Answer(fault="reset"), TaskEnd.UNANSWERED, "ConnectionClosedError"),
}


@pytest.mark.parametrize(("answer", "reason", "detail"), REFUSALS.values(), ids=REFUSALS)
def test_what_keeps_a_task_from_starting_is_on_the_job_and_it_is_tried_again(
    sqlite_engine: Engine, amazon: SmallEcs, answer: Answer, reason: TaskEnd, detail: str
) -> None:
    office = Office(engine=sqlite_engine)
    job_id = office.order()
    amazon.answer("RunTask", answer)
    with capture_logs() as entries:
        assert office.tend() is Act.ASK
    (entry,) = entries
    assert (entry["event"], entry["log_level"], entry["reason"]) == ("worker task ended", "warning", reason)
    (task,) = office.tasks(job_id)
    assert (task.state, task.reason) == (TaskState.ENDED, reason)
    assert str(task.detail).startswith(detail)
    job = office.job(job_id)
    assert (job.status, job.attempt) == (JobStatus.QUEUED, 0)
    assert str(job.error).startswith(f"no worker started, try 1, {reason}: {detail}")
    assert office.tend(29 * SECOND) is Act.POSTPONED
    assert office.tend(SECOND) is Act.ASK
    assert office.tasks(job_id)[-1].state is TaskState.STARTED
    is_same = len({each["clientToken"] for each in amazon.called("RunTask")}) == 1
    assert is_same is (reason is TaskEnd.UNANSWERED)


def test_a_call_whose_answer_is_lost_starts_one_task(office: Office, amazon: SmallEcs) -> None:
    """ECS knows it by the token, also when the daemon is another one."""
    job_id = office.order()
    amazon.answer("RunTask", Answer(fault="lost"), Answer(fault="lost"))
    office.tend()
    office.restart()
    assert office.tend(30 * SECOND) is Act.ASK
    assert office.tend(60 * SECOND) is Act.ASK
    assert office.ends(job_id) == [TaskEnd.UNANSWERED, TaskEnd.UNANSWERED, None]
    (started,) = amazon.tasks
    assert office.tasks(job_id)[-1].arn == started.arn
    assert len(amazon.called("RunTask")) == 3


def test_a_task_that_was_started_under_another_configuration_is_found_again(
    office: Office, amazon: SmallEcs
) -> None:
    """A deploy between the lost answer and the next call: ECS names the task in a conflict."""
    job_id = office.order()
    amazon.answer("RunTask", Answer(fault="lost"))
    office.tend()
    office.section = SECTION.model_copy(update={"task_definition": f"{DEFINITION}:2"})
    office.restart()
    office.tend(30 * SECOND)
    (started,) = amazon.tasks
    task = office.tasks(job_id)[-1]
    assert (task.state, task.arn, task.cluster) == (TaskState.STARTED, started.arn, CLUSTER)
    assert office.tend(10 * SECOND) is Act.LOOK


def test_a_daemon_that_dies_while_it_asks_leaves_a_task_that_the_next_one_finds(
    office: Office, amazon: SmallEcs
) -> None:
    job_id = office.order()
    with writing(office.engine) as connection:
        worker_tasks.ask(connection, job_id, token="a-token", turn=0, now=office.now)  # noqa: S106 - no secret
    Ecs(SECTION).start(office.job(job_id), "a-token")
    assert office.tend(59 * SECOND) is Act.AWAITED
    assert office.tend(SECOND) is Act.WRITE_OFF
    assert "no worker started, try 1, unanswered" in str(office.job(job_id).error)
    assert office.tend(30 * SECOND) is Act.ASK
    (started,) = amazon.tasks
    assert office.tasks(job_id)[-1].arn == started.arn


def test_an_answer_that_comes_too_late_changes_nothing(office: Office, amazon: SmallEcs) -> None:
    """Its daemon was away for a minute, and another one has asked again meanwhile, under the same token."""
    job_id = office.order()
    office.tend()
    (task,) = office.tasks(job_id)
    with writing(office.engine) as connection:
        worker_tasks.end(connection, task.task_id, TaskEnd.UNANSWERED, "away", office.now)
        late = worker_tasks.accept(
            connection, task.task_id, arn="late", cluster=None, status="PENDING", now=office.now
        )
        assert not worker_tasks.end(connection, task.task_id, TaskEnd.MISSING, "again", office.now)
    assert not late
    assert office.ends(job_id) == [TaskEnd.UNANSWERED]
    assert amazon.tasks


def test_of_daemons_that_look_at_once_one_asks(office: Office, amazon: SmallEcs) -> None:
    job_id = office.order()
    starters = [Starter(engine=office.engine, audience=make_audience(), ecs=Ecs(SECTION)) for _ in range(6)]
    in_threads(6, lambda number: starters[number].tend(office.now))
    assert len(amazon.called("RunTask")) == 1
    assert len(office.tasks(job_id)) == 1


def test_a_hanging_ecs_holds_the_daemon_up_for_seconds(
    office: Office, amazon: SmallEcs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ecs_module._CONFIG.read_timeout + ecs_module._CONFIG.connect_timeout <= 11
    quick = Config(retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=1, read_timeout=1)
    monkeypatch.setattr(ecs_module, "_CONFIG", quick)
    office.order()
    amazon.answer("RunTask", Answer(fault="hang"))
    amazon.answer("DescribeTasks", Answer(fault="hang"))
    began = time.monotonic()
    assert office.tend() is Act.ASK
    assert office.tend(30 * SECOND) is Act.ASK
    assert office.tend(10 * SECOND) is Act.LOOK
    assert time.monotonic() - began < 10
    assert len(amazon.called("RunTask")) == 2


def test_an_ecs_that_is_not_there_and_credentials_that_are_not_either(
    sqlite_engine: Engine, amazon: SmallEcs, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(engine=sqlite_engine)
    job_id = office.order()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    office.restart()
    office.tend()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    office.restart()
    office.tend(MINUTE)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    office.restart()
    office.tend(5 * MINUTE)
    assert office.ends(job_id) == [TaskEnd.UNANSWERED, TaskEnd.FORBIDDEN, TaskEnd.REFUSED]
    assert [str(task.detail).partition(":")[0] for task in office.tasks(job_id)] == [
        "EndpointConnectionError",
        "NoCredentialsError",
        "NoRegionError",
    ]
    assert not amazon.calls
