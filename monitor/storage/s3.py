"""How S3 is spoken to, what goes wrong with it, and for how long that is borne."""

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

T = TypeVar("T")

BODY_ATTEMPTS: Final = 4  #: a body that breaks off or stalls is not resumed, but asked for again
#: A server that takes a request and says nothing is left after less than two minutes, one that cannot be
#: connected to after one; what throttles is asked five times within a minute at most.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 5},  # waits in between, longer each time
    connect_timeout=5,
    read_timeout=15,  # until the first byte, and between any two
    user_agent_extra="redistill",
)
#: S3's own answers that may be another one soon, beside those of 500 and above.
_TRANSIENT_CODES: Final = frozenset(
    {"ExpiredToken", "RequestTimeTooSkewed", "RequestTimeout", "SlowDown", "Throttling", "TooManyRequests"}
)


class BrokenBodyError(Exception):
    """What came is not what was promised."""


def client() -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
    """A client, with credentials, region and endpoint from the environment, as boto3 finds them."""
    return boto3.client("s3", config=_CONFIG)


def fetch_whole(ask: Callable[[], Any], take: Callable[[Any], T]) -> T:
    """Ask for an object, and take its body; where that breaks off, ask for it anew.

    That asking itself fails is final: it was tried again already.

    Raises:
        ClientError, BotoCoreError, OSError, BrokenBodyError: there was no whole one; and what `take` raises.
    """
    for _ in range(BODY_ATTEMPTS - 1):
        answer = ask()
        with suppress(BotoCoreError, OSError, BrokenBodyError):
            return take(answer)
    return take(ask())


def is_transient(error: Exception) -> bool:
    """Whether a fault of boto3's may be over soon: no answer, throttling, a fault of S3's own, a clock that
    is wrong, credentials that are about to be renewed.
    """
    if not isinstance(error, ClientError):
        return True
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR or error.response["Error"]["Code"] in _TRANSIENT_CODES


def split(uri: str) -> tuple[str, str]:
    """Bucket and key.

    Example:
        >>> split("s3://bucket/a/b")
        ('bucket', 'a/b')
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
