"""The answers of ECS about tasks that were asked for or started."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from db.errors import one_line
from db.states import TaskEnd

#: Reasons in RunTask's `failures` and of tasks that failed to start, which pass when there is capacity again:
#: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
_NO_CAPACITY: Final = re.compile(
    r"RESOURCE:|\bAGENT\b|NO ACTIVE INSTANCES|(?i:capacity|reached the limit|above your limit|quota)"
)
_TAKEN_AWAY: Final = frozenset({"SpotInterruption", "TerminationNotice", "InfrastructureHealth"})
_SAYS_TAKEN_AWAY: Final = re.compile(r"Spot Task was interrupted|Host EC2 \(instance \S+\) terminated")
_BY_HAND: Final = "UserInitiated"
_FAILED_TO_START: Final = "TaskFailedToStart"
_LONGEST_DETAIL: Final = 1_000


@dataclass(frozen=True, kw_only=True)
class Started:
    """A task that ECS accepted."""

    arn: str
    cluster: str | None
    status: str


@dataclass(frozen=True, kw_only=True)
class NotStarted:
    """A task that ECS did not accept, or did not answer about."""

    reason: TaskEnd
    detail: str


@dataclass(frozen=True, kw_only=True)
class ContainerReport:
    """One container of a task."""

    name: str
    exit_code: int | None  #: None: the container never ran, or is running
    reason: str | None


@dataclass(frozen=True, kw_only=True)
class TaskReport:
    """A task as DescribeTasks reports it."""

    status: str  #: lastStatus: PROVISIONING, PENDING, RUNNING, ..., STOPPED
    stop_code: str | None
    stopped_reason: str | None
    containers: tuple[ContainerReport, ...]

    @property
    def has_stopped(self) -> bool:
        """Return whether the task has stopped completely."""
        return self.status in {"STOPPED", "DELETED"}


def of_run_task(answer: Mapping[str, Any]) -> Started | NotStarted:
    """Return the result in RunTask's answer; of several `failures`, one per instance, each reason once."""
    for task in answer.get("tasks", ()):
        return Started(
            arn=task["taskArn"],
            cluster=task.get("clusterArn"),
            status=task.get("lastStatus", "PROVISIONING"),
        )
    failures = answer.get("failures", ())
    reasons = dict.fromkeys(_joined(": ", each.get("reason"), each.get("detail")) for each in failures)
    detail = detail_of("; ".join(reasons) or "ECS started no task and gave no reason")
    return NotStarted(
        reason=TaskEnd.NO_CAPACITY if lacks_capacity(detail) else TaskEnd.REFUSED, detail=detail
    )


def of_describe_tasks(answer: Mapping[str, Any]) -> TaskReport | None:
    """Return the one task in DescribeTasks' answer; None: ECS does not know it."""
    for task in answer.get("tasks", ()):
        return TaskReport(
            status=task.get("lastStatus", "UNKNOWN"),
            stop_code=task.get("stopCode"),
            stopped_reason=task.get("stoppedReason"),
            containers=tuple(
                ContainerReport(
                    name=each.get("name", "?"), exit_code=each.get("exitCode"), reason=each.get("reason")
                )
                for each in task.get("containers", ())
            ),
        )
    return None


def why_stopped(report: TaskReport, container: str | None) -> TaskEnd:
    """Return why a task stopped; the exit code is that of `container`, or of any container if None."""
    of_worker = [each for each in report.containers if container in {None, each.name}]
    codes = [each.exit_code for each in of_worker if each.exit_code is not None]
    reasons = " ".join(filter(None, (report.stopped_reason, *(each.reason for each in report.containers))))
    if report.stop_code in _TAKEN_AWAY or _SAYS_TAKEN_AWAY.search(reasons):
        return TaskEnd.RECLAIMED
    if report.stop_code == _BY_HAND:
        return TaskEnd.STOPPED
    if "OutOfMemory" in reasons:
        return TaskEnd.OUT_OF_MEMORY
    if report.stop_code == _FAILED_TO_START or not codes:
        return TaskEnd.NO_CAPACITY if lacks_capacity(report.stopped_reason or "") else TaskEnd.NOT_STARTED
    return TaskEnd.EXITED if any(codes) else TaskEnd.IDLE


def in_words(report: TaskReport) -> str:
    """Return the report on a task's end in one line."""
    containers = (_container(each) for each in report.containers)
    text = _joined("; ", _joined(": ", report.stop_code, report.stopped_reason), *containers)
    return detail_of(text or f"ECS reports {report.status} and gives no reason")


def lacks_capacity(text: str) -> bool:
    """Return whether the task would start with more capacity."""
    return _NO_CAPACITY.search(text) is not None


def detail_of(text: str) -> str:
    """Return the text on one line, short enough for a row and a log."""
    line = one_line(text)
    return line if len(line) <= _LONGEST_DETAIL else f"{line[: _LONGEST_DETAIL - 1]}…"


def _container(report: ContainerReport) -> str | None:
    code = None if report.exit_code is None else f"exit code {report.exit_code}"
    text = _joined(", ", report.reason, code)
    return f"{report.name}: {text}" if text else None


def _joined(between: str, *parts: str | None) -> str:
    return between.join(part for part in parts if part)
