"""`deploy/up` and `deploy/down` against moto, over the wire."""

import ast
import importlib.machinery
import importlib.util
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
import yaml
from botocore.client import BaseClient
from moto.ecs.models import Container

from tests.support.deployment.stack import DIGEST, ROOT, TOML, Account, evaluated, for_moto, template

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS", "ignore:Exception ignored")

NEWER = DIGEST.replace("0" * 64, "1" * 64)


def program(name: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(f"deploy_{name}", str(ROOT / "deploy" / name))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def stack() -> str:
    return f"redistill-{uuid.uuid4().hex[:8]}"


Up = Callable[..., str]
Ran = list[tuple[list[str], Mapping[str, str]]]
#: An update in moto cannot evaluate attributes of resources that the stack does not have.
CONDITIONS = {"IsGpu": False, "HasEndpoints": False, "IsStanding": False, "IsPerJob": True}


def template_of_moto() -> dict[str, Any]:
    document = for_moto(template())
    document["Resources"] = {
        name: each
        for name, each in document["Resources"].items()
        if CONDITIONS.get(each.get("Condition"), True)
    }
    del document["Resources"]["LogGroup"]["Properties"]["RetentionInDays"]  # which it loses with its group
    found: dict[str, Any] = evaluated(document, CONDITIONS)
    return found


@pytest.fixture(autouse=True)
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """The commands that are run as tasks, with the parameters of the stack at that moment."""
    found: Ran = []
    call = BaseClient._make_api_call

    def watched(self: BaseClient, name: str, arguments: dict[str, Any]) -> Any:  # noqa: ANN401 - an answer
        if name == "RunTask":
            command = arguments["overrides"]["containerOverrides"][0]["command"]
            stack = arguments["cluster"].partition("-Cluster")[0]
            found.append((command, parameters(stack)))
        answer = call(self, name, arguments)
        for each in answer.get("Stacks", ()):
            for parameter in each.get("Parameters", ()):
                parameter["ParameterValue"] = as_aws_writes(parameter["ParameterValue"])
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", watched)
    return found


def as_aws_writes(value: str) -> str:
    """The value of a parameter; moto writes a list in the way of Python."""
    return ",".join(ast.literal_eval(value)) if value.startswith("['") else value


@pytest.fixture
def up(aws: Account, stack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Up:
    """Runs `up` with a configuration and an image, and returns what it prints."""
    main = program("up").main
    templates, config = tmp_path / "template.yaml", tmp_path / "redistill.toml"
    templates.write_text(yaml.safe_dump(template_of_moto()), encoding="utf-8")
    left_to_up = {"Image", "MigrationImage", "Configuration", "MigrationConfiguration"}
    given = [f"{key}={value}" for key, value in aws.parameters().items() if key not in left_to_up]

    def run(*more: str, image: str = DIGEST, toml: str = TOML) -> str:
        config.write_text(toml, encoding="utf-8")
        settings = [word for pair in given for word in ("--set", pair)]
        common = ["--config", str(config), "--image", image, "--template", str(templates)]
        main([stack, *common, *settings, *more], pause_seconds=0.0)
        return capsys.readouterr().out

    return run


def parameters(stack: str) -> Mapping[str, str]:
    (found,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    return {each["ParameterKey"]: each["ParameterValue"] for each in found["Parameters"]}


def calls(printed: str) -> list[str]:
    """The lines of progress, without those of single resources."""
    return [line for line in printed.splitlines() if not line.startswith("  ")]


UPGRADE, DOCTOR = ["redistill", "db", "upgrade"], ["redistill", "doctor"]


def test_the_database_is_migrated_before_the_daemon_starts(up: Up, stack: str, ran: Ran) -> None:
    printed = up()
    assert [line.split(" as ")[0].split("; ")[0] for line in calls(printed)] == [
        "configuration: stored",
        f"stack {stack}: creation begins",
        f"stack {stack}: CREATE_COMPLETE",
        "task: `redistill db upgrade` begins",
        "task: `redistill db upgrade` succeeded",
        "task: `redistill doctor` begins",
        "task: `redistill doctor` succeeded",
        f"stack {stack}: update begins",
        f"stack {stack}: UPDATE_COMPLETE",
        "done",
    ]
    assert [(command, found["DesiredCount"]) for command, found in ran] == [(UPGRADE, "0"), (DOCTOR, "0")]
    assert parameters(stack)["DesiredCount"] == "1"


def test_twice_in_a_row_changes_nothing(up: Up, stack: str, ran: Ran) -> None:
    up()
    (before,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    assert calls(up()) == [f"stack {stack}: nothing to change"]
    (after,) = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    assert after == before
    assert [command for command, _ in ran] == [UPGRADE, DOCTOR]


def test_another_image_migrates_while_the_previous_daemon_works(up: Up, stack: str, ran: Ran) -> None:
    up()
    ran.clear()
    up(image=NEWER)
    assert [command for command, _ in ran] == [UPGRADE, DOCTOR]
    for _, found in ran:
        assert (found["MigrationImage"], found["Image"], found["DesiredCount"]) == (NEWER, DIGEST, "1")
    assert parameters(stack)["Image"] == NEWER


def test_another_configuration_replaces_the_tasks(up: Up, stack: str) -> None:
    up()
    before = parameters(stack)["Configuration"]
    up(toml=TOML + "\n# another line\n")
    after = parameters(stack)["Configuration"]
    assert before != after
    client = boto3.client("ssm")
    stored = client.get_parameter(Name=after, WithDecryption=True)["Parameter"]["Value"]
    assert stored.endswith("# another line\n")
    assert client.get_parameter(Name=before, WithDecryption=True)["Parameter"]["Value"] == TOML


def test_a_failed_migration_leaves_the_previous_daemon(
    up: Up, stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    up()
    begin = Container.__init__

    def init(self: Container, definition: Any) -> None:  # noqa: ANN401 - a part of moto
        begin(self, definition)
        self.exitCode = 1  # moto's own containers always exit with 0

    monkeypatch.setattr(Container, "__init__", init)
    with pytest.raises(SystemExit, match=r"`redistill db upgrade` failed \(exit code 1\)"):
        up(image=NEWER)
    found = parameters(stack)
    assert (found["Image"], found["MigrationImage"]) == (DIGEST, NEWER)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--set", "ArchiveDays"], "--set ArchiveDays has no value: write --set NAME=VALUE"),
        (["--config", "absent.toml"], "absent.toml cannot be read"),
        ([], "AWS refused the request"),
    ],
)
def test_an_error_is_one_line_with_a_fix(
    up: Up, words: list[str], error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SystemExit) as raised:
        up(*words)
    (line,) = str(raised.value).splitlines()
    assert line.startswith(error)


def test_down_keeps_the_data_and_says_so(up: Up, stack: str, capsys: pytest.CaptureFixture[str]) -> None:
    up()
    bucket = resource(stack, "Archive")
    boto3.client("s3").put_object(Bucket=bucket, Key="archive/1", Body=b"sample")
    program("down").main([stack], pause_seconds=0.0)
    printed = capsys.readouterr().out
    assert f"s3://{bucket}" in printed
    assert "snapshot of" in printed
    program("down").main([stack], pause_seconds=0.0)
    assert calls(capsys.readouterr().out) == [f"stack {stack}: there is none"]


def resource(stack: str, name: str) -> str:
    found = boto3.client("cloudformation").describe_stack_resources(StackName=stack)["StackResources"]
    return next(str(each["PhysicalResourceId"]) for each in found if each.get("LogicalResourceId") == name)
