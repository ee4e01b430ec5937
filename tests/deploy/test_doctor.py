"""`redistill doctor` under the environment that the stack gives to its migration task."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from redistill.checks.all import all_results
from redistill.configuration.source import Source
from redistill.display.progress import show_nothing
from tests.support.deployment.stack import TOML, environment_of, template

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS")

#: What the stack is responsible for; models and request log are the user's.
OF_THE_STACK = {"configuration", "database", "registry", "archive", "cache", "web"}
MORE = {"spot": {"ecs cluster", "ecs task"}, "standing": {"sqs", "sqs visibility", "sqs dead letters"}}


def with_its_network(definition: str) -> str:
    """The definition with the network mode of the template, which moto does not take over from a stack."""
    client = boto3.client("ecs")
    found = client.describe_task_definition(taskDefinition=definition)["taskDefinition"]
    mode = template()["Resources"]["WorkerTask"]["Properties"]["NetworkMode"]
    containers = [without_none(each) for each in found["containerDefinitions"]]
    answer = client.register_task_definition(
        family=found["family"], networkMode=mode, containerDefinitions=containers
    )
    return str(answer["taskDefinition"]["taskDefinitionArn"])


def without_none(container: Mapping[str, Any]) -> dict[str, Any]:
    """A container without the values that moto keeps for AWS::NoValue."""
    names = ("name", "image", "command", "cpu", "memory", "stopTimeout")
    return {name: container[name] for name in names if name in container}


@pytest.mark.parametrize("variant", MORE)
def test_doctor_finds_no_fault_in_the_stack(
    stacks: Callable[[str], Mapping[str, str]],
    variant: str,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resources = stacks(variant)
    for name, value in environment_of("MigrationTask", resources).items():
        monkeypatch.setenv(name, value)
    if variant != "standing":
        monkeypatch.setenv("REDISTILL__ECS__TASK_DEFINITION", with_its_network(resources["WorkerTask"]))
    monkeypatch.setenv("REDISTILL_TOML", TOML)
    monkeypatch.delenv("REDISTILL__DATABASE__PASSWORD_SECRET")
    monkeypatch.setenv("REDISTILL__DATABASE__URL", postgres_url)
    monkeypatch.setenv("REDISTILL__WEB__PORT", "0")
    monkeypatch.chdir(tmp_path)
    results = list(all_results(Source(file=None), datetime.now(UTC), show_nothing))  # noqa: TID251 - as a user
    found = {each.check: each for each in results if each.check in OF_THE_STACK | MORE[variant]}
    assert set(found) == OF_THE_STACK | MORE[variant]
    assert [each for each in found.values() if not each.ok] == []
