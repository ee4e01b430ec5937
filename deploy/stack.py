"""The CloudFormation stack, as `up` and `down` change it."""

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import boto3
from botocore.exceptions import ClientError

_MISSING = "does not exist"


def fail(fact: str, fix: str) -> NoReturn:
    """Exit with 1 and one line."""
    sys.exit(f"{fact}: {fix}")


def say(line: str) -> None:
    """Print a line of progress at once."""
    print(line, flush=True)


def one_line(error: Exception) -> str:
    """Return that AWS refused a request or did not answer, with the beginning of the error."""
    return f"AWS refused the request or did not answer ({' '.join(str(error).split())[:300]})"


@dataclass(frozen=True, kw_only=True)
class State:
    """A deployed stack."""

    status: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    template: str


class Stack:
    """A stack by its name; `pause_seconds` is the time between two looks at it."""

    def __init__(self, name: str, *, pause_seconds: float) -> None:
        self.name = name
        self.pause_seconds = pause_seconds
        self._client = boto3.client("cloudformation")

    def state(self) -> State | None:
        """Return the deployed stack; None if it does not exist."""
        try:
            (found,) = self._client.describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if _MISSING in str(error):
                return None
            raise
        template = self._client.get_template(StackName=self.name, TemplateStage="Original")["TemplateBody"]
        return State(
            status=found["StackStatus"],
            parameters={each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", ())},
            outputs={each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())},
            template=template if isinstance(template, str) else "",
        )

    def parameters_in(self, template: str) -> set[str]:
        """Return the names of a template's parameters."""
        found = self._client.get_template_summary(TemplateBody=template)["Parameters"]
        return {each["ParameterKey"] for each in found}

    def apply(self, template: str, parameters: Mapping[str, str]) -> State:
        """Create or update the stack unless it is as wanted, and return its state."""
        state = self.state()
        if state is not None and state.status == "ROLLBACK_COMPLETE":
            fail(
                f"the stack {self.name} was not created the last time and can only be deleted",
                f"run `aws cloudformation delete-stack --stack-name {self.name}`, then this again",
            )
        if state is not None and state.template == template and state.parameters == parameters:
            say(f"stack {self.name}: nothing to change")
            return state
        request = {
            "StackName": self.name,
            "TemplateBody": template,
            "Parameters": [
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            "Capabilities": ["CAPABILITY_IAM"],
        }
        seen = {each["EventId"] for each in self._events()} if state is not None else set()
        say(f"stack {self.name}: {'update' if state else 'creation'} begins")
        if state is None:
            self._client.create_stack(**request)
        else:
            self._client.update_stack(**request)
        return self._followed(seen)

    def delete(self) -> None:
        """Delete the stack, and wait for it."""
        seen = {each["EventId"] for each in self._events()}
        self._client.delete_stack(StackName=self.name)
        while (state := self.state()) is not None and state.status != "DELETE_COMPLETE":
            self._report(seen)
            if state.status == "DELETE_FAILED":
                fail(f"the stack {self.name} was not deleted", "correct what is said above, then repeat")
            time.sleep(self.pause_seconds)

    def resource(self, logical_id: str) -> str:
        """Return the physical id of a resource."""
        found = self._client.describe_stack_resources(StackName=self.name)["StackResources"]
        return next(
            str(each["PhysicalResourceId"]) for each in found if each.get("LogicalResourceId") == logical_id
        )

    def _followed(self, seen: set[str]) -> State:
        while True:
            state = self.state()
            self._report(seen)
            if state is None:
                fail(f"the stack {self.name} disappeared", "run this again")
            if state.status in {"CREATE_COMPLETE", "UPDATE_COMPLETE"}:
                say(f"stack {self.name}: {state.status}")
                return state
            if not state.status.endswith("IN_PROGRESS"):
                fail(f"the stack {self.name} is {state.status}", "correct what is said above, then repeat")
            time.sleep(self.pause_seconds)

    def _report(self, seen: set[str]) -> None:
        for each in reversed(list(self._events())):
            if each["EventId"] not in seen:
                seen.add(each["EventId"])
                reason = each.get("ResourceStatusReason", "")
                say(f"  {each['LogicalResourceId']:24} {each['ResourceStatus']}  {reason}".rstrip())

    def _events(self) -> Iterator[Mapping[str, Any]]:
        try:
            yield from self._client.describe_stack_events(StackName=self.name)["StackEvents"]
        except ClientError as error:
            if _MISSING not in str(error):
                raise
