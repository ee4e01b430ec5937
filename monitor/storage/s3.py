"""The S3 client: which errors are transient, and how long to retry."""

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

T = TypeVar("T")

BODY_ATTEMPTS: Final = 4  #: a body that breaks off or stalls is not resumed, but requested again
#: A server that accepts a request and sends nothing is abandoned within two minutes, one that cannot be
#: connected to within one. A throttled request is sent at most five times, within at most a minute.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 5},  # with growing pauses
    connect_timeout=5,
    read_timeout=15,  # until the first byte, and between any two bytes
    user_agent_extra="redistill",
)
#: The error codes of S3 that are transient, besides the statuses 500 and above.
_TRANSIENT_CODES: Final = frozenset(
    {"ExpiredToken", "RequestTimeTooSkewed", "RequestTimeout", "SlowDown", "Throttling", "TooManyRequests"}
)


class BrokenBodyError(Exception):
    """A body that is not the one that S3 announced."""


def client() -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
    """Return a client with the credentials, region and endpoint that boto3 finds in the environment."""
    return boto3.client("s3", config=_CONFIG)


def fetch_whole(ask: Callable[[], Any], take: Callable[[Any], T]) -> T:
    """Request an object with `ask`, and read its body with `take`; if the body breaks off, request it again.

    An error of the request itself is final, because boto3 has retried it.

    Raises:
        ClientError, BotoCoreError, OSError, BrokenBodyError: no whole body arrived. Also any error of `take`.
    """
    for _ in range(BODY_ATTEMPTS - 1):
        answer = ask()
        with suppress(BotoCoreError, OSError, BrokenBodyError):
            return take(answer)
    return take(ask())


def is_transient(error: Exception) -> bool:
    """Return whether an error of boto3 may pass soon.

    Such errors are a missing answer, throttling, an error of S3 itself, a wrong clock, and credentials that
    are about to be renewed.
    """
    if not isinstance(error, ClientError):
        return True
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.response["Error"]["Code"] in _TRANSIENT_CODES


def split(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of a URI.

    Example:
        >>> split("s3://bucket/a/b")
        ('bucket', 'a/b')
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
