"""Incidents as signed JSON, by HTTP POST."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx

from db.records import Delivery
from triggers.channels.port import Receipt, SendResult
from triggers.settings import WebhookAlert

#: A receiver that asks for a longer wait is asked again after a day.
_LONGEST_WAIT_SECONDS = 86_400.0

_RETRY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


@dataclass(frozen=True, kw_only=True)
class WebhookChannel:
    """POSTs the payload's bytes, signed with the shared secret.

    A receiver verifies `Redistill-Signature: v1=` + hex HMAC-SHA256 of `<Redistill-Timestamp>.<body>`, and
    drops what it has seen by `Idempotency-Key`, which is the same for every sending of one message.
    """

    settings: WebhookAlert

    def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
        """Send the message: 2xx is delivered; 408, 425, 429, 5xx and a network fault may be tried again.

        Everything else is refused, redirects too: they are not followed. The answer's body is not read.
        """
        try:
            with httpx.stream(
                "POST",
                self.settings.url,
                content=delivery.payload.encode(),
                headers=self._headers(delivery, now),
                timeout=self.settings.timeout_seconds,
                follow_redirects=False,
            ) as response:
                return _receipt(response, now)
        except (httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: a host name that IDNA refuses
            return Receipt(result=SendResult.REFUSED, error=f"not a URL: {error}")
        except httpx.RequestError as error:
            return Receipt(result=SendResult.RETRY, error=_one_line(error))

    def _headers(self, delivery: Delivery, now: datetime) -> dict[str, str]:
        timestamp = str(int(now.timestamp()))
        secret = self.settings.secret.get_secret_value()
        signature = hmac.digest(secret.encode(), f"{timestamp}.{delivery.payload}".encode(), hashlib.sha256)
        return {
            "Content-Type": "application/json",
            "User-Agent": "redistill",
            "Idempotency-Key": f"{delivery.dedup_key}:{delivery.event}",
            "Redistill-Timestamp": timestamp,
            "Redistill-Signature": f"v1={signature.hex()}",
        }


def _receipt(response: httpx.Response, now: datetime) -> Receipt:
    if response.is_success:
        return Receipt(result=SendResult.DELIVERED)
    error = f"HTTP {response.status_code} {response.reason_phrase}".strip()
    if response.is_server_error or response.status_code in _RETRY:
        wait = _retry_after_seconds(response.headers.get("Retry-After", ""), now)
        return Receipt(result=SendResult.RETRY, error=error, retry_after_seconds=wait)
    if response.has_redirect_location:
        error = f"{error} to {response.headers['Location']}: redirects are not followed, mend the url"
    return Receipt(result=SendResult.REFUSED, error=error)


def _retry_after_seconds(header: str, now: datetime) -> float | None:
    """The wait that a Retry-After header asks for, in [0, 86,400] s; None if it is absent or unreadable."""
    if header.isascii() and header.isdigit():
        return min(float(header), _LONGEST_WAIT_SECONDS)
    try:
        until = parsedate_to_datetime(header)
    except ValueError:
        return None
    aware = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), _LONGEST_WAIT_SECONDS)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
