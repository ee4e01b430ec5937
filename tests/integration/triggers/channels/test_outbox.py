"""The outbox: every message arrives, in its incident's order, and nobody's silence keeps it from others."""

import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, insert, select, update

from db import outbox
from db.connection.session import connect, writing
from db.states import DeliveryState
from db.tables import deliveries, incidents
from tests.support.processes.races import in_threads
from tests.support.records.conclusions import conclude_drifts
from tests.support.records.cycles import MONITOR, due_at, make_audience, stored
from tests.support.records.factories import make_slot
from tests.support.servers.channels import make_channel
from tests.support.servers.endpoint import Endpoint, Reply, answering
from triggers.backoff import MAX_ATTEMPTS
from triggers.channels.outbox import HOLD, Outbox

NOW = due_at(20)
SECOND = timedelta(seconds=1)
ACCEPTED = Reply(status=202)


@pytest.fixture
def receiver() -> Iterator[Endpoint]:
    with answering(ACCEPTED) as server:
        yield server


def first_with(*statuses: int, **headers: str) -> list[Reply]:
    """These statuses in turn, then acceptance; each reply has the headers."""
    return [Reply(status=status, headers=headers) for status in (*statuses, ACCEPTED.status)]


def make_outbox(engine: Engine, **urls: str) -> Outbox:
    channels = {name: make_channel("webhook", url) for name, url in urls.items()}
    return Outbox(
        engine=engine, channels=channels, audience=make_audience(alerts=()), rng=np.random.default_rng(2025)
    )


def key(incident: int, event: str) -> str:
    """Every second slot opens an incident."""
    opened = make_slot(2 * (incident - 1)).window_end
    return f"redistill:mangaassist:{incident}:{opened:%Y%m%dT%H%M%SZ}:{event}:error"


def keys(receiver: Endpoint) -> list[str]:
    """The keys that came in, without the digits that are random."""
    return [re.sub(":[0-9a-f]{12}(?=:)", "", key) for key in receiver.keys]


def states(engine: Engine) -> list[tuple[str, str, str, int]]:
    return [
        (row["channel"], row["event"], row["state"], row["attempts"]) for row in stored(engine, deliveries)
    ]


def test_a_message_is_marked_after_its_channel_has_accepted_it(engine: Engine, receiver: Endpoint) -> None:
    """While it is being sent it is pending still, and hidden from others."""
    conclude_drifts(engine, "pager", resolved=False)
    seen: list[dict[str, Any]] = []
    receiver.before_answer = lambda: seen.extend(stored(engine, deliveries))
    assert make_outbox(engine, pager=receiver.url).deliver_due(NOW) == 1
    (before,) = seen
    (after,) = stored(engine, deliveries)
    assert (before["state"], before["attempts"], before["next_attempt_at"]) == ("pending", 1, NOW + HOLD)
    assert (after["state"], after["attempts"], after["delivered_at"]) == ("delivered", 1, NOW)
    assert keys(receiver) == [key(1, "firing")]
    assert receiver.documents == [json.loads(after["payload"])]


def test_nothing_is_sent_before_it_is_due(engine: Engine, receiver: Endpoint) -> None:
    conclude_drifts(engine, "pager", resolved=False)
    sender = make_outbox(engine, pager=receiver.url)
    assert sender.deliver_due(due_at(0) - SECOND) == 0
    assert keys(receiver) == []
    assert sender.deliver_due(due_at(0)) == 1


def test_a_delivered_message_is_never_sent_again(engine: Engine, receiver: Endpoint) -> None:
    conclude_drifts(engine, "pager")
    sender = make_outbox(engine, pager=receiver.url)
    assert sender.deliver_due(NOW) == 2
    assert sender.deliver_due(NOW + timedelta(days=365)) == 0
    assert keys(receiver) == [key(1, "firing"), key(1, "resolved")]


def test_an_incident_ends_only_after_it_has_begun(engine: Engine, receiver: Endpoint) -> None:
    """A message that waits for its next attempt holds back the later ones of its incident, and no other's."""
    conclude_drifts(engine, "pager", incidents=2)
    receiver.replies = first_with(503)
    sender = make_outbox(engine, pager=receiver.url)
    assert [sender.deliver_due(NOW) for _ in range(3)] == [0, 2, 0]
    assert sender.deliver_due(NOW + timedelta(hours=1)) == 2
    assert keys(receiver) == [
        key(1, "firing"),
        key(2, "firing"),
        key(2, "resolved"),
        key(1, "firing"),
        key(1, "resolved"),
    ]


def test_a_message_that_failed_waits_at_least_as_long_as_the_receiver_asks(
    engine: Engine, receiver: Endpoint
) -> None:
    conclude_drifts(engine, "pager", resolved=False)
    receiver.replies = first_with(429, **{"Retry-After": "300"})
    sender = make_outbox(engine, pager=receiver.url)
    sender.deliver_due(NOW)
    (row,) = stored(engine, deliveries)
    assert (row["state"], row["attempts"], row["last_error"]) == ("pending", 1, "HTTP 429 Too Many Requests")
    assert row["next_attempt_at"] == NOW + timedelta(seconds=300)
    assert sender.deliver_due(NOW + timedelta(seconds=299)) == 0
    assert len(receiver.keys) == 1
    assert sender.deliver_due(NOW + timedelta(seconds=300)) == 1
    (row,) = stored(engine, deliveries)
    assert (row["state"], row["attempts"], row["last_error"]) == ("delivered", 2, None)


def test_a_receiver_that_asks_for_time_is_left_in_peace(engine: Engine, receiver: Endpoint) -> None:
    """Not only with the message that it turned away. Another channel's go out."""
    conclude_drifts(engine, "pager", "chat", incidents=3)
    receiver.replies = first_with(429, **{"Retry-After": "300"})
    sender = make_outbox(engine, pager=receiver.url)
    sender.deliver_due(NOW)
    assert sender.deliver_due(NOW) == sender.deliver_due(NOW + timedelta(seconds=299)) == 0
    assert len(receiver.keys) == 1
    assert make_outbox(engine, chat=receiver.url).deliver_due(NOW) == 6
    assert sender.deliver_due(NOW + timedelta(seconds=300)) == 6


def test_the_waits_grow_up_to_a_quarter_of_an_hour(sqlite_engine: Engine, receiver: Endpoint) -> None:
    conclude_drifts(sqlite_engine, "pager", resolved=False)
    receiver.replies = first_with(*[503] * 10)
    sender = make_outbox(sqlite_engine, pager=receiver.url)
    now, waits = NOW, []
    for _ in range(10):
        sender.deliver_due(now)
        (row,) = stored(sqlite_engine, deliveries)
        waits.append((row["next_attempt_at"] - now).total_seconds())
        now = row["next_attempt_at"]
    ceilings = [min(900, 5 * 2**attempt) for attempt in range(10)]
    assert all(0 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))
    assert max(waits) > 100


def test_a_message_that_is_refused_is_dead(engine: Engine, receiver: Endpoint) -> None:
    """And its incident's next one is sent: the on-call may see an end without a beginning."""
    conclude_drifts(engine, "pager")
    receiver.replies = first_with(400)
    assert make_outbox(engine, pager=receiver.url).deliver_due(NOW) == 1
    assert states(engine) == [("pager", "firing", "dead", 1), ("pager", "resolved", "delivered", 1)]
    assert stored(engine, deliveries)[0]["last_error"] == "HTTP 400 Bad Request"


def test_a_message_is_given_up_after_so_many_attempts(engine: Engine, receiver: Endpoint) -> None:
    conclude_drifts(engine, "pager", resolved=False)
    with writing(engine) as connection:
        connection.execute(update(deliveries).values(attempts=MAX_ATTEMPTS - 2))
    receiver.replies = first_with(503, 503)
    sender = make_outbox(engine, pager=receiver.url)
    for days in range(3):
        sender.deliver_due(NOW + timedelta(days=days))
    assert states(engine) == [("pager", "firing", "dead", MAX_ATTEMPTS)]
    assert len(receiver.keys) == 2


def test_a_dead_channel_blocks_no_other(engine: Engine, receiver: Endpoint) -> None:
    conclude_drifts(engine, "gone", "pager")
    sender = make_outbox(engine, gone="http://127.0.0.1:1/", pager=receiver.url)
    assert sender.deliver_due(NOW) == 2
    assert keys(receiver) == [key(1, "firing"), key(1, "resolved")]
    assert states(engine) == [
        ("gone", "firing", "pending", 1),
        ("pager", "firing", "delivered", 1),
        ("gone", "resolved", "pending", 0),
        ("pager", "resolved", "delivered", 1),
    ]


def test_a_channel_that_hangs_delays_no_other(sqlite_engine: Engine, receiver: Endpoint) -> None:
    """Even if it has many that wait: it is left after the first timeout, and its own are sent later."""
    conclude_drifts(sqlite_engine, "slow", "pager", incidents=4)
    with answering(Reply(fault="hang")) as slow:
        channels = {
            "slow": make_channel("webhook", slow.url, timeout_seconds=0.3),
            "pager": make_channel("webhook", receiver.url),
        }
        sender = Outbox(
            engine=sqlite_engine,
            channels=channels,
            audience=make_audience(alerts=()),
            rng=np.random.default_rng(2025),
        )
        assert sender.deliver_due(NOW) == 8
    assert len(receiver.keys) == 8
    assert keys(slow) == [key(1, "firing")]


def test_senders_do_not_send_the_same_message(engine: Engine, receiver: Endpoint) -> None:
    """Two daemons during a rolling deploy: each message arrives once, and in order."""
    conclude_drifts(engine, "pager", incidents=6)
    receiver.before_answer = lambda: time.sleep(0.01)

    def send(_number: int) -> int:
        sender, sent = make_outbox(engine, pager=receiver.url), 0
        until = time.monotonic() + 10
        while time.monotonic() < until and any(state == "pending" for _, _, state, _ in states(engine)):
            sent += sender.deliver_due(NOW)
        return sent

    assert sum(in_threads(3, send)) == 12
    assert sorted(keys(receiver)) == sorted(
        key(incident, event) for incident in range(1, 7) for event in ("firing", "resolved")
    )
    for incident in range(1, 7):
        positions = [keys(receiver).index(key(incident, event)) for event in ("firing", "resolved")]
        assert positions == sorted(positions)


def test_a_message_whose_sender_was_killed_is_sent_again_under_its_key(
    engine: Engine, database_url: str, receiver: Endpoint
) -> None:
    """Killed between the receiver's acceptance and the mark: at least once, and the receiver can tell."""
    conclude_drifts(engine, "pager", resolved=False)

    def send() -> None:
        make_outbox(connect(database_url), pager=receiver.url).deliver_due(NOW)

    process = get_context("fork").Process(target=send)

    def kill() -> None:
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)

    receiver.before_answer = kill
    process.start()
    process.join(10)
    assert process.exitcode == -signal.SIGKILL
    receiver.before_answer = lambda: None
    assert states(engine) == [("pager", "firing", "pending", 1)]
    sender = make_outbox(engine, pager=receiver.url)
    assert sender.deliver_due(NOW + HOLD - SECOND) == 0
    assert sender.deliver_due(NOW + HOLD) == 1
    assert keys(receiver) == [key(1, "firing")] * 2
    assert len({*receiver.keys}) == 1
    assert states(engine) == [("pager", "firing", "delivered", 2)]


def instructions(engine: Engine, n_incidents: int, *, first_due: timedelta) -> float:
    """What SQLite does to take one of many pending messages: steps of its virtual machine, in hundreds."""
    with writing(engine) as connection:
        ids = range(1, n_incidents + 1)
        usual = {"channel": "pager", "severity": "error", "state": "pending", "attempts": 0, "payload": "{}"}
        times = {"firing": NOW + first_due, "resolved": NOW}
        opened = {"monitor": MONITOR, "kind": "drift", "severity": "error", "state": "resolved"}
        connection.execute(deliveries.delete())
        connection.execute(incidents.delete())
        connection.execute(
            incidents.insert(), [{**opened, "id": each, "summary": "", "opened_at": NOW} for each in ids]
        )
        rows = [
            {**usual, "incident_id": each, "event": event, "dedup_key": str(each), "next_attempt_at": at}
            for event, at in times.items()
            for each in ids
        ]
        connection.execute(insert(deliveries), rows)
    steps = [0]

    def count() -> int:
        steps[0] += 1
        return 0

    with writing(engine) as connection:
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.set_progress_handler(count, 100)
        found = outbox.take_due(connection, MONITOR, "pager", NOW, hold=HOLD)
        raw.set_progress_handler(None, 100)
    assert (found is None) == (first_due > timedelta(0))
    return steps[0]


def test_many_messages_cost_no_more_than_few(sqlite_engine: Engine) -> None:
    """Each; and where all wait for their next attempt, a look at the outbox costs in proportion."""
    few, many = (instructions(sqlite_engine, n, first_due=timedelta(0)) for n in (50, 1_000))
    assert many <= 2 * few + 5
    few, many = (instructions(sqlite_engine, n, first_due=timedelta(minutes=30)) for n in (50, 1_000))
    assert many < 40 * few


def test_a_message_that_another_sender_is_taking_holds_up_no_other(postgres_engine: Engine) -> None:
    """It is passed over, not waited for. On SQLite no one else writes meanwhile."""
    conclude_drifts(postgres_engine, "pager", incidents=2)
    with writing(postgres_engine) as one:
        first = outbox.take_due(one, MONITOR, "pager", NOW, hold=HOLD)
        began = time.monotonic()
        with writing(postgres_engine) as other:
            second = outbox.take_due(other, MONITOR, "pager", NOW, hold=HOLD)
        assert time.monotonic() - began < 2
    assert first is not None
    assert second is not None
    assert (first.incident_id, second.incident_id) == (1, 2)


def test_monitors_that_share_a_database_send_their_own_messages(engine: Engine, receiver: Endpoint) -> None:
    """Channels of the same name are usual, such as pagerduty, and lead to different people."""
    conclude_drifts(engine, "pager", resolved=False)
    others = replace(
        make_outbox(engine, pager=receiver.url), audience=make_audience(alerts=(), monitor="other")
    )
    assert others.deliver_due(NOW) == 0
    assert make_outbox(engine, pager=receiver.url).deliver_due(NOW) == 1
    assert keys(receiver) == [key(1, "firing")]


@pytest.mark.parametrize("start", list(DeliveryState))
@pytest.mark.parametrize("end", list(DeliveryState))
def test_each_pair_of_states_is_as_the_table_says(
    engine: Engine, start: DeliveryState, end: DeliveryState
) -> None:
    """A sender that hung for longer than its message was hidden does not undo what another has done."""
    conclude_drifts(engine, "pager", resolved=False)
    with writing(engine) as connection:
        connection.execute(update(deliveries).values(state=start, receipt="the first's"))
    (before,) = stored(engine, deliveries)
    moves: dict[str, Callable[[Connection], None]] = {
        "mark_delivered": lambda connection: outbox.mark_delivered(connection, 1, NOW, receipt="late"),
        "mark_retry": lambda connection: outbox.mark_retry(connection, 1, "late", at=NOW),
        "mark_dead": lambda connection: outbox.mark_dead(connection, 1, "late"),
    }
    for by, move in moves.items():
        with writing(engine) as connection, connection.begin_nested() as savepoint:
            move(connection)
            (after,) = connection.execute(select(deliveries)).mappings()
            savepoint.rollback()
        is_allowed = outbox.TRANSITIONS.get((start, end)) == by
        assert (dict(after) != before and after["state"] == end) == is_allowed, by


def test_a_message_that_was_given_up_and_arrived_after_all_is_delivered(engine: Engine) -> None:
    conclude_drifts(engine, "pager", resolved=False)
    (row,) = stored(engine, deliveries)
    with writing(engine) as connection:
        outbox.mark_dead(connection, row["id"], "too late")
        outbox.mark_delivered(connection, row["id"], NOW)
    assert states(engine) == [("pager", "firing", "delivered", 0)]


def test_the_table_is_all_that_can_happen_to_a_message() -> None:
    """Whoever adds a move thinks of who is late."""
    pending, delivered, dead = DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DEAD
    assert set(outbox.TRANSITIONS) == {
        (None, pending),
        (pending, pending),
        (pending, delivered),
        (pending, dead),
        (dead, delivered),
    }
