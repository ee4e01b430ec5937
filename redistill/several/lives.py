"""The life of one configuration among several: it is read and worked with again until that succeeds."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Final

import structlog

from db.errors import RedistillError, one_line
from redistill.configuration.settings import Settings, load
from redistill.configuration.source import Source
from redistill.several.names import Names

_FIRST_WAIT_SECONDS: Final = 1.0
_LONGEST_WAIT_SECONDS: Final = 60.0
#: The time after which a life was a success, and the wait is reset.
_SOUND_SECONDS: Final = 60.0

#: Works with a configuration until the process is asked to stop; an error ends this one life only.
Work = Callable[[Settings], None]


class Life:
    """The thread of one configuration, which waits 1, 2, 4, … 60 s after each failure."""

    def __init__(self, number: int, source: Source, names: Names, stop: threading.Event) -> None:
        self._number = number
        self.source = source
        self._names = names
        self._stop = stop
        self.monitor = str(source)  #: the name of the monitor, once the configuration could be read
        self.problem: str | None = "starting"  #: the reason why it does not work now

    def prepare(self) -> Settings | None:
        """Read the configuration and claim its name ahead of the thread; return None if that fails."""
        with suppress(RedistillError):
            settings = self._read()
            self._names.claim(self._number, self.source, settings)
            return settings
        return None

    def start(self, work: Work) -> threading.Thread:
        """Start to work, in a thread that ends when the process is asked to stop."""
        thread = threading.Thread(target=self._run, args=(work,), name=f"life {self._number}", daemon=True)
        thread.start()
        return thread

    def _read(self) -> Settings:
        settings = load(self.source)
        self.monitor = settings.monitor.name
        return settings

    def _run(self, work: Work) -> None:
        wait = _FIRST_WAIT_SECONDS
        while not self._stop.is_set():
            began = monotonic()
            error = self._live(work)
            if self._stop.is_set():
                return
            self.problem = error
            wait = _FIRST_WAIT_SECONDS if monotonic() - began >= _SOUND_SECONDS else wait
            structlog.get_logger().error(
                "monitor failed",
                monitor=self.monitor,
                config=str(self.source),
                error=error,
                again_in_seconds=wait,
            )
            self._stop.wait(wait)
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    def _live(self, work: Work) -> str:
        """Return the reason of the end."""
        try:
            settings = self._read()
        except RedistillError as error:
            self._names.release(self._number)
            return str(error)
        try:
            self._names.claim(self._number, self.source, settings)
            with structlog.contextvars.bound_contextvars(monitor=self.monitor):
                self.problem = None
                work(settings)
        except RedistillError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - the top of the thread: the next life may succeed
            structlog.get_logger().exception("monitor crashed", monitor=self.monitor)
            return f"{type(error).__name__}: {one_line(error)}"
        return "ended"


def labels(found: Sequence[Life]) -> tuple[str, ...]:
    """Return the names of the monitors, with the configuration where two have one name."""
    names = [life.monitor for life in found]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({life.source})"
        for name, life in zip(names, found, strict=True)
    )


def lives(sources: Sequence[Source], stop: threading.Event) -> tuple[Life, ...]:
    """Return one life per configuration. Of two with one name, the first that works is in force."""
    names = Names()
    return tuple(Life(number, source, names, stop) for number, source in enumerate(sources))
