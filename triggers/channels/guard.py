"""The guard of all channels: whatever one raises, and however long it takes, is the result of an attempt."""

import socket
import threading
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self

from db.records import Delivery
from triggers.channels.port import Channel, Receipt, SendResult
from triggers.channels.text import printable, shortened

#: A call that takes longer is left. It is longer than the timeouts of a channel, and shorter than the time
#: for which a message is hidden from other senders.
DEADLINE_SECONDS: Final = 75.0

_ERROR_LENGTH: Final = 300
_ENDS: Final = (KeyboardInterrupt, SystemExit)
_READ_CHARACTERS: Final = 10_000  #: of an error; some libraries put a whole document into it


def attempt(
    channel: Channel, delivery: Delivery, *, now: datetime, seconds: float = DEADLINE_SECONDS
) -> Receipt:
    """Send one message; a failure is returned and can be retried, also one that the channel raises.

    After `seconds`, the call is left in its thread. Should it succeed after all, the message is sent twice,
    with the same key.

    Raises:
        KeyboardInterrupt, SystemExit: the channel raised it, to end the process.
    """
    results: list[Receipt | BaseException] = []

    def send() -> None:
        try:
            results.append(channel.send(delivery, now=now))
        except BaseException as error:  # noqa: BLE001 - raised or returned in the other thread
            results.append(error)

    thread = threading.Thread(target=send, name=f"sending {delivery.channel}", daemon=True)
    thread.start()
    thread.join(seconds)
    result = results[0] if results else TimeoutError(f"no answer within {seconds:g} s")
    if isinstance(result, _ENDS):
        raise result
    return result if isinstance(result, Receipt) else _failure(result)


def _failure(error: BaseException) -> Receipt:
    return Receipt(result=SendResult.RETRY, error=described(error))


def described(error: BaseException) -> str:
    """Return an error in one short line."""
    return shortened(printable(f"{type(error).__name__}: {error}"[:_READ_CHARACTERS]), _ERROR_LENGTH)


class Deadline:
    """Breaks the connection of one HTTP request off after some seconds, so that its client raises an error.

    A client's timeouts only bound each wait on the network.
    """

    def __init__(self, seconds: float) -> None:
        self.has_passed = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._break_off)
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
