"""The product, broken on purpose in the processes that the tests start: what chaos must find out."""

import time
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

import db.queue
import triggers.channels.outbox
from db import outbox
from db.connection.session import writing
from db.records import Delivery, NewJob
from db.states import DeliveryState
from db.tables import deliveries
from triggers.channels.outbox import Outbox
from triggers.channels.port import Channel, Receipt, SendResult

#: A commit that takes its time, so that a death after it is sure to hit what should have been part of it.
_SLOW_SECONDS: Final = 0.3


def marked_before_sent() -> None:
    """A message is marked as delivered first, and sent then; when that fails it waits again."""

    def deliver_next(self: Outbox, name: str, channel: Channel, now: datetime) -> SendResult | None:
        delivery = self._take(name, now)
        if delivery is None:
            return None
        with writing(self.engine) as connection:
            outbox.mark_delivered(connection, delivery.delivery_id, now)
        receipt = channel.send(delivery, now=now)
        if receipt.result is not SendResult.DELIVERED:
            _unmark(self, delivery, receipt, now)
        return receipt.result

    triggers.channels.outbox.Outbox._deliver_next = deliver_next  # type: ignore[method-assign]


def _unmark(self: Outbox, delivery: Delivery, receipt: Receipt, now: datetime) -> None:
    with writing(self.engine) as connection:
        own = deliveries.c.id == delivery.delivery_id
        connection.execute(
            deliveries.update().where(own).values(state=DeliveryState.PENDING, delivered_at=None)
        )
    self._settle(delivery, receipt, now, seconds=0)


def job_by_itself() -> None:
    """A job is committed before the incident and the messages of its decision."""
    enqueue = db.queue.enqueue

    def enqueue_and_commit(connection: Connection, job: NewJob, now: datetime) -> int:
        job_id = enqueue(connection, job, now)
        connection.exec_driver_sql("COMMIT")
        time.sleep(_SLOW_SECONDS)
        if connection.dialect.name == "sqlite":  # psycopg begins by itself
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        return job_id

    db.queue.enqueue = enqueue_and_commit
