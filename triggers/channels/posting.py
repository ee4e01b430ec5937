"""One HTTP POST, and whether its answer allows a retry; no error shows a secret."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import httpx

from db.outbox import LONGEST_WAIT
from triggers.channels.guard import Deadline
from triggers.channels.port import Receipt, SendResult
from triggers.channels.proxies import proxy_variable, unusable_variables
from triggers.channels.text import printable, shortened

#: A longer wait that a receiver asks for is cut to this.
_LONGEST_WAIT_SECONDS: Final = LONGEST_WAIT.total_seconds()
_RETRY: Final = {
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,  # of a proxy, not of the receiver
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}
_READ_BYTES: Final = 16_384  #: of an answer; the rest is not read
_ERROR_LENGTH: Final = 300
_TELLING_LENGTH: Final = 12  #: a shorter part of a URL is a word, not a secret


@dataclass(frozen=True, kw_only=True)
class Post:
    """A request, and the parts of it that must not be shown."""

    url: str
    content: bytes
    headers: Mapping[str, str]
    timeout_seconds: float
    secrets: tuple[str, ...] = ()
    is_url_secret: bool = False

    @property
    def hidden(self) -> tuple[str, ...]:
        """The strings that no error may show, the longest first: a whole is masked before its parts."""
        parts = urlsplit(self.url if self.is_url_secret else "")
        telling = {self.url, f"{parts.path}?{parts.query}", parts.path, parts.query, *parts.path.split("/")}
        long = {each for each in telling if len(each) >= _TELLING_LENGTH} if self.is_url_secret else set()
        return tuple(sorted({*self.secrets, parts.password or "", *long} - {""}, key=len, reverse=True))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer to a request."""

    receipt: Receipt
    body: str = ""  #: the beginning of the body; empty if it was not read or broke off


#: The function that finds the reason of a refusal in its body; empty if there is none for people.
Reason = Callable[[str], str]


def post(message: Post, *, now: datetime, reason: Reason | None = None, reads: bool = False) -> Answer:
    """Send the request: 2xx is delivered; 407, 408, 425, 429, 5xx and every fault on the way can be retried.

    Everything else is refused, including redirects, which are not followed. The answer's body is read if
    `reads`, and for a failure if there is a `reason`. The whole call takes at most `timeout_seconds`.
    """
    try:
        client = httpx.Client(timeout=message.timeout_seconds, follow_redirects=False)
    except Exception as error:  # noqa: BLE001 - what the library raises for the environment is not documented
        fix = f"the environment of this process is not usable, correct {unusable_variables()}"
        return _failed(f"{type(error).__name__}: {error}: {fix}", message)
    with client, Deadline(message.timeout_seconds) as deadline:
        try:
            return _answer(client, deadline, message, now=now, reason=reason, reads=reads)
        except (httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: IDNA refuses the host name
            refused = f"not a usable URL ({type(error).__name__})"
            return Answer(receipt=Receipt(result=SendResult.REFUSED, error=refused))
        except Exception as error:  # noqa: BLE001 - nothing may leave the message without a result
            late = f"TimeoutError: no whole answer within {message.timeout_seconds:g} s"
            found = late if deadline.has_passed else f"{type(error).__name__}: {error}"
            return _failed(f"{found}{_by_proxy(message.url)}", message)


def _answer(
    client: httpx.Client,
    deadline: Deadline,
    message: Post,
    *,
    now: datetime,
    reason: Reason | None,
    reads: bool,
) -> Answer:
    with client.stream(
        "POST",
        message.url,
        content=message.content,
        headers={"User-Agent": "redistill", "Accept-Encoding": "identity", **message.headers},
        extensions={"trace": deadline.trace},
    ) as response:
        body = _beginning(response) if reads or (reason and not response.is_success) else ""
        return Answer(receipt=_receipt(response, reason(body) if reason else "", message, now), body=body)


def _failed(error: str, message: Post) -> Answer:
    return Answer(receipt=Receipt(result=SendResult.RETRY, error=masked(error, message.hidden)))


def _by_proxy(url: str) -> str:
    """Return the proxy of a request as part of its error: the fault may be there."""
    variable = proxy_variable(url)
    fix = "correct that, or add the host to NO_PROXY"
    return f" (through the proxy in {variable}: {fix})" if variable else ""


def masked(text: str, hidden: tuple[str, ...]) -> str:
    """Return the beginning of the text in one short line, with the hidden strings masked."""
    text = text[:_READ_BYTES]
    for secret in hidden:
        text = text.replace(secret, "***")
    return shortened(printable(text), _ERROR_LENGTH)


def _beginning(response: httpx.Response) -> str:
    content = b""
    try:
        for chunk in response.iter_raw():
            content += chunk
            if len(content) >= _READ_BYTES:
                break
    except httpx.RequestError:
        return ""
    return content[:_READ_BYTES].decode(errors="replace")


def _receipt(response: httpx.Response, reason: str, message: Post, now: datetime) -> Receipt:
    if response.is_success:
        return Receipt(result=SendResult.DELIVERED)
    error = f"HTTP {response.status_code} {response.reason_phrase}".strip()
    if response.has_redirect_location:
        error = f"{error} to {_where(response)}: redirects are not followed, fix the URL"
    if response.status_code == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        error += _by_proxy(message.url)
    error = masked(f"{error}: {reason}" if reason else error, message.hidden)
    if response.is_server_error or response.status_code in _RETRY:
        wait = _retry_after_seconds(response.headers.get("Retry-After", ""), now)
        return Receipt(result=SendResult.RETRY, error=error, retry_after_seconds=wait)
    return Receipt(result=SendResult.REFUSED, error=error)


def _where(response: httpx.Response) -> str:
    """Return the redirect's host, without a path that may be as secret as the original one."""
    try:
        return urlsplit(response.headers["Location"]).hostname or "another path"
    except ValueError:
        return "nowhere"


def _retry_after_seconds(header: str, now: datetime) -> float | None:
    """Return the wait of a Retry-After header, in [0, 3,600] s; None if absent or unreadable."""
    if header.isascii() and header.isdigit():
        return min(float(header), _LONGEST_WAIT_SECONDS)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), _LONGEST_WAIT_SECONDS)
