"""Incidents as log lines."""

from datetime import datetime
from typing import ClassVar

import orjson
import structlog

from db.records import Delivery
from db.states import IncidentState
from triggers.channels.port import Receipt, SendResult

_log = structlog.get_logger()


class LogChannel:
    """A channel to the process's log: a warning when an incident fires, an info otherwise."""

    pause_seconds: ClassVar[float] = 0.0

    def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
        """Log the message, with the log's own time; this never fails."""
        del now
        write = _log.warning if delivery.event is IncidentState.FIRING else _log.info
        write(
            f"incident {delivery.event}",
            dedup_key=delivery.dedup_key,
            incident=orjson.loads(delivery.payload),
        )
        return Receipt(result=SendResult.DELIVERED)
