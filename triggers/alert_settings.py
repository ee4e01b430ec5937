"""The configuration of the channels that notify people of incidents."""

import re
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from db.states import IncidentKind, Severity
from triggers.settings import Section
from triggers.values import Name, Secret

HTTP_URL: Final = r"^https?://[^/?#]"

_KEY = re.compile(r"[0-9A-Za-z]{32}")
_ONE_WORD = re.compile(r"[!-~]+")


def _one_word(value: SecretStr) -> SecretStr:
    if not _ONE_WORD.fullmatch(value.get_secret_value()):
        raise ValueError("expected printable ASCII characters only: remove blanks and line breaks")
    return value


def _secret_url(value: SecretStr) -> SecretStr:
    if not re.match(HTTP_URL, value.get_secret_value()):
        raise ValueError("expected 'https://…' or 'http://…'")
    return _one_word(value)


def _routing_key(value: SecretStr) -> SecretStr:
    if not _KEY.fullmatch(value.get_secret_value()):
        raise ValueError("expected the key of an Events API v2 integration: 32 letters and digits")
    return value


#: A URL whose path or query grants access.
SecretUrl = Annotated[Secret, AfterValidator(_secret_url)]
#: A secret that is sent in a header.
Token = Annotated[Secret, AfterValidator(_one_word)]
#: The URL of a service's API; not a secret.
Endpoint = Annotated[str, Field(pattern=HTTP_URL)]
#: Seconds for a whole call by HTTP, and for each wait of SNS; a message in flight is hidden from others for 2
#: minutes.
Timeout = Annotated[float, Field(gt=0, le=30)]


def host_of(url: SecretStr) -> str:
    """Return the part of a URL that may be shown."""
    return urlsplit(url.get_secret_value()).hostname or "?"


class AlertSection(Section):
    """The incidents that a channel receives."""

    name: Name
    severities: tuple[Severity, ...] = tuple(Severity)
    kinds: tuple[IncidentKind, ...] = tuple(IncidentKind)
    except_kinds: tuple[IncidentKind, ...] = ()  #: takes precedence over `kinds`

    def hears(self, kind: IncidentKind, severity: Severity) -> bool:
        """Return whether the channel receives incidents of that kind and severity."""
        return severity in self.severities and kind in self.kinds and kind not in self.except_kinds

    @property
    def place(self) -> str:
        """The destination of the messages, without secrets."""
        return "this process's log"


class LogAlert(AlertSection):
    """Incidents as log lines."""

    kind: Literal["log"] = "log"
    name: Name = "log"


class WebhookAlert(AlertSection):
    """Incidents as signed JSON, by HTTP POST."""

    kind: Literal["webhook"]
    name: Name = "webhook"
    url: SecretUrl
    secret: Secret
    timeout_seconds: Timeout = 10.0

    @property
    def place(self) -> str:
        """The receiver's host."""
        return host_of(self.url)


class PagerDutyAlert(AlertSection):
    """Incidents as events of PagerDuty's Events API v2."""

    kind: Literal["pagerduty"]
    name: Name = "pagerduty"
    routing_key: Annotated[Secret, AfterValidator(_routing_key)]
    endpoint: Endpoint = "https://events.pagerduty.com"
    timeout_seconds: Timeout = 10.0

    @property
    def place(self) -> str:
        """The API's host."""
        return host_of(SecretStr(self.endpoint))


class SlackAlert(AlertSection):
    """Incidents as Slack messages: by an incoming webhook, or by a bot in one thread per incident."""

    kind: Literal["slack"]
    name: Name = "slack"
    url: SecretUrl | None = None  #: the URL of an incoming webhook
    token: Token | None = None  #: the token of a bot that posts to `channel`
    channel: Annotated[str, Field(min_length=1)] | None = None
    endpoint: Endpoint = "https://slack.com/api"
    timeout_seconds: Timeout = 10.0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        by_bot = (self.token is not None, self.channel is not None)
        if by_bot not in {(True, True), (False, False)} or all(by_bot) == (self.url is not None):
            raise ValueError("set either 'url' (an incoming webhook) or both 'token' and 'channel'")
        return self

    @property
    def place(self) -> str:
        """The host, and the channel if a bot posts to it."""
        if self.url is not None:
            return f"{host_of(self.url)}, by an incoming webhook"
        return f"{self.channel}, by a bot at {host_of(SecretStr(self.endpoint))}, one thread per incident"


class SnsAlert(AlertSection):
    """Incidents as messages to an SNS topic, with the credentials that boto3 finds."""

    kind: Literal["sns"]
    name: Name = "sns"
    topic: Annotated[
        str, Field(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,251}(\.fifo)?$")
    ]
    timeout_seconds: Timeout = 10.0

    @property
    def is_fifo(self) -> bool:
        """Return whether the topic keeps messages in order and drops duplicates."""
        return self.topic.endswith(".fifo")

    @property
    def region(self) -> str:
        """The region of the topic."""
        return self.topic.split(":")[3]

    @property
    def place(self) -> str:
        """The ARN of the topic."""
        return self.topic


Alert = Annotated[
    LogAlert | WebhookAlert | PagerDutyAlert | SlackAlert | SnsAlert, Field(discriminator="kind")
]
