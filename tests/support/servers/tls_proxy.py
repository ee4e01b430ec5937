"""TLS before a PostgreSQL server that was built without it: its clients encrypt and verify as they would."""

import select
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class TlsProxy(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, upstream: tuple[str, int], tls: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(tls)

    @property
    def port(self) -> int:
        port: int = self.server_address[1]
        return port


class _Handler(socketserver.BaseRequestHandler):
    server: TlsProxy

    def handle(self) -> None:
        if self.request.recv(8, socket.MSG_WAITALL) != _SSL_REQUEST:
            return  # plaintext, which this server does not take
        self.request.sendall(b"S")
        with suppress(OSError):  # whoever does not trust the certificate hangs up
            tls = self.server.context.wrap_socket(self.request, server_side=True)
            with tls, socket.create_connection(self.server.upstream) as upstream:
                _join(tls, upstream)


def _join(tls: ssl.SSLSocket, upstream: socket.socket) -> None:
    """Hand on what each side says, in one thread: OpenSSL does not read and write a connection at once."""
    while True:
        ready = [tls] if tls.pending() else select.select([tls, upstream], [], [])[0]
        for side in ready:
            data = side.recv(65_536)
            if not data:
                return
            (upstream if side is tls else tls).sendall(data)


@contextmanager
def tls_before(port: int, tls: Path) -> Iterator[TlsProxy]:
    """Before the server on that port of this machine, with the key and certificate in the file."""
    with TlsProxy(("127.0.0.1", port), tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
