"""A proxy before an S3 server that answers some requests with a fault."""

import http.client
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.support.servers.http import serving

#: Answers a request in its own way; gets the answer that the server gave.
Fault = Callable[["Handler", http.client.HTTPResponse, bytes], None]


def refused(status: int, code: str) -> Fault:
    """An error as S3 words it."""

    def answer(handler: "Handler", _answer: http.client.HTTPResponse, _body: bytes) -> None:
        body = f"<Error><Code>{code}</Code><Message>as asked</Message></Error>".encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def reset_mid_body(handler: "Handler", answer: http.client.HTTPResponse, body: bytes) -> None:
    """Half of the body comes, and then the connection is gone."""
    handler.send_answer(answer, body, sent=body[: len(body) // 2])
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def stalled_after(n_bytes: int) -> Fault:
    """The rest of the body does not come as long as the client waits for it."""

    def answer(handler: "Handler", answer: http.client.HTTPResponse, body: bytes) -> None:
        handler.send_answer(answer, body, sent=body[:n_bytes])
        handler.connection.recv(1)
        handler.close_connection = True

    return answer


def silent(handler: "Handler", _answer: http.client.HTTPResponse, _body: bytes) -> None:
    """No answer comes as long as the client waits for it."""
    handler.connection.recv(1)
    handler.close_connection = True


def lost(handler: "Handler", _answer: http.client.HTTPResponse, _body: bytes) -> None:
    """The server has done what was asked, and the connection is gone before it says so."""
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def wrong_etag(handler: "Handler", answer: http.client.HTTPResponse, body: bytes) -> None:
    """The body of another version."""
    handler.send_answer(answer, body, headers={"ETag": '"00"'})


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "FaultyServer"

    def do_GET(self) -> None:
        self._relay(b"")

    def do_HEAD(self) -> None:
        self._relay(b"")

    def do_DELETE(self) -> None:
        self._relay(b"")

    def do_POST(self) -> None:
        self.do_PUT()

    def do_PUT(self) -> None:
        length, sent = int(self.headers.get("Content-Length", 0)), b""
        while len(sent) < length and self.server.reads_bytes:
            sent += self.rfile.read(min(self.server.reads_bytes, length - len(sent)))
            time.sleep(self.server.reads_pause_seconds)
        self._relay(sent)

    def _relay(self, sent: bytes) -> None:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=10)
        connection.request(self.command, self.path, sent or None, headers=dict(self.headers.items()))
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        fault = self.server.next_fault(self.command, self.path)
        if fault is None:
            self.send_answer(answer, body)
        else:
            fault(self, answer, body)

    def send_answer(
        self,
        answer: http.client.HTTPResponse,
        body: bytes,
        *,
        sent: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        changed = dict(headers or {})
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"content-length", "connection", "transfer-encoding", "date", "server"}:
                self.send_header(name, changed.pop(name, value))
        length = answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(body if sent is None else sent)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's signature
        pass


class FaultyServer(ThreadingHTTPServer):
    """Each request for an object takes the next fault, if there is one; None is none. So do listings, of
    `listing_faults`.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = upstream
        self.faults: deque[Fault | None] = deque()
        self.listing_faults: deque[Fault | None] = deque()
        self.reads_bytes = 2**20  #: of what is sent, at a time
        self.reads_pause_seconds = 0.0
        self.asked: list[str] = []
        self.methods: list[str] = []
        self._lock = threading.Lock()

    def next_fault(self, method: str, path: str) -> Fault | None:
        with self._lock:
            self.asked.append(path)
            self.methods.append(method)
            faults = self.listing_faults if "list-type" in path else self.faults
            return faults.popleft() if faults else None

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is expected here."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def faulty(s3_url: str) -> AbstractContextManager[FaultyServer]:
    """A proxy before the server; what goes wrong is put into `faults`."""
    return serving(FaultyServer(urlsplit(s3_url).netloc))
