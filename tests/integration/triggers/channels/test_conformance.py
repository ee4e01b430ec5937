"""What every channel that speaks HTTP makes of every answer, from a real server."""

import logging
import socket
import time
from datetime import UTC, datetime

import pytest

from tests.support.records.messages import make_delivery, make_document, make_odd_document
from tests.support.servers.channels import KINDS, make_channel
from tests.support.servers.endpoint import Reply, answering
from triggers.channels.port import Receipt, SendResult

NOW = datetime(2026, 11, 24, 12, 0, 0, 700_000, tzinfo=UTC)
RETRY, REFUSED = SendResult.RETRY, SendResult.REFUSED
IN_A_MINUTE = "Tue, 24 Nov 2026 12:01:00 GMT"

every_kind = pytest.mark.parametrize("kind", KINDS)


def send(kind: str, *replies: Reply) -> Receipt:
    with answering(*replies) as server:
        receipt = make_channel(kind, server.url).send(make_delivery(), now=NOW)
        assert [request.path for request in server.requests] == [KINDS[kind].path]
    return receipt


@every_kind
@pytest.mark.parametrize("event", ["firing", "resolved"])
def test_what_the_receiver_accepts_is_delivered(kind: str, event: str) -> None:
    with answering(KINDS[kind].accepted) as server:
        receipt = make_channel(kind, server.url).send(make_delivery(make_document(event=event)), now=NOW)
        assert [request.path for request in server.requests] == [KINDS[kind].path]
    assert (receipt.result, receipt.error) == (SendResult.DELIVERED, None)


@every_kind
@pytest.mark.parametrize(
    ("status", "header", "result", "wait"),
    [
        (400, None, REFUSED, None),
        (400, "7", REFUSED, None),
        (401, None, REFUSED, None),
        (403, None, REFUSED, None),
        (404, None, REFUSED, None),
        (410, None, REFUSED, None),
        (408, None, RETRY, None),
        (429, None, RETRY, None),
        (429, "7", RETRY, 7.0),
        (429, IN_A_MINUTE, RETRY, 59.3),
        (429, "soon", RETRY, None),
        (500, None, RETRY, None),
        (503, "120", RETRY, 120.0),
    ],
)
def test_answers(kind: str, status: int, header: str | None, result: SendResult, wait: float | None) -> None:
    """What may be accepted later is tried again, and not before the receiver wants it."""
    headers = {"Retry-After": header} if header else {}
    receipt = send(kind, Reply(status=status, headers=headers, body="<html>no</html>"))
    assert receipt.result is result
    assert (receipt.error or "").startswith(f"HTTP {status} ")
    assert "html" not in (receipt.error or "")
    assert receipt.retry_after_seconds == (None if wait is None else pytest.approx(wait))


@every_kind
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(kind: str, status: int) -> None:
    """A message goes where it was configured to go, and what is in the new address may be secret."""
    receipt = send(kind, Reply(status=status, headers={"Location": "https://elsewhere.example/s3cr3t-path"}))
    assert receipt.result is REFUSED
    assert "to elsewhere.example: redirects are not followed" in (receipt.error or "")


@every_kind
@pytest.mark.parametrize("fault", ["reset", "nonsense"])
def test_a_broken_connection_may_be_tried_again(kind: str, fault: str) -> None:
    receipt = send(kind, Reply(fault=fault))  # type: ignore[arg-type]
    assert receipt.result is RETRY
    assert receipt.error


@every_kind
def test_an_error_whose_explanation_breaks_off_is_an_error(kind: str) -> None:
    receipt = send(kind, Reply(status=400, body="invalid", fault="break off"))
    assert (receipt.result, receipt.error) == (REFUSED, "HTTP 400 Bad Request")


@every_kind
def test_a_receiver_that_hangs_is_left_after_the_timeout(kind: str) -> None:
    with answering(Reply(fault="hang")) as server:
        began = time.monotonic()
        channel = make_channel(kind, server.url, timeout_seconds=0.3)
        receipt = channel.send(make_delivery(), now=NOW)
        assert time.monotonic() - began < 2
    assert receipt.result is RETRY
    assert "Timeout" in (receipt.error or "")


@every_kind
def test_nobody_listening_may_be_tried_again(kind: str) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        channel = make_channel(kind, f"http://127.0.0.1:{unheard.getsockname()[1]}")
        receipt = channel.send(make_delivery(), now=NOW)
    assert receipt.result is RETRY
    assert (receipt.error or "").startswith("ConnectError: ")


@every_kind
def test_a_name_that_does_not_resolve_may_be_tried_again(kind: str) -> None:
    receipt = make_channel(kind, "http://receiver.invalid").send(make_delivery(), now=NOW)
    assert receipt.result is RETRY
    assert (receipt.error or "").startswith("ConnectError: ")


@every_kind
@pytest.mark.parametrize("host", ["http://a..b", "http://[::1:80", f"http://{'a' * 70}.invalid"])
def test_an_address_that_cannot_be_one_is_an_answer_too(kind: str, host: str) -> None:
    """A channel does not raise: nothing else can be done about it than to tell."""
    receipt = make_channel(kind, host).send(make_delivery(), now=NOW)
    assert receipt.result in {REFUSED, RETRY}
    assert shows_nothing_of(kind, receipt.error or "")


@every_kind
@pytest.mark.parametrize("status", [400, 401, 429, 500, 302])
def test_no_error_shows_a_secret(kind: str, status: int) -> None:
    """Not even if the receiver's answer repeats the address, the headers and the body that it was sent."""
    location = {"Location": f"http://127.0.0.1{KINDS[kind].path}"} if status == 302 else {}
    receipt = send(kind, Reply(status=status, headers=location, echo=True))
    assert receipt.error
    assert len(receipt.error) <= 300
    assert "\n" not in receipt.error
    assert shows_nothing_of(kind, receipt.error)


@every_kind
@pytest.mark.parametrize("reply", [Reply(status=500), Reply(fault="reset"), Reply(fault="nonsense")])
def test_no_log_line_shows_a_secret(kind: str, reply: Reply, caplog: pytest.LogCaptureFixture) -> None:
    """As `redistill.process.logs` sets it up: the HTTP library by itself would tell whole addresses."""
    with caplog.at_level(logging.WARNING):
        send(kind, reply)
    assert shows_nothing_of(kind, caplog.text)


@every_kind
def test_no_secret_shows_in_what_a_channel_is(kind: str) -> None:
    assert shows_nothing_of(kind, repr(make_channel(kind, "http://127.0.0.1")))


@every_kind
def test_long_and_odd_texts_are_accepted_as_they_are(kind: str) -> None:
    """And the receiver can read what came."""
    with answering(KINDS[kind].accepted) as server:
        receipt = make_channel(kind, server.url).send(make_delivery(make_odd_document()), now=NOW)
        assert isinstance(server.documents[0], dict)
    assert receipt.result is SendResult.DELIVERED


def shows_nothing_of(kind: str, text: str) -> bool:
    return not any(secret in text for secret in KINDS[kind].secrets)
