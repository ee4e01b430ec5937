"""`alerts test`, and what `doctor` and `status` say of the channels."""

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from db.connection.session import writing
from db.tables import deliveries
from monitor.clock import utc_now
from tests.support.processes.waiting import wait_until
from tests.support.records.conclusions import FAR
from tests.support.records.cycles import Cycles, make_audience, make_policy
from tests.support.servers.channels import HOOK, KINDS, make_channel
from tests.support.servers.endpoint import Endpoint, Reply, answering
from tests.support.world.project import run, said, start, write_config
from triggers.alert_settings import LogAlert
from triggers.channels.outbox import Outbox

NAMES = tuple(KINDS)


@pytest.fixture
def receivers() -> Iterator[dict[str, Endpoint]]:
    """One for each channel, that accepts."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(answering(kind.accepted)) for name, kind in KINDS.items()}


@pytest.fixture
def configured(project: Path, models: Path, receivers: dict[str, Endpoint]) -> dict[str, Endpoint]:
    """Four channels to them, and the log."""
    lines = ['[[alerts]]\nkind = "log"\n']
    for name, kind in KINDS.items():
        table = {"name": name, "severities": ["critical"], **kind.table(receivers[name].url)}
        lines += ["[[alerts]]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    write_config(project, models, "\n".join(lines))
    return receivers


def trials() -> dict[str, dict[str, object]]:
    return {each["channel"]: each for each in json.loads(run("alerts", "test", "--json").stdout)}


def test_an_environment_that_no_channel_can_use_is_a_result_and_not_a_traceback(
    configured: dict[str, Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    result = run("alerts", "test")
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    found = trials()
    assert {name: found[name]["result"] for name in found} == dict.fromkeys(NAMES, "retry") | {
        "log": "delivered"
    }
    assert all("correct ALL_PROXY" in str(found[name]["error"]) for name in NAMES)
    assert not any(server.requests for server in configured.values())


def test_each_channel_gets_a_message_that_is_marked_as_a_test(configured: dict[str, Endpoint]) -> None:
    """Whatever it hears of otherwise, and without a database."""
    result = run("alerts", "test")
    assert result.exit_code == 0, result.stdout
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["channel", "kind", "result", "what", "to", "do"]
    assert len(lines) == 6
    assert all("delivered" in line for line in lines[1:])
    assert "resolve the test incident there" in result.stdout
    for server in configured.values():
        (request,) = server.requests
        assert "TEST" in request.body.decode() or request.document["kind"] == "test"
        assert "nothing is wrong" in request.body.decode()
    assert not Path("redistill.db").exists()


def test_a_second_test_is_not_dropped_as_seen(configured: dict[str, Endpoint]) -> None:
    run("alerts", "test")
    run("alerts", "test")
    keys = [request.headers["Idempotency-Key"] for request in configured["webhook"].requests]
    assert len(set(keys)) == 2


def test_one_channel_can_be_tried(configured: dict[str, Endpoint]) -> None:
    assert run("alerts", "test", "--channel", "pagerduty").exit_code == 0
    assert [len(configured[name].requests) for name in NAMES] == [0, 1, 0, 0]
    result = run("alerts", "test", "--channel", "pager")
    assert result.exit_code == 2
    assert (
        said(result)
        == f"--channel: 'pager' is not a configured channel; the channels are log, {', '.join(NAMES)}."
    )


def test_one_that_fails_is_told_with_what_to_do(configured: dict[str, Endpoint]) -> None:
    configured["pagerduty"].replies = [Reply(status=400, body='{"message":"Event object is invalid"}')]
    configured["slack bot"].replies = [Reply(body='{"ok":false,"error":"not_in_channel"}')]
    configured["slack webhook"].replies = [Reply(status=503)]
    result = run("alerts", "test")
    assert result.exit_code == 1
    assert "refused: HTTP 400 Bad Request: Event object is invalid" in result.stdout
    assert "check that routing_key is" in result.stdout
    found = trials()
    assert [found[name]["result"] for name in NAMES] == ["delivered", "refused", "retry", "refused"]
    assert found["slack bot"]["error"] == "Slack answered not_in_channel"
    assert "that the bot is in the channel" in str(found["slack bot"]["fix"])
    assert found["slack webhook"]["fix"] == "the receiver responded with an error of its own: retry later"
    assert all(each["mend"] == each["fix"] for each in found.values())


def test_one_that_does_not_accept_it_now_is_told_with_what_to_do(configured: dict[str, Endpoint]) -> None:
    configured["pagerduty"].replies = [Reply(status=429, headers={"Retry-After": "30"})]
    configured["webhook"].replies = [Reply(fault="reset")]
    found = trials()
    assert [found[name]["result"] for name in ("pagerduty", "webhook")] == ["retry", "retry"]
    assert found["pagerduty"]["fix"] == "the receiver asks to wait: retry in 30 s"
    assert found["webhook"]["fix"] == "check that 127.0.0.1 is reachable from here, then retry"


def test_ctrl_c_waits_for_no_channel_that_hangs(project: Path, models: Path) -> None:
    with answering(Reply(fault="hang")) as server:
        table = {**KINDS["webhook"].table(server.url), "timeout_seconds": 30.0}
        lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
        write_config(project, models, f"[[alerts]]\n{lines}\n")
        with start("alerts", "test", folder=project) as process:
            wait_until(lambda: server.requests, "sent")
            asked = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=30)
            assert time.monotonic() - asked < 15  # it would be 30; a busy machine takes its time
    assert (process.returncode, error) == (130, "redistill: interrupted\n")


@pytest.mark.usefixtures("project")
def test_without_a_channel_it_says_that_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL__ALERTS", "[]")
    result = run("alerts", "test")
    assert result.exit_code == 1
    assert "nobody is notified of incidents" in result.stdout


@pytest.mark.parametrize("reply", [Reply(status=500, echo=True), Reply(status=404, echo=True)])
def test_no_command_shows_a_secret(configured: dict[str, Endpoint], reply: Reply) -> None:
    for server in configured.values():
        server.replies = [reply]
    shown = [run(*command) for command in (("alerts", "test"), ("alerts", "test", "--json"), ("doctor",))]
    for kind in KINDS.values():
        for secret in kind.secrets:
            assert not any(secret in each.stdout + each.stderr for each in shown)


@pytest.mark.usefixtures("configured")
def test_the_doctor_tells_where_each_channel_leads_and_what_it_hears_of() -> None:
    found = {each["check"]: each["found"] for each in json.loads(run("doctor", "--json").stdout)}
    assert found["channel slack webhook"] == "slack to 127.0.0.1, by an incoming webhook, for critical"
    assert found["channel slack bot"].startswith("slack to #on-call, by a bot at 127.0.0.1, one thread per")
    assert found["channels"] == "not tested: `redistill alerts test` sends to each"


def test_the_doctor_finds_a_channel_that_hears_of_nothing(project: Path, models: Path) -> None:
    write_config(project, models, '[[alerts]]\nkind = "log"\n[[alerts]]\nkind="log"\nname="mute"\nkinds=[]\n')
    found = {each["check"]: each for each in json.loads(run("doctor", "--json").stdout)}
    assert (found["channel mute"]["ok"], found["channel mute"]["found"]) == (False, "it receives no incident")


def test_the_doctor_tells_of_kinds_that_nobody_hears_of(project: Path, models: Path) -> None:
    write_config(project, models, '[[alerts]]\nkind = "log"\nexcept_kinds = ["input-drift"]\n')
    found = {each["check"]: each["found"] for each in json.loads(run("doctor", "--json").stdout)}
    assert found["channels"].endswith("; no channel receives input-drift, as configured")
    assert "; only drift, retrain-teacher" in found["channel log"]


def test_the_doctor_finds_that_there_are_no_credentials_for_sns(
    project: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = "arn:aws:sns:eu-west-1:123456789012:t"
    write_config(project, models, f'[[alerts]]\nkind = "sns"\ntopic = "{topic}"\n')
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(project / "none"))
    found = {each["check"]: each for each in json.loads(run("doctor", "--json").stdout)}
    assert "give this process a role" in found["channel sns"]["found"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    found = {each["check"]: each for each in json.loads(run("doctor", "--json").stdout)}
    assert found["channel sns"]["ok"]


def test_the_status_counts_the_messages_that_were_given_up(cycles: Cycles) -> None:
    """And those that wait, for each channel, with what the last one met; a week long."""
    alerts = (LogAlert(name="pager"), LogAlert(name="whole"))
    replace(cycles, policy=make_policy(alerts=alerts)).conclude(0, FAR, now=utc_now())
    assert "dead" not in run("status").stdout
    with answering(Reply(status=403, body="")) as server, answering(Reply()) as whole:
        channels = {
            "pager": make_channel("slack webhook", server.url),
            "whole": make_channel("webhook", whole.url),
        }
        outbox = Outbox(
            engine=cycles.engine,
            channels=channels,
            audience=make_audience(alerts=()),
            rng=np.random.default_rng(2025),
        )
        outbox.deliver_due(utc_now() + timedelta(seconds=1))
    shown = run("status").stdout
    assert "pager: 1 dead, 0 pending; the last: HTTP 403 Forbidden" in shown
    assert "whole:" not in shown
    assert HOOK not in shown
    (undelivered,) = json.loads(run("status", "--json").stdout)["undelivered"]
    assert undelivered == {
        "channel": "pager",
        "n_waiting": 0,
        "n_dead": 1,
        "last_error": "HTTP 403 Forbidden",
    }


def test_the_status_tells_of_messages_that_nobody_sends(cycles: Cycles) -> None:
    """Their channel has another name by now, or no daemon runs; it need not be for a minute."""
    run_of = replace(cycles, policy=make_policy(alerts=(LogAlert(name="renamed"),)))
    run_of.conclude(0, FAR, now=utc_now() - timedelta(minutes=9))
    assert "renamed" not in run("status").stdout
    with writing(cycles.engine) as connection:
        connection.execute(deliveries.update().values(next_attempt_at=utc_now() - timedelta(days=30)))
    shown = run("status").stdout
    assert "renamed: 0 dead, 1 pending; the last: not sent: check that `redistill monitor` runs" in shown
