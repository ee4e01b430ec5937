"""Stacks in moto, one for each variant, created once a session."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import cache

import boto3
import pytest

from tests.support.deployment.stack import VARIANTS, Account, account, for_moto, template


@pytest.fixture(scope="session")
def aws(s3_url: str) -> Iterator[Account]:
    with account(s3_url) as found:
        yield found


@pytest.fixture(scope="session")
def stacks(aws: Account) -> Callable[[str], Mapping[str, str]]:
    """The physical ids of the resources of a variant's stack, which is created once."""
    return cache(lambda variant: created(aws, **VARIANTS[variant]))


def created(aws: Account, **changes: str) -> Mapping[str, str]:
    client = boto3.client("cloudformation")
    name = f"redistill-{uuid.uuid4().hex[:8]}"
    parameters = [
        {"ParameterKey": key, "ParameterValue": value} for key, value in aws.parameters(**changes).items()
    ]
    client.create_stack(
        StackName=name,
        TemplateBody=json.dumps(for_moto(template())),
        Parameters=parameters,
        Capabilities=["CAPABILITY_IAM"],
    )
    (stack,) = client.describe_stacks(StackName=name)["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    resources = client.describe_stack_resources(StackName=name)["StackResources"]
    known = (each for each in resources if "LogicalResourceId" in each)
    return {each["LogicalResourceId"]: each.get("PhysicalResourceId", "") for each in known}
