"""Incidents as signed JSON, by HTTP POST."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from db.records import Delivery
from triggers.alert_settings import WebhookAlert
from triggers.channels.keys import fitting
from triggers.channels.port import Receipt
from triggers.channels.posting import Post, post

_KEY_LENGTH: Final = 255  #: not a limit of any service, but long enough for a header


@dataclass(frozen=True, kw_only=True)
class WebhookChannel:
    """A channel to a webhook: the payload's bytes, signed with the shared secret.

    A receiver verifies `Redistill-Signature: v1=` + hex HMAC-SHA256 of `<Redistill-Timestamp>.<body>`, and
    drops duplicates by `Idempotency-Key`, which is the same for every attempt to send one message.
    """

    pause_seconds: ClassVar[float] = 0.0

    settings: WebhookAlert

    def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
        """Send the message without reading the answer's body; see `posting.post` for what is retried."""
        message = Post(
            url=self.settings.url.get_secret_value(),
            content=delivery.payload.encode(),
            headers=self._headers(delivery, now),
            timeout_seconds=self.settings.timeout_seconds,
            is_url_secret=True,
        )
        return post(message, now=now).receipt

    def _headers(self, delivery: Delivery, now: datetime) -> dict[str, str]:
        timestamp = str(int(now.timestamp()))
        secret = self.settings.secret.get_secret_value()
        signature = hmac.digest(secret.encode(), f"{timestamp}.{delivery.payload}".encode(), hashlib.sha256)
        return {
            "Content-Type": "application/json",
            "Idempotency-Key": fitting(delivery.key, _KEY_LENGTH),
            "Redistill-Timestamp": timestamp,
            "Redistill-Signature": f"v1={signature.hex()}",
        }
