"""Workers that the daemon starts in ECS, one for each job, whatever becomes of the calls and of the tasks."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.config import Config
from sqlalchemy import Engine
from structlog.testing import capture_logs

from db import leases, queue, worker_tasks
from db.records import Job, Lease, WorkerTask
from db.session import reading, writing
from db.states import JobStatus, TaskEnd, TaskState
from db.tables import deliveries, incidents
from tests.cycles import MONITOR, make_audience, stored
from tests.ecs import CLUSTER, CONTAINER, DEFINITION, Answer, SmallEcs, failure, refusal, small_ecs
from tests.factories import START
from tests.integration.test_queue import make_job
from tests.races import in_threads
from triggers.worker_tasks import ecs as ecs_module
from triggers.worker_tasks.ecs import Ecs
from triggers.worker_tasks.settings import EcsSection
from triggers.worker_tasks.starter import Starter
from triggers.worker_tasks.steps import Act

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
SECTION = EcsSection(
    cluster=CLUSTER,
    task_definition=DEFINITION,
    container=CONTAINER,
    subnets=("subnet-1", "subnet-2"),
    security_groups=("sg-1",),
    launch_type="FARGATE",
)
KILLED = "OutOfMemoryError: Container killed due to memory usage"


@dataclass(kw_only=True)
class Office:
    """A monitor's jobs and the daemon that starts workers for them; time passes as a test says."""

    engine: Engine
    section: EcsSection = SECTION
    now: datetime = START
    starter: Starter = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Another daemon takes over."""
        self.starter = Starter(engine=self.engine, audience=make_audience(), ecs=Ecs(self.section))

    def tend(self, after: timedelta = timedelta(0)) -> Act:
        self.now += after
        return self.starter.tend(self.now)

    def order(self) -> int:
        with writing(self.engine) as connection:
            return queue.enqueue(connection, make_job(MONITOR), self.now)

    def job(self, job_id: int) -> Job:
        with reading(self.engine) as connection:
            return queue.get(connection, job_id)

    def tasks(self, job_id: int) -> tuple[WorkerTask, ...]:
        with reading(self.engine) as connection:
            return worker_tasks.of_job(connection, job_id)

    def ends(self, job_id: int) -> list[TaskEnd | None]:
        return [task.reason for task in self.tasks(job_id)]

    def take(self, *, seconds: float = 600) -> tuple[Job, Lease]:
        """A worker takes the job."""
        with writing(self.engine) as connection:
            found = queue.claim(connection, MONITOR, owner="worker", lease_seconds=seconds, now=self.now)
        assert found is not None
        return found

    def give_back(self, job: Job, lease: Lease, error: str | None = None) -> None:
        with writing(self.engine) as connection:
            queue.requeue(connection, job, error=error)
            leases.release(connection, lease)

    def finish(self, job: Job, lease: Lease) -> None:
        with writing(self.engine) as connection:
            queue.finish(connection, job, JobStatus.REJECTED, now=self.now)
            leases.release(connection, lease)


@pytest.fixture
def amazon() -> Iterator[SmallEcs]:
    with small_ecs() as server:
        yield server


@pytest.fixture
def office(engine: Engine, amazon: SmallEcs) -> Office:
    assert amazon
    return Office(engine=engine)


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
        job = queue.get(connection, queue.enqueue(connection, make_job(monitor), START))
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


def test_the_worker_of_the_task_takes_the_job_and_ends_it(office: Office, amazon: SmallEcs) -> None:
    job_id = office.order()
    office.tend()
    amazon.tasks[0].status = "RUNNING"
    assert office.tend(20 * SECOND) is Act.LOOK
    job, lease = office.take()
    assert office.tend(20 * SECOND) is Act.AWAITED
    assert office.tend(60 * SECOND) is Act.LOOK
    office.finish(job, lease)
    amazon.tasks[0].stop(exit_code=0)
    assert office.tend(SECOND) is Act.NONE_WANTED
    assert office.ends(job_id) == [TaskEnd.JOB_ENDED]
    assert [name for name, _ in amazon.calls] == ["RunTask", "DescribeTasks", "DescribeTasks"]


def test_a_worker_that_is_already_there_takes_the_job_and_nothing_more_is_started(
    office: Office, amazon: SmallEcs
) -> None:
    """The task finds none and ends; that is no failure of the job."""
    job_id = office.order()
    office.tend()
    job, lease = office.take()
    amazon.tasks[0].stop(exit_code=0)
    with capture_logs() as entries:
        assert office.tend(60 * SECOND) is Act.LOOK
    assert [(each["event"], each["log_level"], each["reason"]) for each in entries] == [
        ("worker task ended", "info", "idle")
    ]
    for _ in range(5):
        assert office.tend(10 * MINUTE) is Act.NONE_WANTED
    assert office.job(job_id).error is None
    office.finish(job, lease)
    assert len(amazon.called("RunTask")) == 1


def test_a_job_that_is_taken_at_once_gets_no_task(office: Office, amazon: SmallEcs) -> None:
    office.order()
    office.take()
    assert office.tend() is Act.NONE_WANTED
    assert not amazon.calls


def test_a_job_that_is_cancelled_gets_no_task_and_one_on_its_way_is_left_to_end_by_itself(
    office: Office, amazon: SmallEcs
) -> None:
    first = office.order()
    office.tend()
    second_ago = office.now
    for job_id in (first, office_cancel_and_order(office, first)):
        assert office.job(job_id).enqueued_at <= second_ago + SECOND
    assert office.tend(SECOND) is Act.ASK
    assert office.ends(first) == [TaskEnd.JOB_ENDED]
    assert not amazon.called("StopTask")
    assert len(amazon.called("RunTask")) == 2


def office_cancel_and_order(office: Office, job_id: int) -> int:
    with writing(office.engine) as connection:
        queue.cancel(connection, job_id, office.now)
    return office.order()


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


def tended_until(office: Office, act: Act, *, every: timedelta = 5 * SECOND) -> timedelta:
    """Tend again and again until that is what was done; how long it took."""
    began = office.now
    while office.tend(every) is not act:
        assert office.now - began < timedelta(hours=12)
    return office.now - began


def test_a_job_that_no_worker_can_be_started_for_fails_with_the_reason_and_tells_it(
    office: Office, amazon: SmallEcs
) -> None:
    """After five tries in 7.5 minutes, where somebody must mend something; a person retries it then."""
    job_id = office.order()
    told = "ClientException: TaskDefinition not found."
    amazon.answer("RunTask", *[refusal("ClientException", "TaskDefinition not found.")] * 5)
    took = tended_until(office, Act.GIVE_UP)
    assert timedelta(minutes=7) < took < timedelta(minutes=9)
    job = office.job(job_id)
    assert (job.status, job.attempt, job.finished_at) == (JobStatus.FAILED, 0, office.now)
    assert job.error == f"given up: no worker could be started in 5 tries; the last: {told}"
    (incident,) = stored(office.engine, incidents)
    assert (incident["kind"], incident["severity"], incident["job_id"]) == ("job-failed", "error", job_id)
    assert incident["summary"] == f"job {job_id}, alpha 0.7 -> 0.6: {job.error}"
    assert len(stored(office.engine, deliveries)) == 1
    for _ in range(3):
        assert office.tend(MINUTE) is Act.NONE_WANTED
    with writing(office.engine) as connection:
        queue.retry(connection, job_id)
    assert office.tend(SECOND) is Act.ASK
    assert office.tasks(job_id)[-1].state is TaskState.STARTED
    assert len(amazon.called("RunTask")) == 6


def test_capacity_is_waited_for_longer(sqlite_engine: Engine, amazon: SmallEcs) -> None:
    office = Office(engine=sqlite_engine)
    job_id = office.order()
    amazon.answer("RunTask", *[failure("RESOURCE:GPU")] * 20)
    took = tended_until(office, Act.GIVE_UP, every=30 * SECOND)
    assert timedelta(hours=3, minutes=45) < took < timedelta(hours=3, minutes=50)
    assert office.job(job_id).error == (
        "given up: no worker could be started in 20 tries; the last: RESOURCE:GPU"
    )


def test_a_worker_that_comes_after_some_failed_tries_begins_the_count_anew(
    office: Office, amazon: SmallEcs
) -> None:
    job_id = office.order()
    amazon.answer("RunTask", *[refusal("AccessDeniedException")] * 8)
    for _ in range(4):
        tended_until(office, Act.ASK)
    office.give_back(*office.take(), error="attempt failed")
    for _ in range(4):
        tended_until(office, Act.ASK)
    assert office.job(job_id).status is JobStatus.QUEUED
    tended_until(office, Act.ASK)
    assert office.tasks(job_id)[-1].state is TaskState.STARTED


STOPS: dict[str, tuple[dict[str, Any], TaskEnd, str]] = {
    "no image": (
        {
            "code": "TaskFailedToStart",
            "stopped_reason": "CannotPullContainerError: pull image manifest has been retried 5 time(s)",
        },
        TaskEnd.NOT_STARTED,
        "TaskFailedToStart: CannotPullContainerError: pull image manifest has been retried 5 time(s)",
    ),
    "out of memory": (
        {"exit_code": 137, "reason": KILLED},
        TaskEnd.OUT_OF_MEMORY,
        f"EssentialContainerExited: Essential container in task exited; worker: {KILLED}, exit code 137",
    ),
    "an error": (
        {"exit_code": 1},
        TaskEnd.EXITED,
        "EssentialContainerExited: Essential container in task exited; worker: exit code 1",
    ),
    "it found no job": (
        {"exit_code": 0},
        TaskEnd.IDLE,
        "EssentialContainerExited: Essential container in task exited; worker: exit code 0",
    ),
    "spot": (
        {"code": "SpotInterruption", "stopped_reason": "Your Spot Task was interrupted."},
        TaskEnd.RECLAIMED,
        "SpotInterruption: Your Spot Task was interrupted.",
    ),
}


@pytest.mark.parametrize(("stop", "reason", "detail"), STOPS.values(), ids=STOPS)
def test_a_task_that_stops_before_its_worker_took_the_job_is_told_on_it_and_replaced(
    sqlite_engine: Engine, amazon: SmallEcs, stop: dict[str, Any], reason: TaskEnd, detail: str
) -> None:
    office = Office(engine=sqlite_engine)
    job_id = office.order()
    office.tend()
    amazon.tasks[0].stop(**stop)
    assert office.tend(10 * SECOND) is Act.LOOK
    assert office.job(job_id).error == f"no worker started, try 1, {reason}: {detail}"
    assert office.tend(29 * SECOND) is Act.POSTPONED
    assert office.tend(SECOND) is Act.ASK
    first, second = amazon.tasks
    assert first.request["clientToken"] != second.request["clientToken"]
    job, lease = office.take()
    office.finish(job, lease)
    assert office.job(job_id).error is None


def test_the_task_of_a_worker_that_dies_with_the_job_is_told_on_it_and_replaced_at_once(
    office: Office, amazon: SmallEcs
) -> None:
    job_id = office.order()
    office.tend()
    office.take(seconds=-1)  # killed: its lease has run out
    amazon.tasks[0].stop(exit_code=137, reason=KILLED)
    assert office.tend(10 * SECOND) is Act.LOOK
    assert str(office.job(job_id).error).startswith(
        "the task of its worker has ended, out_of_memory: EssentialContainerExited"
    )
    assert office.tend(2 * SECOND) is Act.ASK
    assert office.ends(job_id) == [TaskEnd.OUT_OF_MEMORY, None]
    job, lease = office.take()
    assert job.attempt == 2
    office.finish(job, lease)
    office.tend(SECOND)
    assert office.ends(job_id) == [TaskEnd.OUT_OF_MEMORY, TaskEnd.JOB_ENDED]


def test_a_death_that_ecs_tells_before_the_lease_has_run_out_starts_nothing_until_then(
    office: Office, amazon: SmallEcs
) -> None:
    job_id = office.order()
    office.tend()
    _, lease = office.take()
    amazon.tasks[0].stop(exit_code=137)
    assert office.tend(60 * SECOND) is Act.LOOK
    assert "exit code 137" in str(office.job(job_id).error)
    assert office.tend(60 * SECOND) is Act.NONE_WANTED
    with writing(office.engine) as connection:
        leases.renew(connection, lease, seconds=-1)
    assert office.tend(SECOND) is Act.ASK


def test_a_reclaimed_worker_that_gave_its_job_back_is_replaced_and_nothing_counts(
    office: Office, amazon: SmallEcs
) -> None:
    """However often that happens."""
    job_id = office.order()
    for _ in range(7):
        assert office.tend(20 * SECOND) is Act.ASK
        office.give_back(*office.take())
        amazon.tasks[-1].stop("SpotInterruption", "Your Spot Task was interrupted.", exit_code=0)
        assert office.tend(20 * SECOND) is Act.LOOK
    job = office.job(job_id)
    assert (job.status, job.attempt, job.error) == (JobStatus.QUEUED, 0, None)
    assert office.ends(job_id) == [TaskEnd.RECLAIMED] * 7


def test_a_worker_that_hangs_with_the_job_is_stopped_and_replaced(office: Office, amazon: SmallEcs) -> None:
    job_id = office.order()
    office.tend()
    amazon.tasks[0].status = "RUNNING"
    office.take(seconds=-1)
    assert office.tend(10 * SECOND) is Act.LOOK
    (request,) = amazon.called("StopTask")
    assert request["task"] == amazon.tasks[0].arn
    assert request["reason"].startswith("redistill: a worker had the job and is gone")
    assert office.tend(2 * SECOND) is Act.ASK
    assert office.ends(job_id) == [TaskEnd.WORKER_GONE, None]


def test_a_task_that_does_not_come_to_its_job_is_stopped_and_replaced(
    office: Office, amazon: SmallEcs
) -> None:
    """Also where ECS does not answer, neither about it nor to be asked to stop it."""
    job_id = office.order()
    office.tend()
    amazon.tasks[0].status = "PENDING"
    assert office.tend(29 * MINUTE) is Act.LOOK
    assert office.tend(MINUTE) is Act.LOOK
    assert office.ends(job_id) == [TaskEnd.OVERDUE]
    assert len(amazon.called("StopTask")) == 1
    assert office.tend(30 * SECOND) is Act.ASK
    forbidden = refusal("AccessDeniedException", "no")
    amazon.answer("DescribeTasks", *[forbidden] * 400)
    amazon.answer("StopTask", forbidden)
    with capture_logs() as entries:
        for _ in range(31):
            office.tend(MINUTE)
    assert office.ends(job_id) == [TaskEnd.OVERDUE, TaskEnd.OVERDUE, None][: len(office.ends(job_id))]
    events = [entry["event"] for entry in entries]
    assert events.count("worker task not seen") == 30
    assert events.count("worker task not stopped") == 1
    (unseen, *_) = [entry["error"] for entry in entries if entry["event"] == "worker task not seen"]
    assert "AccessDeniedException: no" in unseen
    assert "ecs:DescribeTasks" in unseen


def test_a_task_that_ecs_does_not_know_yet_is_waited_for_and_one_that_it_has_forgotten_replaced(
    office: Office, amazon: SmallEcs
) -> None:
    """ECS is eventually consistent, and tells of stopped tasks for an hour."""
    job_id = office.order()
    office.tend()
    missing = Answer(body={"tasks": [], "failures": [{"arn": amazon.tasks[0].arn, "reason": "MISSING"}]})
    amazon.answer("DescribeTasks", missing)
    assert office.tend(10 * SECOND) is Act.LOOK
    assert office.ends(job_id) == [None]
    assert office.tend(10 * SECOND) is Act.LOOK
    assert office.ends(job_id) == [None]
    amazon.tasks.clear()
    assert office.tend(10 * MINUTE) is Act.LOOK
    assert office.ends(job_id) == [TaskEnd.MISSING]
    assert office.tend(30 * SECOND) is Act.ASK


def test_what_ecs_last_said_is_kept(office: Office, amazon: SmallEcs) -> None:
    job_id = office.order()
    office.tend()
    amazon.tasks[0].status = "PENDING"
    office.tend(10 * SECOND)
    amazon.answer("DescribeTasks", refusal("ThrottlingException"))
    office.tend(10 * SECOND)
    (task,) = office.tasks(job_id)
    assert (task.last_status, task.looked_at) == ("PENDING", office.now)


def test_an_old_worker_that_takes_the_job_while_it_is_given_up_keeps_it(
    office: Office, amazon: SmallEcs
) -> None:
    job_id = office.order()
    amazon.answer("RunTask", *[refusal("AccessDeniedException")] * 5)
    for _ in range(5):
        tended_until(office, Act.ASK)
    stale = office.job(job_id)
    _, lease = office.take()
    with writing(office.engine) as connection:
        given_up = queue.give_up(connection, stale, owner="daemon", error="given up", now=office.now)
    assert not given_up
    assert office.tend(MINUTE) is Act.NONE_WANTED
    job = office.job(job_id)
    assert job.status is JobStatus.RUNNING
    office.finish(job, lease)


def test_a_job_whose_worker_is_gone_is_given_up_as_well(office: Office, amazon: SmallEcs) -> None:
    job_id = office.order()
    office.take(seconds=-1)
    amazon.answer("RunTask", *[refusal("AccessDeniedException")] * 5)
    tended_until(office, Act.GIVE_UP)
    job = office.job(job_id)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert str(job.error).startswith("given up: no worker could be started in 5 tries")
