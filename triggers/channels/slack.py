"""Incidents as Slack messages in Block Kit, by an incoming webhook or by a bot.

Sources: https://docs.slack.dev/reference/block-kit/blocks and
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
https://docs.slack.dev/reference/methods/chat.postMessage
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

import orjson

from db.records import Delivery
from triggers.alert_settings import SlackAlert
from triggers.channels.port import Receipt, SendResult
from triggers.channels.posting import Post, post
from triggers.channels.text import IncidentView, shortened, units, view_of, written

_HEADER_LENGTH: Final = 150
_SECTION_LENGTH: Final = 3_000
_TEXT_LENGTH: Final = 4_000
_ADDRESS_LENGTH: Final = 2_000
_ESCAPED: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_IN_LINK: Final = {"|": "%7C", "<": "%3C", ">": "%3E", " ": "%20"}
#: The API's errors that may pass.
_PASSING: Final = frozenset(
    {"fatal_error", "internal_error", "ratelimited", "rate_limited", "request_timeout", "service_unavailable"}
)
_CODE = re.compile(r"[a-z][a-z0-9_]{1,60}")


@dataclass(frozen=True, kw_only=True)
class SlackChannel:
    """A channel to Slack, at most one message per second; a bot replies in the thread of an incident.

    Slack has no deduplication key: a message that was sent twice is shown twice.
    """

    pause_seconds: ClassVar[float] = 1.0

    settings: SlackAlert

    def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
        """Send the message; see `posting.post` for the failures that are retried."""
        message = view_of(delivery.payload)
        if self.settings.url is not None:
            to_webhook = self._to_webhook(self.settings.url.get_secret_value(), message)
            return post(to_webhook, now=now, reason=_code).receipt
        answer = post(self._to_api(message, delivery.thread), now=now, reason=_code, reads=True)
        return _of_api(answer.body) if answer.receipt.result is SendResult.DELIVERED else answer.receipt

    def _to_webhook(self, url: str, message: IncidentView) -> Post:
        return Post(
            url=url,
            content=orjson.dumps(content(message)),
            headers={"Content-Type": "application/json; charset=utf-8"},
            timeout_seconds=self.settings.timeout_seconds,
            is_url_secret=True,
        )

    def _to_api(self, message: IncidentView, thread: str | None) -> Post:
        token = self.settings.token.get_secret_value() if self.settings.token else ""
        where = {"channel": self.settings.channel, **({"thread_ts": thread} if thread else {})}
        return Post(
            url=f"{self.settings.endpoint.rstrip('/')}/chat.postMessage",
            content=orjson.dumps({**where, "unfurl_links": False, **content(message)}),
            headers={"Content-Type": "application/json; charset=utf-8", "Authorization": f"Bearer {token}"},
            timeout_seconds=self.settings.timeout_seconds,
            secrets=(token,),
        )


def content(message: IncidentView) -> dict[str, Any]:
    """Return the message in Block Kit, and as text for places without blocks, such as notifications."""
    return {"text": escaped(written(message), _TEXT_LENGTH), "blocks": list(_blocks(message))}


def escaped(text: str, limit: int) -> str:
    """Return the text without Slack's mentions and links, cut to at most `limit` UTF-16 units.

    Example:
        >>> escaped("a < b & <!channel>", 100)
        'a &lt; b &amp; &lt;!channel&gt;'
    """
    return shortened([_ESCAPED.get(each, each) for each in text], limit)


def _blocks(message: IncidentView) -> Iterator[dict[str, Any]]:
    title = {"type": "plain_text", "text": shortened(message.title, _HEADER_LENGTH), "emoji": False}
    yield {"type": "header", "text": title}
    yield _section(escaped(message.summary, _SECTION_LENGTH) or "-")
    for fact in message.facts:
        name = f"*{fact.name}*\n"
        yield _section(name + escaped("\n".join(fact.lines), _SECTION_LENGTH - len(name)))
    links = " · ".join(
        _link(name, url) for name, url in message.links.items() if units(url) <= _ADDRESS_LENGTH
    )
    if links and units(links) <= _SECTION_LENGTH:
        yield _section(links)
    yield {"type": "context", "elements": [_mrkdwn(escaped(message.dedup_key, _SECTION_LENGTH))]}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> dict[str, str | bool]:
    """Return a text object; `verbatim` keeps names of channels and people from becoming links."""
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _link(name: str, url: str) -> str:
    address = "".join(_IN_LINK.get(each, each) for each in url).replace("&", "&amp;")
    return f"<{address}|{escaped(name, _HEADER_LENGTH)}>"


def _code(body: str) -> str:
    """Return Slack's error code: the whole body of a webhook's answer, or `error` of the API's."""
    try:
        found = orjson.loads(body)["error"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        found = body.strip()
    return found if isinstance(found, str) and _CODE.fullmatch(found) else ""


def _of_api(body: str) -> Receipt:
    """Return the receipt from an answer of the API, which has status 200 for refusals as well."""
    try:
        found = orjson.loads(body)
        if found["ok"] is True:
            thread = found.get("ts")
            reference = thread if isinstance(thread, str) else None
            return Receipt(result=SendResult.DELIVERED, reference=reference)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return Receipt(result=SendResult.RETRY, error="HTTP 200 without an answer of Slack's API")
    code = _code(body)
    result = SendResult.RETRY if code in _PASSING else SendResult.REFUSED
    return Receipt(result=result, error=f"Slack answered {code or 'with an error, but no reason'}")
