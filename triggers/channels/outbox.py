"""The delivery of the outbox's messages; a message is marked after its channel has accepted it."""

import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

import numpy as np
import structlog
from sqlalchemy import Connection, Engine

from db import outbox
from db.connection.session import reading, writing
from db.records import Delivery
from db.telemetry import counts
from db.telemetry.counts import observed
from triggers.backoff import MAX_ATTEMPTS, next_delay
from triggers.channels.guard import attempt
from triggers.channels.port import Channel, Receipt, SendResult
from triggers.incidents.announce import Audience
from triggers.incidents.undelivered import report_delivered, report_undelivered

#: The time for which a message in flight is hidden from other senders; longer than any timeout.
HOLD = timedelta(minutes=2)

_log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class Outbox:
    """The sender of the outbox's messages to the configured channels."""

    engine: Engine
    channels: Mapping[str, Channel]
    audience: Audience  #: the audience of the incident about a message that was given up
    rng: np.random.Generator

    def due(self, now: datetime) -> Collection[str]:
        """Return the channels with a message that is due."""
        with reading(self.engine) as connection:
            return outbox.due_channels(connection, self.audience.monitor, now) & self.channels.keys()

    def deliver_due(self, now: datetime) -> int:
        """Send every message that is due at `now`, in one thread per channel.

        Return the number of messages that were accepted.
        """
        stop = threading.Event()
        with ThreadPoolExecutor(max(1, len(self.channels))) as threads:
            return sum(threads.map(lambda name: self.deliver(name, lambda: now, stop), self.channels))

    def deliver(self, name: str, clock: Callable[[], datetime], stop: threading.Event) -> int:
        """Send the messages due for one channel, until it cannot deliver or `stop` is set.

        Return the number of messages that were accepted.
        """
        channel, accepted = self.channels[name], 0
        while not stop.is_set():
            result = self._deliver_next(name, channel, clock())
            accepted += result is SendResult.DELIVERED
            if result in {None, SendResult.RETRY}:
                break
            stop.wait(channel.pause_seconds)
        return accepted

    def _deliver_next(self, name: str, channel: Channel, now: datetime) -> SendResult | None:
        delivery = self._take(name, now)
        if delivery is None:
            return None
        began = monotonic()
        receipt = attempt(channel, delivery, now=now)
        self._settle(delivery, receipt, now, seconds=monotonic() - began)
        return receipt.result

    def _take(self, channel: str, now: datetime) -> Delivery | None:
        with writing(self.engine) as connection:
            return outbox.take_due(connection, self.audience.monitor, channel, now, hold=HOLD)

    def _settle(self, delivery: Delivery, receipt: Receipt, now: datetime, *, seconds: float) -> None:
        log = _log.bind(channel=delivery.channel, incident_id=delivery.incident_id, attempt=delivery.attempts)
        with writing(self.engine) as connection:
            if receipt.result is SendResult.DELIVERED:
                outbox.mark_delivered(connection, delivery.delivery_id, now, receipt=receipt.reference)
                report_delivered(connection, self.audience, now)
                log.info("message delivered", message_event=delivery.event.value)
            elif receipt.result is SendResult.REFUSED or delivery.attempts >= MAX_ATTEMPTS:
                outbox.mark_dead(connection, delivery.delivery_id, receipt.error or "")
                report_undelivered(connection, self.audience, delivery, receipt.error or "", now)
                log.error("message given up", error=receipt.error)
            else:
                delay = next_delay(
                    delivery.attempts, self.rng, retry_after_seconds=receipt.retry_after_seconds
                )
                outbox.mark_retry(connection, delivery.delivery_id, receipt.error or "", at=now + delay)
                self._hold_back(connection, delivery.channel, receipt, now)
                log.warning("message waits", error=receipt.error, seconds=delay.total_seconds())
            lasted = observed("delivery_seconds", seconds, channel=delivery.channel)
            counts.add(connection, self.audience.monitor, lasted)

    def _hold_back(self, connection: Connection, channel: str, receipt: Receipt, now: datetime) -> None:
        if receipt.retry_after_seconds is not None:
            until = now + timedelta(seconds=receipt.retry_after_seconds)
            outbox.postpone(connection, self.audience.monitor, channel, until=until)
