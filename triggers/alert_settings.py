"""Who is told of incidents, how, and of which."""

import re
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from db.states import IncidentKind, Severity
from triggers.settings import Section

HTTP_URL: Final = r"^https?://[^/?#]"

_KEY = re.compile(r"[0-9A-Za-z]{32}")
_ONE_WORD = re.compile(r"[!-~]+")


def _one_word(value: SecretStr) -> SecretStr:
    if not _ONE_WORD.fullmatch(value.get_secret_value()):
        raise ValueError("expected ASCII letters, digits and signs; is there a blank or a line break in it?")
    return value


def _secret_url(value: SecretStr) -> SecretStr:
    if not re.match(HTTP_URL, value.get_secret_value()):
        raise ValueError("expected 'https://…' or 'http://…'")
    return _one_word(value)


def _routing_key(value: SecretStr) -> SecretStr:
    if not _KEY.fullmatch(value.get_secret_value()):
        raise ValueError("expected the 32 letters and digits of an Events API v2 integration's key")
    return value


#: An address whose path or query lets in whoever knows it.
SecretUrl = Annotated[SecretStr, AfterValidator(_secret_url)]
#: What stands in a header.
Token = Annotated[SecretStr, AfterValidator(_one_word)]
#: Of a service's API; not a secret.
Endpoint = Annotated[str, Field(pattern=HTTP_URL)]
#: Of each wait for the network; a message that is being sent is hidden from other senders for 2 minutes.
Timeout = Annotated[float, Field(gt=0, le=30)]


def host_of(url: SecretStr) -> str:
    """What of an address may be shown."""
    return urlsplit(url.get_secret_value()).hostname or "?"


class AlertSection(Section):
    """Of which incidents a channel hears."""

    name: Annotated[str, Field(min_length=1)]
    severities: tuple[Severity, ...] = tuple(Severity)
    kinds: tuple[IncidentKind, ...] = tuple(IncidentKind)
    except_kinds: tuple[IncidentKind, ...] = ()  #: wins over `kinds`

    def hears(self, kind: IncidentKind, severity: Severity) -> bool:
        """Whether it is told of an incident of that kind, as loud as that."""
        return severity in self.severities and kind in self.kinds and kind not in self.except_kinds

    @property
    def place(self) -> str:
        """Where its messages go, without anything secret."""
        return "this process's log"


class LogAlert(AlertSection):
    """Incidents as log lines."""

    kind: Literal["log"] = "log"
    name: str = "log"


class WebhookAlert(AlertSection):
    """Incidents as signed JSON, by HTTP POST."""

    kind: Literal["webhook"]
    name: str = "webhook"
    url: SecretUrl
    secret: SecretStr
    timeout_seconds: Timeout = 10.0

    @property
    def place(self) -> str:
        """The receiver's host."""
        return host_of(self.url)


class PagerDutyAlert(AlertSection):
    """Incidents as events of PagerDuty's Events API v2."""

    kind: Literal["pagerduty"]
    name: str = "pagerduty"
    routing_key: Annotated[SecretStr, AfterValidator(_routing_key)]
    endpoint: Endpoint = "https://events.pagerduty.com"
    timeout_seconds: Timeout = 10.0

    @property
    def place(self) -> str:
        """The API's host."""
        return host_of(SecretStr(self.endpoint))


class SlackAlert(AlertSection):
    """Incidents as Slack messages: by an incoming webhook, or, a thread for each, by a bot."""

    kind: Literal["slack"]
    name: str = "slack"
    url: SecretUrl | None = None  #: of an incoming webhook
    token: Token | None = None  #: a bot's, for `channel`
    channel: Annotated[str, Field(min_length=1)] | None = None
    endpoint: Endpoint = "https://slack.com/api"
    timeout_seconds: Timeout = 10.0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        by_bot = (self.token is not None, self.channel is not None)
        if by_bot not in {(True, True), (False, False)} or all(by_bot) == (self.url is not None):
            raise ValueError("it needs either 'url' (an incoming webhook) or both 'token' and 'channel'")
        return self

    @property
    def place(self) -> str:
        """The host, and the channel where the configuration knows it."""
        if self.url is not None:
            return f"{host_of(self.url)}, by an incoming webhook"
        return f"{self.channel} by a bot at {host_of(SecretStr(self.endpoint))}, a thread for each incident"


class SnsAlert(AlertSection):
    """Incidents as messages of an SNS topic; credentials are those that boto3 finds."""

    kind: Literal["sns"]
    name: str = "sns"
    topic: Annotated[
        str, Field(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,251}(\.fifo)?$")
    ]
    timeout_seconds: Timeout = 10.0

    @property
    def is_fifo(self) -> bool:
        """Whether the topic keeps messages in order and drops those that it has seen."""
        return self.topic.endswith(".fifo")

    @property
    def region(self) -> str:
        """The topic's."""
        return self.topic.split(":")[3]

    @property
    def place(self) -> str:
        """The topic."""
        return self.topic


Alert = Annotated[
    LogAlert | WebhookAlert | PagerDutyAlert | SlackAlert | SnsAlert, Field(discriminator="kind")
]
