"""Amazon ECS in small: a real server that speaks its protocol (JSON 1.1) and starts what a test gives it.

It knows what decides here, as its documentation has it: a task for a token and no second one, what RunTask
says when it starts none, tasks that are not known yet, and how they end. Answers have documented fields only.
"""

import json
import signal
import socket
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, Protocol

import boto3
import botocore.session
import pytest
from botocore.validate import ParamValidator

from tests.support.servers.http import serving

CLUSTER: Final = "redistill"
DEFINITION: Final = "redistill-worker"
CONTAINER: Final = "worker"
_ACCOUNT: Final = "arn:aws:ecs:eu-west-1:123456789012"
CLUSTER_ARN: Final = f"{_ACCOUNT}:cluster/{CLUSTER}"
_MODEL: Final = botocore.session.get_session().get_service_model("ecs")


class Container(Protocol):
    """What runs in a task; the process of a test."""

    @property
    def exit_code(self) -> int | None: ...

    def signal(self, number: int) -> None: ...

    def kill(self) -> None: ...


#: Starts the container of a task.
Launch = Callable[[], Container]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How one call is answered, instead of as usual."""

    body: dict[str, Any] | None = None
    status: int = 200
    error: str | None = None  #: the code of an exception
    message: str = "no"
    #: lost: it is carried out, and nobody hears of it; stuck: carried out, and the answer is waited for
    fault: Literal["hang", "reset", "lost", "stuck"] | None = None


def failure(reason: str, **more: str) -> Answer:
    """RunTask has placed nothing."""
    return Answer(body={"tasks": [], "failures": [{"arn": f"{_ACCOUNT}:x", "reason": reason, **more}]})


def refusal(code: str, message: str = "no", *, status: int = 400) -> Answer:
    return Answer(status=status, error=code, message=message)


@dataclass(kw_only=True)
class Task:
    arn: str
    request: dict[str, Any]
    status: str = "PROVISIONING"
    stop_code: str | None = None
    stopped_reason: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    process: Container | None = None
    asked_to_stop: str | None = None

    def stop(
        self,
        code: str | None = "EssentialContainerExited",
        stopped_reason: str | None = "Essential container in task exited",
        *,
        exit_code: int | None = None,
        reason: str | None = None,
    ) -> None:
        self.status, self.stop_code, self.stopped_reason = "STOPPED", code, stopped_reason
        self.exit_code, self.reason = exit_code, reason

    @property
    def document(self) -> dict[str, Any]:
        if self.process is not None and self.status != "STOPPED":
            code = self.process.exit_code
            self.status = "RUNNING"
            exit_code = 128 - code if code is not None and code < 0 else code
            if code is not None and self.asked_to_stop is not None:
                self.stop("UserInitiated", self.asked_to_stop, exit_code=exit_code)
            elif code is not None:
                self.stop(exit_code=exit_code)
        container = {"name": CONTAINER, "exitCode": self.exit_code, "reason": self.reason}
        found = {
            "taskArn": self.arn,
            "clusterArn": CLUSTER_ARN,
            "lastStatus": self.status,
            "startedBy": self.request["startedBy"],
            "stopCode": self.stop_code,
            "stoppedReason": self.stopped_reason,
            "containers": [_present(container)],
        }
        return _present(found)


class SmallEcs(ThreadingHTTPServer):
    """`answers` are given first, each once; what came in is in `calls`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.answers: dict[str, list[Answer]] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.tasks: list[Task] = []
        self.launch: Launch | None = None
        self.lock = threading.Lock()
        self.released = threading.Event()

    def answer(self, operation: str, *answers: Answer) -> None:
        self.answers.setdefault(operation, []).extend(answers)

    def called(self, operation: str) -> list[dict[str, Any]]:
        return [request for name, request in self.calls if name == operation]

    def carry_out(self, operation: str, request: dict[str, Any]) -> Answer:
        with self.lock:
            return {"RunTask": self._run, "DescribeTasks": self._describe, "StopTask": self._stop}[operation](
                request
            )

    def _run(self, request: dict[str, Any]) -> Answer:
        token = request["clientToken"]
        known = next((task for task in self.tasks if task.request["clientToken"] == token), None)
        if known is not None and known.request != request:
            conflict = {"resourceIds": [known.arn]}
            return Answer(status=400, error="ConflictException", body=conflict, message="token in use")
        if known is None:
            arn = f"{_ACCOUNT}:task/{CLUSTER}/{uuid.uuid4().hex}"
            known = Task(arn=arn, request=request)
            known.process = self.launch() if self.launch else None
            self.tasks.append(known)
        return Answer(body={"tasks": [known.document], "failures": []})

    def _describe(self, request: dict[str, Any]) -> Answer:
        found = [task.document for task in self.tasks if task.arn in request["tasks"]]
        missing = [arn for arn in request["tasks"] if arn not in [task["taskArn"] for task in found]]
        failures = [{"arn": arn, "reason": "MISSING"} for arn in missing]
        return Answer(body={"tasks": found, "failures": failures})

    def _stop(self, request: dict[str, Any]) -> Answer:
        (task,) = [task for task in self.tasks if task.arn == request["task"]]
        task.asked_to_stop = request.get("reason")
        if task.process is None:
            task.stop("UserInitiated", task.asked_to_stop, exit_code=143)
        elif task.process.exit_code is None:
            task.process.signal(signal.SIGTERM)
        return Answer(body={"task": task.document})


class _Handler(BaseHTTPRequestHandler):
    server: SmallEcs

    def do_POST(self) -> None:
        service, _, operation = self.headers["X-Amz-Target"].partition(".")
        assert service == "AmazonEC2ContainerServiceV20141113"
        assert self.headers["Content-Type"] == "application/x-amz-json-1.1"
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls.append((operation, request))
        scripted = self.server.answers.get(operation)
        answer = scripted.pop(0) if scripted else Answer()
        if answer.fault == "hang":
            self.server.released.wait(60)
        if answer.body is None and answer.error is None and answer.fault in {None, "lost", "stuck"}:
            carried_out = self.server.carry_out(operation, request)
            if answer.fault == "stuck":
                self.server.released.wait(60)
            answer = answer if answer.fault else carried_out
        if answer.fault is not None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        self._say(operation, answer)

    def _say(self, operation: str, answer: Answer) -> None:
        body = answer.body or {}
        if answer.error is None:
            shape = _MODEL.operation_model(operation).output_shape
            problems = ParamValidator().validate(body, shape)
            assert not problems.has_errors(), problems.generate_report()
        else:
            body = {"__type": answer.error, "message": answer.message, **body}
        content = json.dumps(body).encode()
        with suppress(ConnectionError):  # whoever asked has been killed
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("x-amzn-RequestId", uuid.uuid4().hex)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def finish(self) -> None:
        if not self.connection._closed:
            super().finish()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


@contextmanager
def pointing_to(url: str) -> Iterator[None]:
    """boto3 finds the server by the environment, as in production; so do the processes that are started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        yield


@contextmanager
def small_ecs() -> Iterator[SmallEcs]:
    """Until the end of the block; whoever hangs is let go then, and what was started is killed."""
    with serving(SmallEcs()) as server, pointing_to(server.url):
        try:
            yield server
        finally:
            server.released.set()
            for task in server.tasks:
                if task.process is not None:
                    task.process.kill()


@dataclass(frozen=True, kw_only=True)
class TestCluster:
    """A cluster on moto's server, and what a definition for Fargate needs there."""

    __test__ = False

    name: str
    subnet: str
    security_group: str
    client: Any

    def define(self, family: str, **changes: Any) -> str:  # noqa: ANN401 - of RegisterTaskDefinition
        """Register a definition that runs a worker in the container `worker`; its name and revision."""
        container = {
            "name": CONTAINER,
            "image": "redistill",
            "cpu": 256,
            "memory": 512,
            "command": ["redistill", "worker", "--once"],
            **changes.pop("container", {}),
        }
        usual = {
            "family": family,
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "cpu": "256",
            "memory": "512",
        }
        asked = {**usual, **changes, "containerDefinitions": [container]}
        found = self.client.register_task_definition(**asked)["taskDefinition"]
        return f"{found['family']}:{found['revision']}"


@contextmanager
def moto_cluster(url: str) -> Iterator[TestCluster]:
    """An ACTIVE cluster of its own on the server at `url`."""
    with pointing_to(url):
        ec2, client = boto3.client("ec2"), boto3.client("ecs")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})  # moto's tasks have a name
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName=uuid.uuid4().hex, Description="x", VpcId=vpc)["GroupId"]
        name = f"cluster-{uuid.uuid4().hex[:8]}"
        client.create_cluster(clusterName=name)
        yield TestCluster(name=name, subnet=subnet, security_group=group, client=client)
