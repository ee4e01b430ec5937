"""A channel that gives up is told through the others, once, and until it works again."""

import json
from datetime import datetime, timedelta
from typing import ClassVar

import numpy as np
import pytest
from sqlalchemy import Engine

from db import outbox as outbox_db
from db.connection.session import reading
from db.records import Delivery
from db.tables import deliveries, incidents
from tests.support.records.conclusions import FAR
from tests.support.records.cycles import MONITOR, Cycles, due_at, make_audience, make_policy, stored, taken
from triggers.alert_settings import LogAlert
from triggers.backoff import MAX_ATTEMPTS
from triggers.channels.outbox import Outbox
from triggers.channels.port import Channel, Receipt, SendResult
from triggers.settings import DEFAULT_RULES

ALERTS = (LogAlert(name="pager"), LogAlert(name="chat"))


class Switch:
    """A channel that answers as it is told, and keeps what it accepts."""

    pause_seconds: ClassVar[float] = 0.0

    def __init__(self, result: SendResult) -> None:
        self.result = result
        self.kinds: list[tuple[str, str]] = []

    def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
        del now
        document = json.loads(delivery.payload)
        if self.result is SendResult.DELIVERED:
            self.kinds.append((document["kind"], document["event"]))
        return Receipt(result=self.result, error="HTTP 401" if self.result is SendResult.REFUSED else None)


@pytest.fixture
def run(engine: Engine) -> Cycles:
    return Cycles(
        engine=engine, lease=taken(engine), policy=make_policy(alerts=ALERTS, rules=DEFAULT_RULES[1:])
    )


def outbox(run: Cycles, **channels: Channel) -> Outbox:
    return Outbox(
        engine=run.engine,
        channels=channels,
        audience=make_audience(ALERTS),
        rng=np.random.default_rng(2025),
    )


def test_a_channel_that_gives_up_is_told_through_the_others(run: Cycles) -> None:
    pager, chat = Switch(SendResult.REFUSED), Switch(SendResult.DELIVERED)
    sender = outbox(run, pager=pager, chat=chat)
    run.conclude(0, FAR)
    for _ in range(3):
        sender.deliver_due(due_at(0))
    assert chat.kinds == [("drift", "firing"), ("alerts-undelivered", "firing")]
    found = [(row["kind"], row["state"]) for row in stored(run.engine, incidents)]
    assert found == [("drift", "firing"), ("alerts-undelivered", "firing")]
    summary = stored(run.engine, incidents)[1]["summary"]
    assert summary.startswith("channel pager gave up a message about incident 1 (firing) after 1")
    assert [row["channel"] for row in stored(run.engine, deliveries) if row["incident_id"] == 2] == ["chat"]


SOCKS = "no module named socksio"


def pager_message(run: Cycles) -> tuple[str, int, str]:
    """State, attempts and error of the pager's first message."""
    row = next(row for row in stored(run.engine, deliveries) if row["channel"] == "pager")
    return row["state"], row["attempts"], row["last_error"]


class Broken:
    """A channel that raises whatever its library does."""

    pause_seconds: ClassVar[float] = 0.0

    def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
        raise ImportError(f"{delivery.channel} at {now:%H:%M}: {SOCKS}")


def test_a_channel_that_raises_fails_as_any_other(run: Cycles) -> None:
    """Each attempt is stored with its error; after the last one, the other channels report it."""
    chat = Switch(SendResult.DELIVERED)
    sender = outbox(run, pager=Broken(), chat=chat)
    run.conclude(0, FAR)
    sender.deliver_due(due_at(0))
    assert pager_message(run) == ("pending", 1, f"ImportError: pager at {due_at(0):%H:%M}: {SOCKS}")
    for hours in range(1, MAX_ATTEMPTS):
        sender.deliver_due(due_at(0) + timedelta(hours=hours))
    assert pager_message(run)[:2] == ("dead", MAX_ATTEMPTS)
    sender.deliver_due(due_at(0) + timedelta(hours=MAX_ATTEMPTS))
    assert chat.kinds == [("drift", "firing"), ("alerts-undelivered", "firing")]


def test_more_of_it_is_not_told_again_until_the_channel_works(run: Cycles) -> None:
    pager, chat = Switch(SendResult.REFUSED), Switch(SendResult.DELIVERED)
    sender = outbox(run, pager=pager, chat=chat)
    for index in range(3):
        run.conclude(index, FAR if index != 1 else None)
        sender.deliver_due(due_at(index))
        sender.deliver_due(due_at(index))
    assert [kind for kind, _ in chat.kinds].count("alerts-undelivered") == 1
    pager.result = SendResult.DELIVERED
    run.conclude(3)
    for _ in range(2):
        sender.deliver_due(due_at(3))
    assert chat.kinds[-1] == ("alerts-undelivered", "resolved")
    assert pager.kinds == [("drift", "resolved")]


def test_where_every_channel_gives_up_nobody_can_be_told(run: Cycles) -> None:
    """But it is written down, and one incident is all that comes of it."""
    sender = outbox(run, pager=Switch(SendResult.REFUSED), chat=Switch(SendResult.REFUSED))
    run.conclude(0, FAR)
    for _ in range(4):
        sender.deliver_due(due_at(0))
    assert [row["kind"] for row in stored(run.engine, incidents)] == ["drift", "alerts-undelivered"]
    assert {row["state"] for row in stored(run.engine, deliveries)} == {"dead"}


def test_a_channel_is_deaf_for_its_own_monitor(run: Cycles) -> None:
    """Another monitor's channel of the same name works: its incident ends all the same."""
    sender = outbox(run, pager=Switch(SendResult.REFUSED), chat=Switch(SendResult.DELIVERED))
    run.conclude(0, FAR)
    sender.deliver_due(due_at(0))
    with reading(run.engine) as connection:
        names = ("pager", "chat")
        assert outbox_db.failing_channels(connection, MONITOR, names) == {"pager"}
        assert outbox_db.failing_channels(connection, "other", names) == frozenset()
