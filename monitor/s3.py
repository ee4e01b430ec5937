"""How S3 is spoken to, and what goes wrong with it."""

from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

#: What its calls raise; a `ClientError` is S3's own answer, after all retries.
FAULTS = (ClientError, BotoCoreError, OSError)
BODY_ATTEMPTS = 4  #: a body that breaks off is not resumed, but asked for again
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 5},  # waits in between, longer each time
    connect_timeout=10,
    read_timeout=60,
    user_agent_extra="redistill",
)


def client() -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
    """A client, with credentials, region and endpoint from the environment, as boto3 finds them."""
    return boto3.client("s3", config=_CONFIG)


def split(uri: str) -> tuple[str, str]:
    """Bucket and key.

    Example:
        >>> split("s3://bucket/a/b")
        ('bucket', 'a/b')
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
