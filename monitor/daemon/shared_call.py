"""A call that may hang, in a thread of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedCall(Generic[T]):
    """A call in a thread, shared by all that ask while it runs: if it hangs it is not started again."""

    def __init__(self, call: Callable[[], T], *, name: str) -> None:
        self._call = call
        self._name = name
        self._lock = threading.Lock()
        self._running: Future[T] | None = None

    def begin(self) -> Future[T]:
        """Start the call, unless it runs already; return its result, for which the caller may wait."""
        with self._lock:
            if self._running is None or self._running.done():
                self._running = Future()
                threading.Thread(
                    target=self._run, args=(self._running,), name=self._name, daemon=True
                ).start()
            return self._running

    def _run(self, running: Future[T]) -> None:
        try:
            running.set_result(self._call())
        except Exception as error:  # noqa: BLE001 - `Future.result` raises it
            running.set_exception(error)
