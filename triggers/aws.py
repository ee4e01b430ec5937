"""Clients of AWS services: their creation, which errors may pass, and what to do about the others."""

import threading
from collections.abc import Mapping
from contextlib import nullcontext
from http import HTTPStatus
from typing import Any, Final

import boto3
from botocore import exceptions as faults
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from db.errors import one_line

#: The errors of calls. A `ClientError` is the service's own response, after all retries.
FAULTS: Final = (ClientError, BotoCoreError, OSError)

#: The errors of connections, and of the services that give credentials, which may pass.
_CONNECTION: Final = (
    OSError,
    faults.HTTPClientError,
    faults.ConnectionError,
    faults.IncompleteReadError,
    faults.ChecksumError,
    faults.FlexibleChecksumError,
    faults.CredentialRetrievalError,
    faults.MetadataRetrievalError,
    faults.TokenRetrievalError,
)
#: The codes of responses that may pass, besides the statuses 429, 500 and above and all that throttle.
_PASSING: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestLimitExceeded",
        "RequestTimeTooSkewed",
        "RequestTimeout",
        "SlowDown",
        "TooManyRequests",
        "TooManyRequestsException",
    }
)
_THROTTLED: Final = "thrott"
#: The refusals of a signature because this machine's clock is wrong, which may pass.
#: Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
_UNTIMELY: Final = ("Signature expired", "Signature not yet current")

_ADVICE: Final[Mapping[type[Exception], str]] = {
    faults.NoCredentialsError: "give this process a role, or set keys in the environment",
    faults.PartialCredentialsError: "set what is missing, or remove the rest",
    faults.ProfileNotFound: "correct AWS_PROFILE, or add the profile to the AWS configuration",
    faults.NoRegionError: "set AWS_DEFAULT_REGION",
    faults.InvalidRegionError: "correct AWS_DEFAULT_REGION",
    faults.InvalidEndpointConfigurationError: "correct AWS_ENDPOINT_URL",
    faults.EndpointConnectionError: "check the network, and AWS_DEFAULT_REGION",
    faults.ParamValidationError: "correct the location in the configuration",
}

_creating = threading.Lock()


def new_client(
    service: str, config: Config, *, session: boto3.Session | None = None, region: str | None = None
) -> Any:  # noqa: ANN401 - boto3 creates its classes at run time
    """Return a client with the credentials, region and endpoint that boto3 finds in the environment.

    Raises:
        BotoCoreError: there are no credentials, which a client never finds later, or no region, or a setting
            is invalid.
    """
    with nullcontext() if session else _creating:  # the default one is not safe for several threads
        if session is None:
            if boto3.DEFAULT_SESSION is None:
                boto3.setup_default_session()
            session = boto3.DEFAULT_SESSION
        try:
            made = session.client(service, region_name=region, config=config)
        except ValueError as error:
            if isinstance(error, BotoCoreError):
                raise
            raise faults.InvalidEndpointConfigurationError(msg=error) from error
        if session.get_credentials() is None:
            raise faults.NoCredentialsError
    return made


def is_transient(error: Exception) -> bool:
    """Return whether an error of boto3 may pass soon.

    Such errors are a missing answer, throttling, an error of the service itself, a wrong clock, and
    credentials that are about to be renewed. All others need a person.
    """
    if not isinstance(error, ClientError):
        return isinstance(error, _CONNECTION)
    answer = error.response
    code, said = (str(answer.get("Error", {}).get(name, "")) for name in ("Code", "Message"))
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    is_of_service = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS
    is_throttled = code in _PASSING or _THROTTLED in code.lower()
    return is_of_service or is_throttled or said.startswith(_UNTIMELY)


def explained(error: Exception) -> str:
    """Return the error in one line, and what to do about it if it says nothing of that."""
    kind = next((each for each in type(error).__mro__ if each in _ADVICE), None)
    text = one_line(error)
    return text if kind is None else f"{text.removesuffix('.')}; {_ADVICE[kind]}"
