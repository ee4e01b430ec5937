"""A deadline for a whole HTTP request: a client's timeouts only bound each wait on the network."""

import socket
from contextlib import suppress
from threading import Lock, Timer
from types import TracebackType
from typing import Any, Self


class Deadline:
    """Breaks the connection of one request off after some seconds, so that its client raises an error."""

    def __init__(self, seconds: float) -> None:
        self.has_passed = False
        self._lock = Lock()
        self._socket: socket.socket | None = None
        self._timer = Timer(seconds, self._break_off)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._socket = None

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Note the connection's socket; a hook of httpcore, called at each step of the request.

        Source: https://www.encode.io/httpcore/extensions/#trace
        """
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self.has_passed:
                    self._shut()

    def _break_off(self) -> None:
        with self._lock:
            self.has_passed = True
            self._shut()

    def _shut(self) -> None:
        """Shut the socket down, which also ends a read in another thread; closing it would not."""
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
