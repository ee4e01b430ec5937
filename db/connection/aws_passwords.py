"""Passwords from AWS: secrets of Secrets Manager, and the tokens of RDS."""

import json
import re
import threading
from typing import Any, Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from sqlalchemy import URL

from db.connection.passwords import Passwords, UnreadableError
from db.errors import RedistillError, one_line

_CONFIG: Final = Config(
    retries={"mode": "standard", "total_max_attempts": 2},
    connect_timeout=3,
    read_timeout=8,
    user_agent_extra="redistill",
)
_RDS_HOST: Final = re.compile(r"\.([a-z0-9-]+)\.rds\.amazonaws\.com(?:\.cn)?$")
_PORT: Final = 5432


class IamAddressError(RedistillError):
    """[database] auth = 'iam' needs {missing}: add it to [database] url."""

    exit_code = 2


def in_secret(shown: str, arn: str) -> Passwords:
    """Return the password in a secret: its whole text, or "password" of a JSON object, as RDS writes it.

    A line feed at the end of the text is ignored.
    """
    clients = _Clients("secretsmanager", arn.split(":")[3])

    def read() -> str:
        try:
            found = clients.new().get_secret_value(SecretId=arn)
        except (ClientError, BotoCoreError, ValueError) as error:  # ValueError: a bad endpoint
            raise UnreadableError(one_line(error)) from error
        return _password_in(found.get("SecretString"))

    fix = (
        "check that the secret holds the user's current password, and that this process may call "
        "secretsmanager:GetSecretValue; no restart is needed"
    )
    return Passwords(shown, place=f"[database] password_secret, {arn}", fix=fix, read=read, kept=True)


def _password_in(text: str | None) -> str:
    if text is None:
        raise UnreadableError("it has no text")
    line = text.removesuffix("\n").removesuffix("\r")
    if not line:
        raise UnreadableError("it is empty")
    try:
        document = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return line
    if not isinstance(document, dict):
        return line  # a password of digits, for example, is also JSON
    found = document.get("password")
    if not isinstance(found, str) or not found:
        raise UnreadableError("it is JSON without a text 'password'")
    return found


def rds_tokens(shown: str, url: URL) -> Passwords:
    """Return tokens for the URL's user, which serve as passwords for 15 minutes; a new one per connection.

    They are signed here with the AWS credentials of this process. The region is that of an RDS host name, and
    for any other name that of the environment.

    Raises:
        IamAddressError: the URL names no user or no host.
    """
    host, user, port = url.host, url.username, url.port or _PORT
    if not host or not user:
        raise IamAddressError(missing="a host" if user else "a user")
    found = _RDS_HOST.search(host)
    clients = _Clients("rds", found[1] if found else None)

    def read() -> str:
        try:
            token: str = clients.new().generate_db_auth_token(DBHostname=host, Port=port, DBUsername=user)
        except (ClientError, BotoCoreError, ValueError) as error:  # ValueError: a bad endpoint
            raise UnreadableError(one_line(error)) from error
        return token

    fix = (
        f"grant rds_iam to the role {user}, and let the AWS identity of this process call rds-db:connect as "
        "that user, with a region and credentials that boto3 finds"
    )
    return Passwords(shown, place=f"an RDS token for {user} at {host}:{port}", fix=fix, read=read)


class _Clients:
    """The clients of one service: a new one each time, as one without credentials would never find any."""

    def __init__(self, service: str, region: str | None) -> None:
        self._service = service
        self._region = region
        self._lock = threading.Lock()
        self._session: boto3.Session | None = None

    def new(self) -> Any:  # noqa: ANN401 - boto3 makes its classes as it runs
        with self._lock:
            if self._session is None:
                self._session = boto3.Session()
            return self._session.client(self._service, region_name=self._region, config=_CONFIG)
