"""The environment of the process: what it breaks is retried, and the error names the variable."""

import time
from datetime import UTC, datetime

import pytest

from redistill.channels import channels
from tests.support.records.messages import make_delivery
from tests.support.servers.channels import KINDS, make_alert, make_channel
from tests.support.servers.endpoint import Reply, answering
from triggers.channels.guard import attempt
from triggers.channels.port import Channel, Receipt, SendResult

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ELSEWHERE = "http://receiver.invalid"
PROXY = "http://user:s3cret-p4ssword@127.0.0.1:1"

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def error_of(channel: Channel) -> str:
    receipt = channel.send(make_delivery(), now=NOW)
    assert receipt.result is SendResult.RETRY
    assert receipt.error
    assert "s3cret" not in receipt.error
    return receipt.error


@every_kind
@pytest.mark.parametrize(
    ("variable", "value", "cause"),
    [
        ("NO_PROXY", "localhost,[::1]", "InvalidURL"),
        ("ALL_PROXY", "socks5://127.0.0.1:1", "ImportError"),
        ("HTTPS_PROXY", "ftp://user:s3cret-p4ssword@127.0.0.1:1", "ValueError"),
        ("HTTP_PROXY", "http://[::1", "InvalidURL"),
        ("HTTP_PROXY", "http://127.0.0.1:port", "InvalidURL"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "FileNotFoundError"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(
    kind: str, variable: str, value: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    error = error_of(make_channel(kind, ELSEWHERE))
    assert error.startswith(cause)
    assert f"the environment of this process is not usable, correct {variable}" in error
    monkeypatch.delenv(variable)
    with answering(KINDS[kind].accepted) as server:
        assert make_channel(kind, server.url).send(make_delivery(), now=NOW).result is SendResult.DELIVERED


@every_kind
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_cannot_be_reached_is_named(
    kind: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, PROXY)
    error = error_of(make_channel(kind, ELSEWHERE))
    assert error.startswith("ConnectError: ")
    assert f"through the proxy in {variable}: correct that, or add the host to NO_PROXY" in error


@every_kind
def test_a_proxy_that_wants_a_password_is_not_a_refusal_of_the_receiver(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(Reply(status=407)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        error = error_of(make_channel(kind, ELSEWHERE))
    assert error.startswith("HTTP 407 Proxy Authentication Required (through the proxy in HTTP_PROXY: ")


@every_kind
def test_a_host_without_proxy_names_none(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert "proxy" not in error_of(make_channel(kind, "http://127.0.0.1:1"))


@every_kind
@pytest.mark.parametrize("part", ["status", "headers", "body"])
def test_a_receiver_that_answers_byte_by_byte_is_left_at_the_deadline(kind: str, part: str) -> None:
    """Each byte comes in time; the whole answer does not."""
    with answering(Reply(status=400, body="x" * 1_000, fault=f"slow {part}")) as server:  # type: ignore[arg-type]
        began = time.monotonic()
        receipt = make_channel(kind, server.url, timeout_seconds=0.4).send(make_delivery(), now=NOW)
        assert time.monotonic() - began < 2
    if part != "body":
        late = "TimeoutError: no whole answer within 0.4 s"
        assert receipt == Receipt(result=SendResult.RETRY, error=late)
    else:
        assert receipt.result is SendResult.REFUSED


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_ENDPOINT_URL", "not a url"),
        ("HTTPS_PROXY", "http://[::1"),
        ("AWS_CA_BUNDLE", "/nowhere/ca.pem"),
        ("AWS_PROFILE", "nobody"),
        ("AWS_RETRY_MODE", "sometimes"),
    ],
)
def test_whatever_boto_raises_is_retried(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://127.0.0.1:1")
    monkeypatch.setenv(variable, value)
    topic = "arn:aws:sns:eu-west-1:123456789012:redistill"
    channel = channels([make_alert({"kind": "sns", "name": "a", "topic": topic})])["a"]
    receipt = attempt(channel, make_delivery(), now=NOW)
    assert receipt.result is SendResult.RETRY
    assert receipt.error
