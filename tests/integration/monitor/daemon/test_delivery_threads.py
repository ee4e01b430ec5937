"""A slow channel and a whole one, in a real daemon: the one never delays the other, nor the stop."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Engine, make_url, update
from structlog.testing import capture_logs

from db.connection.session import writing
from db.tables import deliveries
from monitor.clock import utc_now
from monitor.daemon.delivery_threads import STOP_TIMEOUT_SECONDS, Deliveries
from monitor.daemon.loop import Daemon
from monitor.daemon.slot_runner import SlotRunner
from monitor.daemon.watchdog import Watchdog
from monitor.settings import MonitorSection
from tests.support.processes.waiting import comes_true
from tests.support.records.conclusions import conclude_drifts
from tests.support.records.cycles import UNCALIBRATED, make_audience, make_policy, stored
from tests.support.records.factories import make_result
from tests.support.servers.channels import KINDS, make_channel
from tests.support.servers.endpoint import Endpoint, Reply, answering
from tests.support.world.project import start, write_config
from triggers.channels.outbox import Outbox
from triggers.channels.port import Channel

TICK = timedelta(milliseconds=100)


@contextmanager
def running(engine: Engine, **channels: Channel) -> Iterator[Daemon]:
    outbox = Outbox(
        engine=engine, channels=channels, audience=make_audience(alerts=()), rng=np.random.default_rng(2025)
    )
    section = MonitorSection(name="another", every=timedelta(days=1), lateness=timedelta(days=2))
    runner = SlotRunner(engine, section, lambda _claim, _stopped: make_result(), make_policy(alerts=()))
    watchdog = Watchdog(engine, section, make_audience(), calibration=UNCALIBRATED, started_at=utc_now())
    found = Daemon(
        runner,
        watchdog,
        Deliveries(channels={name: partial(outbox.deliver, name) for name in channels}, due=outbox.due),
        lambda _now: 0,
        tick=TICK,
    )
    found.start()
    try:
        yield found
    finally:
        if found.is_running:
            found.stop()


def states(engine: Engine, channel: str) -> list[tuple[int, str, str]]:
    return [
        (row["incident_id"], row["event"], row["state"])
        for row in stored(engine, deliveries)
        if row["channel"] == channel
    ]


def test_a_channel_that_hangs_delays_no_other(engine: Engine) -> None:
    """It holds up only its own messages, of which it has one under way; the other sends its own at once."""
    conclude_drifts(engine, "slow", "quick", incidents=5)
    with answering(Reply(fault="hang")) as hanging, answering(Reply(status=202)) as whole:
        slow = make_channel("slack webhook", hanging.url, timeout_seconds=30)
        quick = make_channel("webhook", whole.url)
        began = time.monotonic()
        with running(engine, slow=slow, quick=quick) as found:
            assert comes_true(lambda: len(whole.requests) == 10)
            seconds = time.monotonic() - began
            assert comes_true(lambda: {state for *_, state in states(engine, "quick")} == {"delivered"})
            assert len(hanging.requests) == 1
            assert {state for *_, state in states(engine, "slow")} == {"pending"}
            send_again(engine, "quick")
            assert comes_true(lambda: len(whole.requests) == 11, seconds=2)
            with capture_logs() as logs:
                asked = time.monotonic()
                found.stop()
                assert time.monotonic() - asked < STOP_TIMEOUT_SECONDS + 1
        assert [line["channel"] for line in logs if line["event"] == "left hanging"] == ["slow"]
    for thread in threading.enumerate():
        if thread.name == "delivery slow":
            thread.join(15)  # its connection to the database must not outlive the test
    assert seconds < 5
    events = [(each.document["dedup_key"], each.document["event"]) for each in whole.requests]
    for incident in range(1, 6):
        mine = [event for key, event in events if key.startswith(f"redistill:mangaassist:{incident}:")]
        assert mine[:2] == ["firing", "resolved"]


def send_again(engine: Engine, channel: str) -> None:
    """One more message for the channel, while the daemon runs."""
    row = next(row for row in reversed(stored(engine, deliveries)) if row["channel"] == channel)
    due = {"state": "pending", "next_attempt_at": utc_now()}
    with writing(engine) as connection:
        connection.execute(update(deliveries).where(deliveries.c.id == row["id"]).values(due))


def failed(engine: Engine, channel: str) -> list[str]:
    """What is stored of the channel's failed attempts."""
    rows = [row for row in stored(engine, deliveries) if row["channel"] == channel]
    return [row["last_error"] for row in rows if row["last_error"]]


def test_a_channel_with_a_bug_delays_no_other(sqlite_engine: Engine) -> None:
    class Broken:
        pause_seconds = 0.0

        def send(self, *_arguments: object, **_more: object) -> object:
            raise RuntimeError

    conclude_drifts(sqlite_engine, "broken", "quick")
    with answering(Reply(status=202)) as whole:
        broken: Channel = Broken()  # type: ignore[assignment]
        with running(sqlite_engine, broken=broken, quick=make_channel("webhook", whole.url)):
            assert comes_true(lambda: len(whole.requests) == 2)
            assert comes_true(lambda: failed(sqlite_engine, "broken"))
    assert "RuntimeError" in failed(sqlite_engine, "broken")[0]
    assert failed(sqlite_engine, "quick") == []


def test_slack_is_sent_one_message_a_second(sqlite_engine: Engine) -> None:
    """And a stop does not wait for the next one."""
    conclude_drifts(sqlite_engine, "slack", incidents=2)
    with answering(KINDS["slack webhook"].accepted) as server:
        times: list[float] = []
        channel = make_channel("slack webhook", server.url)
        with running(sqlite_engine, slack=channel) as found:
            for count in (1, 2, 3):
                assert comes_true(lambda: len(server.requests) >= count)  # noqa: B023 - called at once
                times.append(time.monotonic())
            asked = time.monotonic()
            found.stop()
            assert time.monotonic() - asked < 0.9
        assert len(server.requests) == 3
    assert times[2] - times[0] >= 1.9


def test_a_channel_that_is_limited_waits_and_goes_on_in_order(sqlite_engine: Engine) -> None:
    conclude_drifts(sqlite_engine, "pager")
    limited = Reply(status=429, headers={"Retry-After": "1"})
    with answering(limited, Reply(status=202)) as server:
        began = time.monotonic()
        with running(sqlite_engine, pager=make_channel("pagerduty", server.url)):
            assert comes_true(lambda: len(server.requests) == 3)
        actions = [document["event_action"] for document in server.documents]
    assert actions == ["trigger", "trigger", "resolve"]
    assert time.monotonic() - began >= 1


def test_one_incident_is_one_thread(engine: Engine) -> None:
    """What Slack calls an incident's first message is kept, and its later ones answer that."""
    conclude_drifts(engine, "slack", "other", incidents=2)
    replies = [Reply(body=f'{{"ok":true,"ts":"1503435956.00000{number}"}}') for number in range(4)]
    with answering(*replies) as server, answering(Reply(status=202)) as other:
        channels = {
            "slack": make_channel("slack bot", server.url),
            "other": make_channel("webhook", other.url),
        }
        outbox = Outbox(
            engine=engine,
            channels=channels,
            audience=make_audience(alerts=()),
            rng=np.random.default_rng(2025),
        )
        assert outbox.deliver_due(utc_now()) == 8
        threads = [document.get("thread_ts") for document in server.documents]
    assert threads == [None, "1503435956.000000", None, "1503435956.000002"]
    kept = [row["receipt"] for row in stored(engine, deliveries) if row["channel"] == "slack"]
    assert kept == [f"1503435956.00000{number}" for number in range(4)]
    assert {row["receipt"] for row in stored(engine, deliveries) if row["channel"] == "other"} == {None}


@pytest.mark.parametrize("kind", KINDS)
def test_sql_and_the_log_show_no_secret_of_a_channel(sqlite_engine: Engine, kind: str) -> None:
    """What is refused, what waits and what is given up say why, and not where to."""
    conclude_drifts(sqlite_engine, "pager")
    replies = (Reply(status=500, echo=True), Reply(status=403, echo=True), Reply(fault="reset"))
    with answering(*replies) as server, capture_logs() as logs:
        channels = {"pager": make_channel(kind, server.url)}
        outbox = Outbox(
            engine=sqlite_engine,
            channels=channels,
            audience=make_audience(alerts=()),
            rng=np.random.default_rng(2025),
        )
        now = utc_now()
        for hours in range(2):
            outbox.deliver_due(now + timedelta(hours=hours))
        assert len(server.requests) == 3
    rows = stored(sqlite_engine, deliveries)
    assert [row["state"] for row in rows] == ["dead", "pending"]
    assert all(row["last_error"] for row in rows)
    assert {line["event"] for line in logs} == {"message waits", "message given up"}
    (given_up,) = [line for line in logs if line["event"] == "message given up"]
    assert (given_up["log_level"], given_up["channel"]) == ("error", "pager")
    for secret in KINDS[kind].secrets:
        assert secret not in str(rows)
        assert secret not in str(logs)


def test_a_monitor_whose_channel_hangs_stops_in_seconds_when_asked(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    conclude_drifts(sqlite_engine, "pager")
    with answering(Reply(fault="hang")) as server:
        stops_in_seconds(sqlite_engine, tmp_path, server)
    assert states(sqlite_engine, "pager")[0] == (1, "firing", "pending")


def stops_in_seconds(engine: Engine, folder: Path, server: Endpoint) -> None:
    secret = KINDS["slack webhook"].table(server.url)["url"]
    more = f'[database]\nurl = "{make_url(engine.url)}"\n[[alerts]]\nkind = "slack"\nname = "pager"\n'
    write_config(folder, folder, f'{more}url = "{secret}"\ntimeout_seconds = 30\n')
    with start("monitor", folder=folder) as process:
        assert comes_true(lambda: bool(server.requests), seconds=60)
        process.send_signal(signal.SIGTERM)
        asked = time.monotonic()
        _, error = process.communicate(timeout=30)
        assert time.monotonic() - asked < 10
    assert process.returncode == 0
    events = [json.loads(line)["event"] for line in error.splitlines()]
    assert "left hanging" in events
    assert secret.rpartition("/")[2] not in error
