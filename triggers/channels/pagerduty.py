"""Incidents as events of PagerDuty's Events API v2.

Source: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

import orjson

from db.records import Delivery
from triggers.alert_settings import PagerDutyAlert
from triggers.channels.keys import fitting
from triggers.channels.port import Receipt
from triggers.channels.posting import Post, post
from triggers.channels.text import IncidentView, printable, shortened, view_of

_KEY_LENGTH: Final = 255
_SUMMARY_LENGTH: Final = 1024
_FACT_LENGTH: Final = 10_000  #: keeps an event below 512 KB, whatever its characters
_ACTIONS: Final = {"acknowledged": "acknowledge", "resolved": "resolve"}


@dataclass(frozen=True, kw_only=True)
class PagerDutyChannel:
    """A channel to PagerDuty, which treats all events with one `dedup_key` as one alert."""

    pause_seconds: ClassVar[float] = 0.0

    settings: PagerDutyAlert

    def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
        """Send the event; see `posting.post` for the failures that are retried."""
        key = self.settings.routing_key.get_secret_value()
        message = Post(
            url=f"{self.settings.endpoint.rstrip('/')}/v2/enqueue",
            content=orjson.dumps({"routing_key": key, **event(view_of(delivery.payload))}),
            headers={"Content-Type": "application/json"},
            timeout_seconds=self.settings.timeout_seconds,
            secrets=(key,),
        )
        return post(message, now=now, reason=_errors).receipt


def event(message: IncidentView) -> dict[str, Any]:
    """Return the message as an event, without the routing key.

    An event that acknowledges or resolves an alert has only its key: PagerDuty would not show more.
    """
    action = _ACTIONS.get(message.event, "trigger")
    named = {"event_action": action, "dedup_key": fitting(message.dedup_key, _KEY_LENGTH)}
    if action != "trigger":
        return named
    return {
        **named,
        "client": "Redistill",
        **({"client_url": message.links["page"]} if "page" in message.links else {}),
        "links": [{"href": url, "text": name} for name, url in message.links.items()],
        "payload": {
            "summary": shortened(f"{message.title}: {message.summary}", _SUMMARY_LENGTH),
            "source": message.monitor,
            "severity": message.severity,
            "timestamp": message.at,
            "component": "student",
            "group": message.monitor,
            "class": message.kind,
            "custom_details": {
                "summary": message.summary,
                **{fact.name: shortened("\n".join(fact.lines), _FACT_LENGTH) for fact in message.facts},
            },
        },
    }


def _errors(body: str) -> str:
    """Return the errors from a refusal of PagerDuty: `{"status", "message", "errors": ["…"]}`."""
    try:
        answer = orjson.loads(body)
        return "; ".join(map(printable, answer.get("errors") or [answer["message"]]))
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
        return ""
