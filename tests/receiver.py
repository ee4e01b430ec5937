"""A real receiver of webhooks, on this machine: it checks the signature and keeps what it accepts."""

import hashlib
import hmac
import json
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from tests.servers import serving

SECRET: Final = "a test's secret"  # noqa: S105 - it guards nothing


@dataclass(frozen=True, kw_only=True)
class Received:
    key: str  #: the idempotency key
    body: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Receiver(ThreadingHTTPServer):
    """Answers after `wait_seconds`, so that a sender can die while it waits for the answer."""

    daemon_threads = True

    def __init__(self, *, wait_seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.wait_seconds = wait_seconds
        self.received: list[Received] = []
        self.refused: list[str] = []
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
        self.server.received.append(Received(key=self.headers["Idempotency-Key"], body=body))
        time.sleep(self.server.wait_seconds)
        self._answer(HTTPStatus.ACCEPTED)

    def _answer(self, status: HTTPStatus) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
        except ConnectionError:
            """The sender has died: its message was received all the same."""

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def receiving(*, wait_seconds: float = 0.0) -> AbstractContextManager[Receiver]:
    return serving(Receiver(wait_seconds=wait_seconds))
