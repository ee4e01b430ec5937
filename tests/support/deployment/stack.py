"""The CloudFormation template as a document, and as moto can create it."""

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from cfnlint.decode import cfn_yaml

ROOT: Final = Path(__file__).parents[3]
TEMPLATE: Final = ROOT / "deploy" / "redistill.yaml"
REGION: Final = "eu-west-1"
DIGEST: Final = f"registry.example/redistill@sha256:{'0' * 64}"
HOST: Final = "redistill.abc.eu-west-1.rds.amazonaws.com"
SECRET: Final = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:rds!db-1-AbCdEf"
TOPIC: Final = f"arn:aws:sns:{REGION}:123456789012:on-call"

#: The configuration of a user, without the keys that the stack sets.
TOML: Final = """
[traffic]
[teacher]
uri = "teacher"
[student]
uri = "student"
[redistill]
train = "train.jsonl"
test = "test.jsonl"
"""


@cache
def _parsed() -> str:
    return json.dumps(cfn_yaml.load(str(TEMPLATE)))


def template() -> dict[str, Any]:
    """A copy of the template with the long forms of its functions, to be changed at will."""
    document: dict[str, Any] = json.loads(_parsed())
    return document


def for_moto(document: dict[str, Any]) -> dict[str, Any]:
    """The template without what moto lacks.

    Its `AWS::RDS::DBInstance` knows no parameter group of a stack and no secret, and its endpoint has no
    value; it has no capacity providers, and a task's containers must have shares of their own.
    """
    found: dict[str, Any] = _substituted(copy.deepcopy(document))
    resources = found["Resources"]
    del resources["Database"]["Properties"]["DBParameterGroupName"]
    for each in resources.values():
        for container in each["Properties"].get("ContainerDefinitions", ()):
            container |= {"Cpu": 256, "Memory": 512}
    return found


def _substituted(value: Any) -> Any:  # noqa: ANN401 - any part of a template
    known = {
        "Database.MasterUserSecret.SecretArn": SECRET,
        "Database.Endpoint.Address": HOST,
    }
    if isinstance(value, dict):
        if value == {"Ref": "GpuProvider"}:
            return "gpu"
        attribute = value.get("Fn::GetAtt")
        if attribute is not None and ".".join(attribute) in known:
            return known[".".join(attribute)]
        return {key: _substituted(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_substituted(each) for each in value]
    return value.replace("${Database.Endpoint.Address}", HOST) if isinstance(value, str) else value


#: Parameters that give other resources.
VARIANTS: Final[dict[str, dict[str, str]]] = {
    "fargate": {"DesiredCount": "1"},
    "spot": {"WorkerKind": "FARGATE_SPOT"},
    "gpu": {"WorkerKind": "GPU"},
    "standing": {"WorkerMode": "standing", "DesiredCount": "1"},
    "endpoints": {"VpcEndpoints": "true"},
}


@dataclass(frozen=True, kw_only=True)
class Account:
    """An AWS account of moto with a network, in which a stack can be created."""

    vpc: str
    subnets: tuple[str, ...]
    route_table: str

    def parameters(self, **changes: str) -> dict[str, str]:
        given = {
            "Image": DIGEST,
            "MigrationImage": DIGEST,
            "Configuration": "/redistill/configuration",
            "MigrationConfiguration": "/redistill/configuration",
            "VpcId": self.vpc,
            "SubnetIds": ",".join(self.subnets),
            "RouteTableIds": self.route_table,
            "TrafficBucket": "traffic-log",
            "TrafficPrefix": "chat",
            "ModelsBucket": "models-1",
            "ModelsPrefix": "intents",
            "AlarmTopic": TOPIC,
        }
        return {**given, **changes}


@contextmanager
def account(url: str) -> Iterator[Account]:
    """An account; boto3 finds its server by the environment, as in production."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", REGION)
        ec2 = boto3.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = tuple(
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"{REGION}{zone}")[
                "Subnet"
            ]["SubnetId"]
            for n, zone in enumerate("ab")
        )
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        yield Account(vpc=vpc, subnets=subnets, route_table=table)


def evaluated(value: Any, conditions: dict[str, bool]) -> Any:  # noqa: ANN401 - any part of a template
    """The value, with each `Fn::If` of a known condition replaced by its branch, or by nothing."""
    none = {"Ref": "AWS::NoValue"}
    if isinstance(value, dict):
        if "Fn::If" in value:
            name, *branches = value["Fn::If"]
            then, otherwise = (evaluated(each, conditions) for each in branches)
            if name not in conditions:
                return {"Fn::If": [name, then, otherwise]}
            return then if conditions[name] else otherwise
        found = {key: evaluated(each, conditions) for key, each in value.items()}
        return {key: each for key, each in found.items() if each != none}
    if isinstance(value, list):
        return [each for each in (evaluated(each, conditions) for each in value) if each != none]
    return value


def environment_of(task: str, resources: Mapping[str, str]) -> dict[str, str]:
    """The variables of a task's container, as moto has them."""
    found = boto3.client("ecs").describe_task_definition(taskDefinition=resources[task])["taskDefinition"]
    (container,) = found["containerDefinitions"]
    given = filter(None, container["environment"])  # moto keeps AWS::NoValue in a list, as None
    return {each["name"]: each["value"] for each in given}
