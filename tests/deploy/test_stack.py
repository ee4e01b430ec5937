"""The stack as moto creates it over the wire, and the configuration that its tasks get."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from redistill.configuration.settings import load
from redistill.configuration.source import Source
from tests.support.deployment.stack import (
    HOST,
    SECRET,
    TOML,
    VARIANTS,
    Account,
    environment_of,
    evaluated,
    template,
)

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS")  # the types of UNKNOWN_TO_MOTO

#: What moto has no model of; it logs each and creates the others.
UNKNOWN_TO_MOTO: Final = {
    "AWS::CloudWatch::Alarm",
    "AWS::ECS::CapacityProvider",
    "AWS::ECS::ClusterCapacityProviderAssociations",
    "AWS::Logs::MetricFilter",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
}


def wanted(**changes: str) -> set[str]:
    """The resources that the template has under these parameters, and that moto can create."""
    document = template()
    flags = conditions(document, changes)
    return {
        name
        for name, each in document["Resources"].items()
        if flags.get(each.get("Condition"), True) and each["Type"] not in UNKNOWN_TO_MOTO
    }


def conditions(document: dict[str, Any], changes: Mapping[str, str]) -> dict[str, bool]:
    defaults = {name: str(each.get("Default", "")) for name, each in document["Parameters"].items()}
    given = {**defaults, **changes}

    def holds(value: Any) -> Any:  # noqa: ANN401 - a condition or an operand
        if not isinstance(value, dict):
            return str(value)
        ((function, operand),) = value.items()
        match function:
            case "Ref":
                return given[operand]
            case "Condition":
                return holds(document["Conditions"][operand])
            case "Fn::Not":
                return not holds(operand[0])
            case "Fn::Equals":
                return holds(operand[0]) == holds(operand[1])
            case _:
                raise NotImplementedError(function)

    return {name: holds(value) for name, value in document["Conditions"].items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_stack_is_created(stacks: Callable[[str], Mapping[str, str]], variant: str) -> None:
    assert set(stacks(variant)) == wanted(**VARIANTS[variant])


@pytest.mark.parametrize("variant", ["spot", "gpu", "standing"])
@pytest.mark.parametrize("task", ["DaemonTask", "WorkerTask", "MigrationTask"])
def test_the_product_accepts_the_environment_of_each_task(
    aws: Account,
    stacks: Callable[[str], Mapping[str, str]],
    variant: str,
    task: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resources = stacks(variant)
    for name, value in environment_of(task, resources).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDISTILL_TOML", TOML)
    (source,) = Source.chosen(())
    settings = load(source)
    assert settings.database.password_secret == SECRET
    assert settings.redistill.registry == f"s3://{resources['Registry']}/registry"
    assert settings.database.url.startswith(
        f"postgresql://redistill@{HOST}:5432/redistill?sslmode=verify-full"
    )
    assert settings.monitor.archive == f"s3://{resources['Archive']}/archive"
    assert settings.traffic.kind == "s3"
    assert settings.traffic.hour_prefix == "chat/%Y/%m/%d/%H/"
    if task == "DaemonTask" and variant != "standing":
        assert settings.ecs is not None
        assert settings.ecs.task_definition == resources["WorkerTask"]
        assert len(settings.ecs.subnets) == len(aws.subnets)
    is_standing = variant == "standing"
    assert settings.queue.kind == ("sqs" if is_standing else "sql")


def test_a_worker_that_ecs_starts_exits_after_its_job_and_a_standing_one_does_not() -> None:
    document = template()
    (container,) = document["Resources"]["WorkerTask"]["Properties"]["ContainerDefinitions"]
    commands = {
        mode: evaluated(container, conditions(document, {"WorkerMode": mode}))["Command"]
        for mode in ("per-job", "standing")
    }
    assert commands == {"per-job": ["redistill", "worker", "--once"], "standing": ["redistill", "worker"]}
