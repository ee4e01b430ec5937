"""A real HTTP server that answers as a test says: also too late, never, or with nonsense."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tests.support.servers.http import serving


@dataclass(frozen=True, kw_only=True)
class Request:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass(frozen=True, kw_only=True)
class Reply:
    """How a request is answered; `fault` says how it is not."""

    status: int = 200
    body: str = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: (
        Literal["hang", "reset", "nonsense", "break off", "slow status", "slow headers", "slow body"] | None
    ) = None
    echo: bool = False  #: the request's path, headers and body are in the answer


#: Decides how a request is answered.
Answer = Callable[[Request], Reply]


class Endpoint(ThreadingHTTPServer):
    """Answers with the next of `replies`, the last of which stays, or as `answer` decides; keeps requests."""

    daemon_threads = True

    def __init__(self, *replies: Reply, answer: Answer | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies = list(replies or (Reply(),))
        self.answer = answer or self._next_reply
        self.before_answer: Callable[[], object] = lambda: None
        self.requests: list[Request] = []
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [request.document for request in self.requests]

    @property
    def keys(self) -> list[str]:
        """The idempotency keys of the requests."""
        return [request.headers["Idempotency-Key"] for request in self.requests]

    def _next_reply(self, _request: Request) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = Request(path=self.path, headers=dict(self.headers), body=body)
        self.server.requests.append(request)
        self.server.before_answer()
        reply = self.server.answer(request)
        if reply.fault == "hang":
            self.server.released.wait(60)
        elif reply.fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif reply.fault == "nonsense":
            self.wfile.write(b"hello\r\n\r\n")
        elif reply.fault and reply.fault.startswith("slow "):
            self._answer_slowly(reply, reply.fault.removeprefix("slow "))
        else:
            self._answer(reply, body)

    def _answer_slowly(self, reply: Reply, part: str) -> None:
        """Send the part byte by byte, ten a second, without end."""
        status, headers = f"HTTP/1.1 {reply.status} No\r\n", f"Content-Length: {10**6}\r\n"
        begun = {"status": "", "headers": f"{status}X-Slow: ", "body": f"{status}{headers}\r\n"}
        with suppress(OSError):
            self.wfile.write(begun[part].encode())
            while not self.server.released.wait(0.1):
                self.wfile.write(b"H" if part == "status" else b"x")

    def _answer(self, reply: Reply, body: bytes) -> None:
        told = f"no: {self.path} {self.headers} {body.decode()}" if reply.echo else reply.body
        reason = f"No {self.path} for {self.headers.get('Authorization', '')}" if reply.echo else None
        self.send_response(reply.status, reason)
        for header in reply.headers.items():
            self.send_header(*header)
        extra = 10 if reply.fault == "break off" else 0
        self.send_header("Content-Length", str(len(told.encode()) + extra))
        self.end_headers()
        self.wfile.write(told.encode())

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def finish(self) -> None:
        if not self.connection._closed:
            super().finish()


@contextmanager
def answering(*replies: Reply, answer: Answer | None = None) -> Iterator[Endpoint]:
    """Run an endpoint for the length of the block; hanging requests are released at its end."""
    with serving(Endpoint(*replies, answer=answer)) as server:
        try:
            yield server
        finally:
            server.released.set()
