"""What other programs answer or leave behind: channels, messages of a queue, archives."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.archive.sample import NotASampleError, packed, parsed
from monitor.storage.zstandard import zstd
from tests.fuzz.inputs import changed, edited, inputs
from tests.support.records.messages import make_delivery
from tests.support.records.samples import make_sample
from tests.support.servers.channels import KINDS, make_channel
from triggers.channels.port import Receipt, SendResult
from triggers.transports.job_message import classify

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b'HTTP/1.1 200 OK\r\nContent-Length: 32\r\n\r\n{"ok":true,"channel":"C","ts":1}',
    b"HTTP/1.1 429 Slow\r\nRetry-After: Tue, 24 Nov 2026 12:01:00 GMT\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: https://example.org/else\r\nContent-Length: 0\r\n\r\n",
    b'HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n',
    b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\nContent-Length: 17\r\n\r\n{"dedup_key":"k"}',
]


class Answering:
    """A server that answers every request with the same bytes, and then closes the connection."""

    def __init__(self) -> None:
        self.content = b""
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with closing(connection), suppress(OSError):
                    received = connection.recv(2**16)
                    head, _, body = received.partition(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                    while len(body) < length:
                        body += connection.recv(2**16)
                    connection.sendall(self.content)
                    connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Answering]:
    with closing(Answering()) as found:
        yield found


@inputs(6_000)
@given(content=changed(ANSWERS), kind=st.sampled_from(list(KINDS)))
def test_answers_to_channels(server: Answering, content: bytes, kind: str) -> None:
    server.content = content
    receipt = make_channel(kind, server.url, timeout_seconds=2.0).send(make_delivery(), now=NOW)
    check(receipt)
    assert not any(secret in (receipt.error or "") for secret in KINDS[kind].secrets)


@inputs(3_000)
@given(
    body=edited(
        [
            {"ok": True, "channel": "C1", "ts": "1503435956.000247"},
            {"ok": False, "error": "no_text"},
            {"status": "invalid event", "errors": ["x"]},
        ]
    ),
    kind=st.sampled_from(list(KINDS)),
)
def test_values_in_answers(server: Answering, body: object, kind: str) -> None:
    content = json.dumps(body).encode()
    server.content = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    check(make_channel(kind, server.url, timeout_seconds=2.0).send(make_delivery(), now=NOW))


def check(receipt: Receipt) -> None:
    assert (receipt.error is None) == (receipt.result is SendResult.DELIVERED)
    assert receipt.error is None or (receipt.error.isprintable() and len(receipt.error) <= 300)
    assert 0 <= (receipt.retry_after_seconds or 0) <= 3_600
    assert receipt.reference is None or isinstance(receipt.reference, str)


MESSAGE = {"schema": "redistill.job/1", "job_id": 7, "monitor": "prod", "alpha_to": 0.6}


@inputs(6_000)
@given(
    body=edited([MESSAGE]).map(json.dumps)
    | changed([json.dumps(MESSAGE).encode()]).map(lambda raw: raw.decode(errors="replace"))
)
def test_messages_of_a_queue(body: str) -> None:
    assert classify(body, monitor="prod", find=lambda _job: None)


ARCHIVE = packed(make_sample(2))
LINES = [orjson.loads(line) for line in zstd.decompress(ARCHIVE).splitlines()]


@inputs(4_000)
@given(content=changed([ARCHIVE, zstd.decompress(ARCHIVE)]))
def test_damaged_archives(content: bytes) -> None:
    with suppress(NotASampleError):
        parsed(content)
    with suppress(NotASampleError):
        parsed(zstd.compress(content))


@inputs(8_000)
@given(lines=edited([LINES]))
def test_values_of_archives(lines: object) -> None:
    rows = lines if isinstance(lines, list) else [lines]
    with suppress(NotASampleError):
        parsed(zstd.compress(b"\n".join(json.dumps(row).encode() for row in rows)))
