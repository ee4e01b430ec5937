"""Whether the messages of the outbox, and no others, have come in."""

from collections import Counter
from typing import Any

from sqlalchemy import Engine

from db.states import DeliveryState
from db.tables import deliveries
from tests.support.records.cycles import stored
from tests.support.servers.receiver import Received, Receiver

#: Channel, idempotency key, body.
Letter = tuple[str, str, str]


def outbox(engine: Engine) -> dict[Letter, dict[str, Any]]:
    """What should come in, and its row."""
    found = {
        (row["channel"], f"{row['dedup_key']}:{row['event']}:{row['severity']}", row["payload"]): row
        for row in stored(engine, deliveries)
    }
    assert len({(channel, key) for channel, key, _ in found}) == len(stored(engine, deliveries))
    return found


def accepted(receiver: Receiver) -> Counter[Letter]:
    return Counter(_letter(each) for each in receiver.received)


def turned_away(receiver: Receiver) -> Counter[Letter]:
    return Counter(_letter(each) for each, _ in receiver.turned_away)


def assert_delivered(engine: Engine, receiver: Receiver) -> None:
    """Each at least once with its key and its very body; nothing came that was not committed."""
    sent = outbox(engine)
    came, refused = accepted(receiver), turned_away(receiver)
    assert receiver.refused == [], "a signature was wrong"
    assert {row["state"] for row in sent.values()} == {DeliveryState.DELIVERED}
    never_committed = (came.keys() | refused.keys()) - sent.keys()
    assert not never_committed, f"messages came that were not committed: {never_committed}"
    lost = sorted((channel, key) for channel, key, _ in sent.keys() - came.keys())
    assert not lost, f"messages are marked as delivered and were never accepted: {lost}"


def _letter(message: Received) -> Letter:
    return message.channel, message.key, message.body
