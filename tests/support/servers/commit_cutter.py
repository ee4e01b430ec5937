"""A proxy before a PostgreSQL server that cuts a connection once the server has committed."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import URL


class CuttingProxy(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.path = path  #: of the server's socket
        self.armed = threading.Event()  #: the next commit's answer is lost
        self.cut = 0

    def url(self, url: URL) -> str:
        found = url.set(host="127.0.0.1", port=self.server_address[1], query={})
        return found.render_as_string(hide_password=False)


class _Handler(socketserver.BaseRequestHandler):
    server: CuttingProxy

    def handle(self) -> None:
        with socket.socket(socket.AF_UNIX) as upstream:
            upstream.connect(self.server.path)
            self.commits = threading.Event()
            back = threading.Thread(target=self._answers, args=(upstream,), daemon=True)
            back.start()
            with suppress(OSError):
                while data := self.request.recv(65_536):
                    if b"COMMIT\0" in data and self.server.armed.is_set():
                        self.commits.set()
                    upstream.sendall(data)
            with suppress(OSError):
                upstream.shutdown(socket.SHUT_RDWR)
            back.join()

    def _answers(self, upstream: socket.socket) -> None:
        with suppress(OSError):
            while data := upstream.recv(65_536):
                if self.commits.is_set():
                    self.server.armed.clear()
                    self.server.cut += 1
                    self.request.shutdown(socket.SHUT_RDWR)
                    return
                self.request.sendall(data)


@contextmanager
def cutting(url: URL) -> Iterator[CuttingProxy]:
    """Before the server of the URL, which has a Unix socket."""
    with CuttingProxy(f"{url.query['host']}/.s.PGSQL.5432") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
