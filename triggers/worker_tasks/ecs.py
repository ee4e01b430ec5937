"""The client of Amazon ECS for starting workers."""

import re
from functools import cached_property
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError, PartialCredentialsError

from db.errors import RedistillError
from db.records import Job, WorkerTask
from db.states import TaskEnd
from triggers.aws import FAULTS, explained, is_transient, new_client
from triggers.worker_tasks.report import (
    NotStarted,
    Started,
    TaskReport,
    detail_of,
    lacks_capacity,
    of_describe_tasks,
    of_run_task,
)
from triggers.worker_tasks.settings import EcsSection

_CONFIG: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 1},  # the callers retry at their own pace
    connect_timeout=3,
    read_timeout=8,
    user_agent_extra="redistill",
)
_FORBIDDEN: Final = re.compile(
    r"AccessDenied|Unauthorized|NotAuthorized|UnrecognizedClient|InvalidClientTokenId|Signature|ExpiredToken"
    r"|MissingAuthentication|OptInRequired|Blocked"
)
_THROTTLED: Final = re.compile(r"Throttl|TooManyRequests|RequestLimitExceeded")
_SERVER_FAULT: Final = 500
_LONGEST_NAME: Final = 128


class EcsError(RedistillError):
    """ECS did not answer about the task {arn} ({cause}): check that the daemon has the permission {right}."""


def client(session: boto3.Session | None = None) -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
    """Return a client. Raises BotoCoreError: see `new_client`."""
    return new_client("ecs", _CONFIG, session=session)


class Ecs:
    """The tasks of one configuration: starts, observes and stops them."""

    def __init__(self, section: EcsSection) -> None:
        self._section = section

    @property
    def container(self) -> str | None:
        """The container in which the worker runs, if the configuration names one."""
        return self._section.container

    def start(self, job: Job, token: str) -> Started | NotStarted:
        """Ask for a task; ECS starts no second task under a token that it has seen."""
        try:
            return of_run_task(self._client.run_task(**self._request(job, token)))
        except FAULTS as error:
            known = _known_task(error)
            return known or NotStarted(reason=_reason(error), detail=cause_of(error))

    def look(self, task: WorkerTask) -> TaskReport | None:
        """Return the report on a task; None: ECS does not know the task.

        Raises:
            EcsError: ECS did not answer.
        """
        try:
            return of_describe_tasks(
                self._client.describe_tasks(tasks=[task.arn], cluster=self._cluster_of(task))
            )
        except FAULTS as error:
            raise EcsError(arn=task.arn, cause=cause_of(error), right="ecs:DescribeTasks") from error

    def stop(self, task: WorkerTask, reason: str) -> None:
        """Ask the task to stop: a running worker saves its training and gives its job back.

        Raises:
            EcsError: ECS did not answer.
        """
        try:
            self._client.stop_task(task=task.arn, reason=reason[:255], cluster=self._cluster_of(task))
        except FAULTS as error:
            raise EcsError(arn=task.arn, cause=cause_of(error), right="ecs:StopTask") from error

    @property
    def _client(self) -> Any:  # noqa: ANN401 - as boto3 makes it
        return client(self._session)  # a new one each time: one without credentials would never find any

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session()

    def _cluster_of(self, task: WorkerTask) -> str:
        return task.cluster or self._section.cluster

    def _request(self, job: Job, token: str) -> dict[str, Any]:
        section = self._section
        request: dict[str, Any] = {
            "cluster": section.cluster,
            "taskDefinition": section.task_definition,
            "count": 1,
            "clientToken": token,
            "startedBy": started_by(job),
        }
        if section.launch_type:
            request["launchType"] = section.launch_type
        if section.capacity_provider:
            request["capacityProviderStrategy"] = [{"capacityProvider": section.capacity_provider}]
        if section.subnets:
            request["networkConfiguration"] = {"awsvpcConfiguration": _network(section)}
        if section.container:
            override = {"name": section.container, "command": list(section.command)}
            request["overrides"] = {"containerOverrides": [override]}
        return request


def started_by(job: Job) -> str:
    """Return the label of a job's tasks in ECS: letters, digits and -_/, at most 128 characters."""
    end = f"/{job.job_id}"
    return f"redistill/{re.sub('[^A-Za-z0-9_-]', '-', job.monitor)}"[: _LONGEST_NAME - len(end)] + end


def cause_of(error: Exception) -> str:
    """Return the error in one line."""
    if isinstance(error, ClientError):
        answer = error.response.get("Error", {})
        return detail_of(f"{answer.get('Code', 'no code')}: {answer.get('Message', '')}")
    return detail_of(f"{type(error).__name__}: {explained(error)}")


def _network(section: EcsSection) -> dict[str, Any]:
    groups = {"securityGroups": list(section.security_groups)} if section.security_groups else {}
    public = "ENABLED" if section.assign_public_ip else "DISABLED"
    return {"subnets": list(section.subnets), "assignPublicIp": public, **groups}


def _known_task(error: Exception) -> Started | None:
    """Return the task that was started under the token before the configuration changed, if any."""
    if not isinstance(error, ClientError) or error.response["Error"].get("Code") != "ConflictException":
        return None
    arns = error.response.get("resourceIds") or ()
    return next((Started(arn=arn, cluster=_cluster_in(arn), status="PROVISIONING") for arn in arns), None)


def _cluster_in(arn: str) -> str | None:
    """Return the cluster in arn:aws:ecs:REGION:ACCOUNT:task/CLUSTER/ID; older ARNs do not have it."""
    parts = arn.split("/")
    return parts[1] if len(parts) > len(("task", "id")) else None


def _reason(error: Exception) -> TaskEnd:
    match error:
        case ClientError():
            return _reason_of_answer(error)
        case NoCredentialsError() | PartialCredentialsError():
            return TaskEnd.FORBIDDEN
        case _:
            return TaskEnd.UNANSWERED if is_transient(error) else TaskEnd.REFUSED


def _reason_of_answer(error: ClientError) -> TaskEnd:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_FAULT)
    if _THROTTLED.search(code):
        return TaskEnd.THROTTLED
    if status >= _SERVER_FAULT:
        return TaskEnd.UNANSWERED
    if _FORBIDDEN.search(code):
        return TaskEnd.FORBIDDEN
    is_full = "LimitExceeded" in code or lacks_capacity(cause_of(error))
    return TaskEnd.NO_CAPACITY if is_full else TaskEnd.REFUSED
