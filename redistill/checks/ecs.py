"""Whether ECS could start a worker as the configuration says, as far as one can tell without starting one."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from redistill.checks.result import CheckResult, bad, good
from redistill.configuration.settings import Settings
from triggers.aws import FAULTS
from triggers.worker_tasks import ecs
from triggers.worker_tasks.settings import EcsSection

_RIGHTS: Final = "mend [ecs], or the region, the credentials or the rights of this user"
#: A worker that was asked to stop saves its training and gives its job back.
_LEAST_STOP_SECONDS: Final = 20


def worker_tasks(settings: Settings) -> Iterator[CheckResult]:
    """Where `[ecs]` says so: the cluster takes tasks, and the definition runs one worker and fits to it."""
    section = settings.ecs
    if section is None:
        return
    try:
        client = ecs.client()
        clusters = client.describe_clusters(clusters=[section.cluster])["clusters"]
        yield _cluster(section, clusters)
        found = client.describe_task_definition(taskDefinition=section.task_definition)["taskDefinition"]
    except FAULTS as error:
        yield bad("ecs", ecs.cause_of(error), _RIGHTS)
        return
    yield from _definition(section, found)


def _cluster(section: EcsSection, found: list[Mapping[str, Any]]) -> CheckResult:
    status = next((each["status"] for each in found), "MISSING")
    if status != "ACTIVE":
        return bad("ecs cluster", f"{section.cluster} is {status}", "name an ACTIVE one in [ecs] cluster")
    return good("ecs cluster", f"{section.cluster} is ACTIVE")


def _definition(section: EcsSection, found: Mapping[str, Any]) -> Iterator[CheckResult]:
    name = f"{found['family']}:{found['revision']}"
    faults = list(_faults(section, found))
    for said, mend in faults:
        yield bad("ecs task", f"{name}: {said}", mend)
    if not faults:
        yield good("ecs task", f"{name}: {' '.join(_command(section, found)) or 'the command of its image'}")


def _faults(section: EcsSection, found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if found.get("status") != "ACTIVE":
        yield f"it is {found.get('status')}", "register it again, or name another one"
    names = [each["name"] for each in found["containerDefinitions"]]
    if section.container is not None and section.container not in names:
        yield f"it has no container {section.container!r}", f"there is {', '.join(names)}"
    if (found.get("networkMode") == "awsvpc") != bool(section.subnets):
        said = "has" if section.subnets else "needs"
        yield (
            f"its network mode is {found.get('networkMode', 'bridge')}, and [ecs] {said} subnets",
            "give [ecs] 'subnets' with awsvpc, as Fargate wants it, and with that only",
        )
    wanted = section.launch_type
    runs_on = found.get("compatibilities") or found.get("requiresCompatibilities") or ()
    if wanted is not None and runs_on and wanted not in runs_on:
        yield f"it runs on {', '.join(runs_on)}, not on {wanted}", "mend launch_type, or the definition"
    command = _command(section, found)
    if command and "--once" not in command:
        yield (
            f"its command is {' '.join(command)!r}: such a worker never ends",
            "let it run `redistill worker --once`, or name its 'container' in [ecs]",
        )
    yield from _stop_faults(section, found)


def _stop_faults(section: EcsSection, found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for each in found["containerDefinitions"]:
        seconds = each.get("stopTimeout")
        is_workers = section.container in {None, each["name"]}
        if is_workers and seconds is not None and seconds < _LEAST_STOP_SECONDS:
            yield (
                f"{each['name']} is killed {seconds} s after it was asked to stop",
                f"set stopTimeout to {_LEAST_STOP_SECONDS} or more: a worker saves its training then",
            )


def _command(section: EcsSection, found: Mapping[str, Any]) -> list[str]:
    """What the worker's container runs; empty where only its image knows."""
    if section.container is not None:
        return list(section.command)
    containers = found["containerDefinitions"]
    commands = [[*each.get("entryPoint", ()), *each.get("command", ())] for each in containers]
    return next((each for each in commands if "--once" in each), commands[0] if len(commands) == 1 else [])
