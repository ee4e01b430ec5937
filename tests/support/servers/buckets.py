"""An S3 server in this process, and buckets on it, over the wire."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer


@dataclass(frozen=True, kw_only=True)
class TestBucket:
    """An empty bucket; `client` is what its writer would use."""

    __test__ = False

    name: str
    client: Any

    def put(self, key: str, body: bytes) -> str:
        """Write an object; returns its ETag."""
        return str(self.client.put_object(Bucket=self.name, Key=key, Body=body)["ETag"].strip('"'))


@contextmanager
def serving() -> Iterator[str]:
    """The server's URL."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def empty_bucket(url: str) -> Iterator[TestBucket]:
    """A bucket; boto3 finds its server by the environment, as in production."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        client = boto3.client("s3")
        name = f"log-{uuid.uuid4().hex}"
        client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        yield TestBucket(name=name, client=client)
