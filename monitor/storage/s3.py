"""The S3 client: its limits, and how bodies are fetched."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError

from triggers.aws import new_client

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


class BrokenBodyError(Exception):
    """A body that is not the one that S3 announced."""


def client() -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
    """Return a client. Raises BotoCoreError: see `new_client`."""
    return new_client("s3", _CONFIG)


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


def split(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of a URI.

    Example:
        >>> split("s3://bucket/a/b")
        ('bucket', 'a/b')
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
