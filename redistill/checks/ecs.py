"""Checks of the ECS configuration, without starting a task."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from redistill.checks.result import CheckResult, ok, problem
from redistill.configuration.settings import Settings
from triggers.aws import FAULTS
from triggers.worker_tasks import ecs
from triggers.worker_tasks.settings import EcsSection

_FIX: Final = "correct [ecs], the region, the credentials or the permissions of this user"
#: The time in which a stopping worker saves its training and releases its job.
_LEAST_STOP_SECONDS: Final = 20


def worker_tasks(settings: Settings) -> Iterator[CheckResult]:
    """Check that the cluster accepts tasks and the task definition runs one worker, if `[ecs]` is set."""
    section = settings.ecs
    if section is None:
        return
    try:
        client = ecs.client()
        clusters = client.describe_clusters(clusters=[section.cluster])["clusters"]
        yield _cluster(section, clusters)
        found = client.describe_task_definition(taskDefinition=section.task_definition)["taskDefinition"]
    except FAULTS as error:
        yield problem("ecs", ecs.cause_of(error), _FIX)
        return
    yield from _definition(section, found)


def _cluster(section: EcsSection, found: list[Mapping[str, Any]]) -> CheckResult:
    status = next((each["status"] for each in found), "MISSING")
    if status != "ACTIVE":
        return problem("ecs cluster", f"{section.cluster} is {status}", "set [ecs] cluster to an ACTIVE one")
    return ok("ecs cluster", f"{section.cluster} is ACTIVE")


def _definition(section: EcsSection, found: Mapping[str, Any]) -> Iterator[CheckResult]:
    name = f"{found['family']}:{found['revision']}"
    faults = list(_faults(section, found))
    for fault, fix in faults:
        yield problem("ecs task", f"{name}: {fault}", fix)
    if not faults:
        yield ok("ecs task", f"{name}: {' '.join(_command(section, found)) or 'the command of its image'}")


def _faults(section: EcsSection, found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if found.get("status") != "ACTIVE":
        yield f"it is {found.get('status')}", "register it again, or set [ecs] task_definition to another one"
    names = [each["name"] for each in found["containerDefinitions"]]
    if section.container is not None and section.container not in names:
        yield (
            f"it has no container {section.container!r}",
            f"set [ecs] container to one of {', '.join(names)}",
        )
    if (found.get("networkMode") == "awsvpc") != bool(section.subnets):
        state = "has" if section.subnets else "lacks"
        yield (
            f"its network mode is {found.get('networkMode', 'bridge')}, and [ecs] {state} subnets",
            "set 'subnets' in [ecs] if the mode is awsvpc, which Fargate requires, and only then",
        )
    wanted = section.launch_type
    runs_on = found.get("compatibilities") or found.get("requiresCompatibilities") or ()
    if wanted is not None and runs_on and wanted not in runs_on:
        yield f"it runs on {', '.join(runs_on)}, not on {wanted}", "correct launch_type, or the definition"
    command = _command(section, found)
    if command and "--once" not in command:
        yield (
            f"its command is {' '.join(command)!r}, which never exits",
            "let it run `redistill worker --once`, or set 'container' in [ecs]",
        )
    yield from _stop_faults(section, found)


def _stop_faults(section: EcsSection, found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for each in found["containerDefinitions"]:
        seconds = each.get("stopTimeout")
        is_workers = section.container in {None, each["name"]}
        if is_workers and seconds is not None and seconds < _LEAST_STOP_SECONDS:
            yield (
                f"{each['name']} is killed {seconds} s after a stop request",
                f"set stopTimeout to at least {_LEAST_STOP_SECONDS}, so that a worker can save its training",
            )


def _command(section: EcsSection, found: Mapping[str, Any]) -> list[str]:
    """Return the command of the worker's container, or nothing if only the image has one."""
    if section.container is not None:
        return list(section.command)
    containers = found["containerDefinitions"]
    commands = [[*each.get("entryPoint", ()), *each.get("command", ())] for each in containers]
    return next((each for each in commands if "--once" in each), commands[0] if len(commands) == 1 else [])
