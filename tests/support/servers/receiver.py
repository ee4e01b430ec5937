"""A real receiver of webhooks, on this machine: it checks the signature and keeps what it accepts."""

import hashlib
import hmac
import json
import socket
import struct
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.support.servers.http import serving

SECRET: Final = "a test's secret"  # noqa: S105 - it guards nothing


@dataclass(frozen=True, kw_only=True)
class Received:
    channel: str  #: the path that it was sent to
    key: str  #: the idempotency key
    body: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


#: What a message is answered with; None: the connection is reset.
Answer = Callable[[Received], HTTPStatus | None]


def welcome(_message: Received) -> HTTPStatus:
    return HTTPStatus.ACCEPTED


class Receiver(ThreadingHTTPServer):
    """Answers after `wait_seconds`, so that a sender can die while it waits for the answer."""

    daemon_threads = True

    def __init__(self, *, wait_seconds: float, answer: Answer = welcome) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wait_seconds = wait_seconds
        self.answer = answer
        self.received: list[Received] = []
        self.turned_away: list[tuple[Received, HTTPStatus | None]] = []
        self.refused: list[str] = []  #: bodies with a wrong signature
        self.under_way: dict[int, HTTPStatus | None] = {}  #: the senders' ports, and what they will hear
        self.url = f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        stamp = self.headers["Redistill-Timestamp"]
        expected = hmac.digest(SECRET.encode(), f"{stamp}.{body}".encode(), hashlib.sha256).hex()
        if self.headers["Redistill-Signature"] != f"v1={expected}":
            self.server.refused.append(body)
            self._answer(HTTPStatus.UNAUTHORIZED)
            return
        message = Received(channel=self.path.strip("/"), key=self.headers["Idempotency-Key"], body=body)
        status = self.server.answer(message)
        if status is HTTPStatus.ACCEPTED:
            self.server.received.append(message)
        else:
            self.server.turned_away.append((message, status))
        self.server.under_way[self.client_address[1]] = status
        time.sleep(self.server.wait_seconds)
        del self.server.under_way[self.client_address[1]]
        self._answer(status)

    def _answer(self, status: HTTPStatus | None) -> None:
        if status is None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            return
        try:
            self.send_response(status)
            if status is HTTPStatus.TOO_MANY_REQUESTS:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()
        except ConnectionError:
            """The sender has died: its message was received all the same."""

    def finish(self) -> None:
        if not self.connection._closed:
            super().finish()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def receiving(*, wait_seconds: float = 0.0, answer: Answer = welcome) -> AbstractContextManager[Receiver]:
    return serving(Receiver(wait_seconds=wait_seconds, answer=answer))
