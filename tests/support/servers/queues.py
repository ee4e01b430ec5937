"""A FIFO queue with a queue for its dead letters, on a local server, over the wire."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest


@dataclass(frozen=True, kw_only=True)
class TestQueue:
    """An empty queue; `client` is what anybody with the right to send would use."""

    __test__ = False

    url: str
    dead_url: str
    client: Any

    def send(self, body: str, *, group: str = "forger") -> None:
        self.client.send_message(
            QueueUrl=self.url,
            MessageBody=body,
            MessageGroupId=group,
            MessageDeduplicationId=uuid.uuid4().hex,
        )

    def counts(self) -> tuple[int, int]:
        """How many messages wait, and how many are hidden."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = self.client.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])

    def messages(self, url: str | None = None) -> list[dict[str, Any]]:
        """Those that wait, with their attributes; they are hidden for a second afterwards."""
        found: list[dict[str, Any]] = self.client.receive_message(
            QueueUrl=url or self.url,
            MaxNumberOfMessages=10,
            MessageSystemAttributeNames=["All"],
            VisibilityTimeout=1,
        ).get("Messages", [])
        return found


@contextmanager
def fifo_queue(url: str, *, visibility_seconds: int = 30, receives: int = 5) -> Iterator[TestQueue]:
    """A queue on the server at `url`; boto3 finds it by the environment, as in production."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        client = boto3.client("sqs")
        name = uuid.uuid4().hex
        dead = client.create_queue(QueueName=f"{name}-dead.fifo", Attributes={"FifoQueue": "true"})
        arn = client.get_queue_attributes(QueueUrl=dead["QueueUrl"], AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": receives}
        made = client.create_queue(
            QueueName=f"{name}.fifo",
            Attributes={
                "FifoQueue": "true",
                "VisibilityTimeout": str(visibility_seconds),
                "RedrivePolicy": json.dumps(policy),
            },
        )
        yield TestQueue(url=made["QueueUrl"], dead_url=dead["QueueUrl"], client=client)
