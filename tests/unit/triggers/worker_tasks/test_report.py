"""What ECS says of tasks, in the words of its documentation, and what that means."""

from typing import Any

import pytest

from db.states import TaskEnd
from triggers.worker_tasks.report import (
    NotStarted,
    Started,
    in_words,
    of_describe_tasks,
    of_run_task,
    why_stopped,
)

ARN = "arn:aws:ecs:eu-west-1:123456789012:task/redistill/0123456789abcdef0123456789abcdef"
INSTANCE = "arn:aws:ecs:eu-west-1:123456789012:container-instance/redistill/1"
NO_FARGATE = (
    "Capacity is unavailable at this time. Please try again later or in a different availability zone"
)


def failure(reason: str, **more: str) -> dict[str, Any]:
    return {"tasks": [], "failures": [{"arn": INSTANCE, "reason": reason, **more}]}


#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
REFUSALS: dict[str, tuple[dict[str, Any], TaskEnd, str]] = {
    "no memory": (failure("RESOURCE:MEMORY"), TaskEnd.NO_CAPACITY, "RESOURCE:MEMORY"),
    "no GPU": (failure("RESOURCE:GPU"), TaskEnd.NO_CAPACITY, "RESOURCE:GPU"),
    "no room in Fargate": (failure(NO_FARGATE), TaskEnd.NO_CAPACITY, NO_FARGATE),
    "an agent that is away": (failure("AGENT"), TaskEnd.NO_CAPACITY, "AGENT"),
    "an empty provider": (
        failure("EMPTY CAPACITY PROVIDER"),
        TaskEnd.NO_CAPACITY,
        "EMPTY CAPACITY PROVIDER",
    ),
    "a quota": (
        failure("You've reached the limit on the number of tasks you can run concurrently"),
        TaskEnd.NO_CAPACITY,
        "You've reached the limit on the number of tasks you can run concurrently",
    ),
    "another zone": (failure("LOCATION"), TaskEnd.REFUSED, "LOCATION"),
    "no such attribute": (
        failure("ATTRIBUTE", detail="ecs.capability.task-eni"),
        TaskEnd.REFUSED,
        "ATTRIBUTE: ecs.capability.task-eni",
    ),
    "each instance says the same": (
        {"failures": [{"reason": "RESOURCE:CPU"}, {"reason": "RESOURCE:CPU"}, {"reason": "AGENT"}]},
        TaskEnd.NO_CAPACITY,
        "RESOURCE:CPU; AGENT",
    ),
    "nothing": ({}, TaskEnd.REFUSED, "ECS started no task and gave no reason"),
}


@pytest.mark.parametrize(("answer", "reason", "detail"), REFUSALS.values(), ids=REFUSALS)
def test_a_task_that_run_task_did_not_start(answer: dict[str, Any], reason: TaskEnd, detail: str) -> None:
    assert of_run_task(answer) == NotStarted(reason=reason, detail=detail)


def test_a_task_that_run_task_started_counts_whatever_else_failed() -> None:
    task = {"taskArn": ARN, "clusterArn": "cluster", "lastStatus": "PROVISIONING"}
    answer = {"tasks": [task], "failures": [{"reason": "RESOURCE:MEMORY"}]}
    assert of_run_task(answer) == Started(arn=ARN, cluster="cluster", status="PROVISIONING")


def stopped(
    code: str | None, reason: str | None, *containers: dict[str, Any]
) -> tuple[str | None, str | None, tuple[dict[str, Any], ...]]:
    return code, reason, containers


def worker(**fields: object) -> dict[str, Any]:
    return {"name": "worker", "lastStatus": "STOPPED", **fields}


ESSENTIAL = ("EssentialContainerExited", "Essential container in task exited")
PULL = (
    "CannotPullContainerError: pull image manifest has been retried 5 time(s): failed to resolve ref "
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com/redistill:gone: not found"
)
UNREAD = (
    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval "
    "failed: unable to retrieve secret from asm: AccessDeniedException"
)
KILLED = "OutOfMemoryError: Container killed due to memory usage"

#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html and
#: .../resolve-stopped-errors.html
STOPS = {
    "the image is not there": (
        stopped("TaskFailedToStart", PULL, worker()),
        TaskEnd.NOT_STARTED,
        f"TaskFailedToStart: {PULL}",
    ),
    "the image, as older agents tell it": (
        stopped(None, "Task failed to start", worker(reason=PULL)),
        TaskEnd.NOT_STARTED,
        f"Task failed to start; worker: {PULL}",
    ),
    "a secret is not there": (
        stopped("TaskFailedToStart", UNREAD, worker()),
        TaskEnd.NOT_STARTED,
        f"TaskFailedToStart: {UNREAD}",
    ),
    "no network": (
        stopped(
            "TaskFailedToStart", "Timeout waiting for network interface provisioning to complete.", worker()
        ),
        TaskEnd.NOT_STARTED,
        "TaskFailedToStart: Timeout waiting for network interface provisioning to complete.",
    ),
    "an unknown program": (
        stopped(*ESSENTIAL, worker(reason="CannotStartContainerError: exec: redistil: not found")),
        TaskEnd.NOT_STARTED,
        f"{ESSENTIAL[0]}: {ESSENTIAL[1]}; worker: CannotStartContainerError: exec: redistil: not found",
    ),
    "no instance came": (
        stopped("TaskFailedToStart", "TaskFailedToStart: EMPTY CAPACITY PROVIDER"),
        TaskEnd.NO_CAPACITY,
        "TaskFailedToStart: TaskFailedToStart: EMPTY CAPACITY PROVIDER",
    ),
    "no instance is large enough": (
        stopped("TaskFailedToStart", "RESOURCE:MEMORY"),
        TaskEnd.NO_CAPACITY,
        "TaskFailedToStart: RESOURCE:MEMORY",
    ),
    "out of memory": (
        stopped(*ESSENTIAL, worker(exitCode=137, reason=KILLED)),
        TaskEnd.OUT_OF_MEMORY,
        f"{ESSENTIAL[0]}: {ESSENTIAL[1]}; worker: {KILLED}, exit code 137",
    ),
    "killed": (
        stopped(*ESSENTIAL, worker(exitCode=137)),
        TaskEnd.EXITED,
        f"{ESSENTIAL[0]}: {ESSENTIAL[1]}; worker: exit code 137",
    ),
    "an error": (
        stopped(*ESSENTIAL, worker(exitCode=1)),
        TaskEnd.EXITED,
        f"{ESSENTIAL[0]}: {ESSENTIAL[1]}; worker: exit code 1",
    ),
    "done": (
        stopped(*ESSENTIAL, worker(exitCode=0)),
        TaskEnd.IDLE,
        f"{ESSENTIAL[0]}: {ESSENTIAL[1]}; worker: exit code 0",
    ),
    "done, and its companion killed": (
        stopped(*ESSENTIAL, worker(exitCode=0), {"name": "logs", "exitCode": 143}),
        TaskEnd.IDLE,
        f"{ESSENTIAL[0]}: {ESSENTIAL[1]}; worker: exit code 0; logs: exit code 143",
    ),
    "a companion that could not start": (
        stopped("TaskFailedToStart", "CannotStartContainerError: logs", worker(exitCode=137), {"name": "l"}),
        TaskEnd.NOT_STARTED,
        "TaskFailedToStart: CannotStartContainerError: logs; worker: exit code 137",
    ),
    "spot": (
        stopped("SpotInterruption", "Your Spot Task was interrupted.", worker(exitCode=0)),
        TaskEnd.RECLAIMED,
        "SpotInterruption: Your Spot Task was interrupted.; worker: exit code 0",
    ),
    "spot, as older answers tell it": (
        stopped(None, "Your Spot Task was interrupted.", worker(exitCode=137)),
        TaskEnd.RECLAIMED,
        "Your Spot Task was interrupted.; worker: exit code 137",
    ),
    "its instance is gone": (
        stopped(None, "Host EC2 (instance i-0123456789abcdef0) terminated.", worker()),
        TaskEnd.RECLAIMED,
        "Host EC2 (instance i-0123456789abcdef0) terminated.",
    ),
    "stopped by hand": (
        stopped("UserInitiated", "Task stopped by user", worker(exitCode=143)),
        TaskEnd.STOPPED,
        "UserInitiated: Task stopped by user; worker: exit code 143",
    ),
    "nothing is said": (stopped(None, None), TaskEnd.NOT_STARTED, "ECS reports STOPPED and gives no reason"),
}


@pytest.mark.parametrize(("end", "reason", "told"), STOPS.values(), ids=STOPS)
def test_why_a_task_has_stopped(
    end: tuple[str | None, str | None, tuple[dict[str, Any], ...]], reason: TaskEnd, told: str
) -> None:
    code, said, containers = end
    task = {"taskArn": ARN, "lastStatus": "STOPPED", "stopCode": code, "stoppedReason": said}
    report = of_describe_tasks({"tasks": [{**task, "containers": list(containers)}]})
    assert report is not None
    assert report.has_stopped
    assert why_stopped(report, "worker") is reason
    assert in_words(report) == told


def test_without_the_name_of_its_container_every_exit_code_counts() -> None:
    containers = [{"name": "worker", "exitCode": 0}, {"name": "logs", "exitCode": 1}]
    report = of_describe_tasks({"tasks": [{"lastStatus": "STOPPED", "containers": containers}]})
    assert report is not None
    assert [why_stopped(report, name) for name in (None, "worker", "logs")] == [
        TaskEnd.EXITED,
        TaskEnd.IDLE,
        TaskEnd.EXITED,
    ]


def test_a_task_that_is_not_known_is_told_as_such() -> None:
    assert of_describe_tasks({"tasks": [], "failures": [{"arn": ARN, "reason": "MISSING"}]}) is None


@pytest.mark.parametrize("status", ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEPROVISIONING"])
def test_a_task_on_its_way_has_not_stopped(status: str) -> None:
    report = of_describe_tasks({"tasks": [{"lastStatus": status}]})
    assert report is not None
    assert not report.has_stopped


def test_what_is_said_is_one_line_of_bounded_length() -> None:
    report = of_describe_tasks({"tasks": [{"lastStatus": "STOPPED", "stoppedReason": "so\n long " * 400}]})
    assert report is not None
    assert in_words(report).startswith("so long so long")
    assert len(in_words(report)) == 1_000
