"""The outbox: messages about incidents, each for one channel, until they are delivered or given up."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Final

from sqlalchemy import BindParameter, ColumnElement, Connection, bindparam, insert, or_, select, update

from db.records import Delivery, Undelivered
from db.states import DeliveryState, IncidentState, Severity
from db.tables import deliveries, incidents
from db.telemetry import counts
from db.telemetry.counts import count

#: A message that was given up is reported for this long.
_REPORTED: Final = timedelta(days=7)
#: A message that has been due for longer than this is not being sent by any process.
_LONG_DUE: Final = timedelta(minutes=10)

#: Every move, and the function that makes it; None: before there is a row. A message that was given up may
#: have arrived after all, by another sender that hung for a long time.
TRANSITIONS: Final[Mapping[tuple[DeliveryState | None, DeliveryState], str]] = {
    (None, DeliveryState.PENDING): "add",
    (DeliveryState.PENDING, DeliveryState.PENDING): "mark_retry",
    (DeliveryState.PENDING, DeliveryState.DELIVERED): "mark_delivered",
    (DeliveryState.PENDING, DeliveryState.DEAD): "mark_dead",
    (DeliveryState.DEAD, DeliveryState.DELIVERED): "mark_delivered",
}
#: No message waits longer for its next attempt. A longer wait was written before the clock was set back.
LONGEST_WAIT: Final = timedelta(hours=1)


def failing_channels(connection: Connection, monitor: str, channels: Iterable[str]) -> frozenset[str]:
    """Return the monitor's channels whose newest settled message was given up."""
    return frozenset(
        name for name in channels if _newest_settled(connection, monitor, name) == DeliveryState.DEAD
    )


def _newest_settled(connection: Connection, monitor: str, channel: str) -> str | None:
    query = (
        select(deliveries.c.state)
        .join(incidents)
        .where(
            incidents.c.monitor == monitor,
            deliveries.c.channel == channel,
            deliveries.c.state != DeliveryState.PENDING,
        )
        .order_by(deliveries.c.id.desc())
        .limit(1)
    )
    state: str | None = connection.scalar(query)
    return state


def channels_of(connection: Connection, incident_id: int) -> frozenset[str]:
    """Return the channels that have had, or will have, a message about the incident."""
    query = select(deliveries.c.channel).where(deliveries.c.incident_id == incident_id).distinct()
    return frozenset(connection.scalars(query))


def dedup_key_of(connection: Connection, incident_id: int) -> str | None:
    """Return the key of the incident's earlier messages, which a renamed monitor keeps; None without any."""
    query = select(deliveries.c.dedup_key).where(deliveries.c.incident_id == incident_id)
    return connection.scalar(query.order_by(deliveries.c.id).limit(1))


def add(
    connection: Connection,
    *,
    incident_id: int,
    channel: str,
    event: IncidentState,
    severity: Severity,
    dedup_key: str,
    payload: str,
    now: datetime,
) -> None:
    """Put a message for one channel into the outbox."""
    connection.execute(
        insert(deliveries).values(
            incident_id=incident_id,
            channel=channel,
            event=event,
            severity=severity,
            dedup_key=dedup_key,
            payload=payload,
            state=DeliveryState.PENDING,
            attempts=0,
            next_attempt_at=now,
        )
    )


def due_channels(connection: Connection, monitor: str, now: datetime) -> frozenset[str]:
    """Return the channels of the monitor with a message that `take_due` may take."""
    query = (
        select(deliveries.c.channel)
        .join(incidents)
        .where(incidents.c.monitor == monitor, deliveries.c.state == DeliveryState.PENDING, _is_due(now))
        .distinct()
    )
    return frozenset(connection.scalars(query))


def take_due(
    connection: Connection, monitor: str, channel: str, now: datetime, *, hold: timedelta
) -> Delivery | None:
    """Take the next message that is due for the monitor's channel, or return None if there is none.

    The message is hidden from other senders for `hold`. Another monitor's channel of the same name is another
    channel. A channel's messages are sent in the order in which they were written: a message that waits for
    its next attempt delays the later ones of the same incident, so that no incident resolves before it fires.
    """
    earlier = deliveries.alias()
    waits = (
        select(earlier.c.id)
        .where(
            earlier.c.channel == channel,
            earlier.c.incident_id == deliveries.c.incident_id,
            # Not `==`: SQLite would look through all pending messages of the channel.
            earlier.c.state.not_in((DeliveryState.DELIVERED, DeliveryState.DEAD)),
            earlier.c.id < deliveries.c.id,
        )
        .exists()
    )
    # A literal value, as in the index: with a parameter the database does not see that it can use it.
    pending: BindParameter[str] = bindparam("pending", DeliveryState.PENDING, literal_execute=True)
    row = connection.execute(
        select(deliveries)
        .join(incidents)
        .where(
            incidents.c.monitor == monitor,
            deliveries.c.channel == channel,
            deliveries.c.state == pending,
            _is_due(now),
            ~waits,
        )
        .order_by(deliveries.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=deliveries)
    ).one_or_none()
    if row is None:
        return None
    connection.execute(
        update(deliveries)
        .where(deliveries.c.id == row.id)
        .values(attempts=row.attempts + 1, next_attempt_at=now + hold)
    )
    return Delivery(
        delivery_id=row.id,
        incident_id=row.incident_id,
        channel=row.channel,
        event=IncidentState(row.event),
        dedup_key=row.dedup_key,
        payload=row.payload,
        attempts=row.attempts + 1,
        severity=Severity(row.severity) if row.severity else None,
        thread=_thread(connection, row.incident_id, channel),
    )


def _is_due(now: datetime) -> ColumnElement[bool]:
    return or_(deliveries.c.next_attempt_at <= now, deliveries.c.next_attempt_at > now + LONGEST_WAIT)


def _thread(connection: Connection, incident_id: int, channel: str) -> str | None:
    """Return the receipt of the channel's first message about the incident that has one, or None."""
    receipts = select(deliveries.c.receipt).where(
        deliveries.c.incident_id == incident_id,
        deliveries.c.channel == channel,
        deliveries.c.receipt.is_not(None),
    )
    return connection.scalars(receipts.order_by(deliveries.c.id).limit(1)).one_or_none()


def undelivered(connection: Connection, monitor: str, now: datetime) -> tuple[Undelivered, ...]:
    """Return the channels that have not accepted a message, by name.

    A message counts if it was given up in the last 7 days, if it failed and is to be sent again, or if it has
    been due for more than 10 minutes without being sent.
    """
    is_dead = deliveries.c.state == DeliveryState.DEAD
    is_waiting = (deliveries.c.state == DeliveryState.PENDING) & (
        deliveries.c.last_error.is_not(None) | (deliveries.c.next_attempt_at < now - _LONG_DUE)
    )
    found = connection.execute(
        select(deliveries.c.channel, is_dead.label("is_dead"), deliveries.c.last_error)
        .join(incidents)
        .where(
            incidents.c.monitor == monitor,
            (is_dead & (deliveries.c.next_attempt_at >= now - _REPORTED)) | is_waiting,
        )
        .order_by(deliveries.c.channel, deliveries.c.next_attempt_at)
    )
    return tuple(
        Undelivered(
            channel=channel,
            n_waiting=sum(not row.is_dead for row in rows),
            n_dead=sum(bool(row.is_dead) for row in rows),
            last_error=rows[-1].last_error,
        )
        for channel, rows in ((name, list(group)) for name, group in groupby(found, attrgetter("channel")))
    )


def mark_delivered(
    connection: Connection, delivery_id: int, now: datetime, *, receipt: str | None = None
) -> None:
    """Record that the channel has accepted the message, with its receipt if any; the first time counts."""
    _move(
        connection,
        delivery_id,
        DeliveryState.DELIVERED,
        "mark_delivered",
        delivered_at=now,
        last_error=None,
        receipt=receipt,
    )


def mark_retry(connection: Connection, delivery_id: int, error: str, *, at: datetime) -> None:
    """Schedule the next attempt for `at`, unless another sender has settled the message meanwhile."""
    _move(connection, delivery_id, DeliveryState.PENDING, "mark_retry", next_attempt_at=at, last_error=error)


def postpone(connection: Connection, monitor: str, channel: str, *, until: datetime) -> None:
    """Postpone the waiting messages of the monitor's channel to `until`, as its receiver has asked."""
    own = select(incidents.c.id).where(incidents.c.monitor == monitor)
    connection.execute(
        update(deliveries)
        .where(
            deliveries.c.channel == channel,
            deliveries.c.state == DeliveryState.PENDING,
            deliveries.c.next_attempt_at < until,
            deliveries.c.incident_id.in_(own),
        )
        .values(next_attempt_at=until)
    )


def mark_dead(connection: Connection, delivery_id: int, error: str) -> None:
    """Give up the message, unless another sender has delivered it meanwhile."""
    _move(connection, delivery_id, DeliveryState.DEAD, "mark_dead", last_error=error)


def _move(connection: Connection, delivery_id: int, to: DeliveryState, by: str, **values: object) -> None:
    """Make a move of TRANSITIONS if the message is where the move starts; a late sender changes nothing."""
    starts = [start for (start, end), name in TRANSITIONS.items() if (name, end) == (by, to) and start]
    moved = connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id, deliveries.c.state.in_(starts))
        .values(state=to, **values)
    )
    if moved.rowcount and to is not DeliveryState.PENDING:
        query = select(incidents.c.monitor, deliveries.c.channel).join(incidents)
        row = connection.execute(query.where(deliveries.c.id == delivery_id)).one()
        settled = count("deliveries_total", channel=row.channel, state=to)
        counts.add(connection, row.monitor, [settled])
