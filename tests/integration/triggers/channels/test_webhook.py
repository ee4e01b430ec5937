import hashlib
import hmac
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from db.records import Delivery
from db.states import IncidentState
from tests.support.servers.endpoint import Endpoint, Reply, Request, answering
from triggers.alert_settings import WebhookAlert
from triggers.channels.port import Channel, Receipt, SendResult
from triggers.channels.webhook import WebhookChannel

NOW = datetime(2026, 11, 24, 12, 0, 0, 700_000, tzinfo=UTC)
SECRET = "s3cret-ü"  # noqa: S105 - a test's
PAYLOAD = '{"schema":"redistill.incident/1", "summary":"kl 0.2 > 0.15 — naïve",  "n":1}'
DELIVERY = Delivery(
    delivery_id=1,
    incident_id=7,
    channel="webhook",
    event=IncidentState.FIRING,
    dedup_key="redistill:mangaassist:7",
    payload=PAYLOAD,
    attempts=1,
)

DELIVERED, RETRY, REFUSED = SendResult.DELIVERED, SendResult.RETRY, SendResult.REFUSED


FAULTS = {"hang": Reply(fault="hang"), "reset": Reply(fault="reset"), "nonsense": Reply(fault="nonsense")}


def as_the_path_says(request: Request) -> Reply:
    """Answer `/429?Retry-After=7` with that status and header, and `/reset` by resetting the connection."""
    action, _, header = request.path.removeprefix("/").partition("?")
    if action in FAULTS:
        return FAULTS[action]
    name, _, value = header.partition("=")
    headers = {name: value.replace("+", " ")} if name else {}
    return Reply(status=int(action), body="" if action == "204" else "ok", headers=headers)


@pytest.fixture
def receiver() -> Iterator[Endpoint]:
    with answering(answer=as_the_path_says) as server:
        yield server


def make_channel(url: str, *, timeout_seconds: float = 5.0) -> Channel:
    return WebhookChannel(
        settings=WebhookAlert(
            kind="webhook",
            url=SecretStr(url),
            secret=SecretStr(SECRET),
            timeout_seconds=timeout_seconds,
        )
    )


def send(url: str) -> Receipt:
    return make_channel(url).send(DELIVERY, now=NOW)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_an_accepted_message_is_delivered(receiver: Endpoint, status: int) -> None:
    assert send(f"{receiver.url}/{status}") == Receipt(result=DELIVERED)


def test_the_body_arrives_as_it_was_stored_and_its_signature_holds(receiver: Endpoint) -> None:
    """Byte for byte, spaces and all; a receiver that knows the secret computes the same signature."""
    send(f"{receiver.url}/202")
    (request,) = receiver.requests
    headers, body = request.headers, request.body
    assert body == PAYLOAD.encode("utf-8")
    assert headers["Content-Type"] == "application/json"
    assert headers["Redistill-Timestamp"] == str(int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()))
    mac = hmac.new(SECRET.encode("utf-8"), digestmod=hashlib.sha256)
    mac.update(headers["Redistill-Timestamp"].encode("ascii"))
    mac.update(b".")
    mac.update(body)
    assert headers["Redistill-Signature"] == "v1=" + mac.hexdigest()


def test_a_message_that_is_sent_again_has_the_same_key(receiver: Endpoint) -> None:
    """Its end has another one, so that a receiver does not drop it as seen."""
    channel = make_channel(f"{receiver.url}/202")
    resolved = Delivery(**{**vars(DELIVERY), "event": IncidentState.RESOLVED})
    for delivery in (DELIVERY, DELIVERY, resolved):
        channel.send(delivery, now=NOW)
    assert receiver.keys == [
        "redistill:mangaassist:7:firing",
        "redistill:mangaassist:7:firing",
        "redistill:mangaassist:7:resolved",
    ]


@pytest.mark.parametrize(
    ("path", "result", "error", "wait"),
    [
        ("/400", REFUSED, "HTTP 400 Bad Request", None),
        ("/401", REFUSED, "HTTP 401 Unauthorized", None),
        ("/404", REFUSED, "HTTP 404 Not Found", None),
        ("/400?Retry-After=7", REFUSED, "HTTP 400 Bad Request", None),
        ("/408", RETRY, "HTTP 408 Request Timeout", None),
        ("/425", RETRY, "HTTP 425 Too Early", None),
        ("/429", RETRY, "HTTP 429 Too Many Requests", None),
        ("/429?Retry-After=7", RETRY, "HTTP 429 Too Many Requests", 7.0),
        ("/429?Retry-After=0", RETRY, "HTTP 429 Too Many Requests", 0.0),
        ("/503?Retry-After=Tue,+24+Nov+2026+12:01:00+GMT", RETRY, "HTTP 503 Service Unavailable", 59.3),
        ("/503?Retry-After=Tue,+24+Nov+2026+11:00:00+GMT", RETRY, "HTTP 503 Service Unavailable", 0.0),
        ("/503?Retry-After=99999999999", RETRY, "HTTP 503 Service Unavailable", 3_600.0),
        ("/503?Retry-After=Tue,+24+Nov+9999+11:00:00+GMT", RETRY, "HTTP 503 Service Unavailable", 3_600.0),
        ("/503?Retry-After=soon", RETRY, "HTTP 503 Service Unavailable", None),
        ("/503?Retry-After=-5", RETRY, "HTTP 503 Service Unavailable", None),
        ("/500", RETRY, "HTTP 500 Internal Server Error", None),
        ("/502", RETRY, "HTTP 502 Bad Gateway", None),
        ("/304", REFUSED, "HTTP 304 Not Modified", None),
    ],
)
def test_answers(receiver: Endpoint, path: str, result: SendResult, error: str, wait: float | None) -> None:
    """What may be accepted later is tried again, and not before the receiver wants it."""
    receipt = send(receiver.url + path)
    assert (receipt.result, receipt.error) == (result, error)
    assert receipt.retry_after_seconds == (None if wait is None else pytest.approx(wait))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(receiver: Endpoint, status: int) -> None:
    """A signed message goes where it was configured to go, and no error tells an address."""
    receipt = send(f"{receiver.url}/{status}?Location=/202")
    assert receipt.result is REFUSED
    assert "to another path: redirects are not followed" in (receipt.error or "")
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("path", ["/reset", "/nonsense"])
def test_a_broken_connection_may_be_tried_again(receiver: Endpoint, path: str) -> None:
    receipt = send(receiver.url + path)
    assert receipt.result is RETRY
    assert receipt.error
    assert "\n" not in receipt.error
    assert len(receiver.requests) == 1


def test_a_receiver_that_hangs_is_left_after_the_timeout(receiver: Endpoint) -> None:
    channel = make_channel(f"{receiver.url}/hang", timeout_seconds=0.3)
    began = time.monotonic()
    receipt = channel.send(DELIVERY, now=NOW)
    assert time.monotonic() - began < 2
    assert receipt.result is RETRY
    assert "Timeout" in (receipt.error or "")


def test_nobody_listening_may_be_tried_again() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        receipt = send(f"http://127.0.0.1:{unheard.getsockname()[1]}/")
    assert receipt.result is RETRY
    assert (receipt.error or "").startswith("ConnectError: ")


@pytest.mark.parametrize("url", ["http://a..b/", "http://[::1:80/", f"http://{'a' * 70}.invalid/"])
def test_a_url_that_cannot_be_one_is_an_answer_too(url: str) -> None:
    """A channel does not raise: a broken one must not hold up the others."""
    assert send(url).result in {REFUSED, RETRY}


def test_the_secret_does_not_show() -> None:
    assert SECRET not in repr(make_channel("http://127.0.0.1/"))
