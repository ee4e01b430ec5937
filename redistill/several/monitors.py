"""One daemon for several monitors: a process each, and one address for the probes and metrics of all."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from http.client import HTTPConnection, HTTPException
from threading import Event
from time import monotonic
from typing import Final

import structlog

from db.connection.unavailable import UNAVAILABLE
from db.errors import RedistillError
from monitor.daemon.probes import Check, Server, address, is_loopback, listening
from monitor.daemon.probes import app as probes
from monitor.settings import WebSection
from redistill.configuration.settings import Settings
from redistill.configuration.source import Source
from redistill.database import check_migrated, existing
from redistill.process.child import Child
from redistill.several.lives import Life, labels, lives
from redistill.web.collector import Watched
from redistill.web.endpoint import metrics_route

_CHECK_SECONDS: Final = 1.0
#: Less than the time in which /readyz must answer.
_ANSWER_SECONDS: Final = 4.0
_ASK_SECONDS: Final = 10.0
#: The time without an answer after which a process hangs and is replaced.
_HANG_SECONDS: Final = 120.0
_HTTP_ERRORS: Final = (OSError, HTTPException, ValueError)


class ProcessDiedError(RedistillError):
    """The process of the monitor died with exit code {exit_code}: see its log above."""


class ProcessHangsError(RedistillError):
    """The process of the monitor did not answer for {seconds:.0f} s and was killed."""


class MonitorProcess:
    """The process of one monitor. It serves its probes on a socket that it inherits."""

    def __init__(self, source: Source, life: Life, stop: Event) -> None:
        self._source = source
        self._life = life
        self._stop = stop
        self._socket = listening(host="127.0.0.1", port=0)
        self.watched: Watched | None = None  #: None: its configuration could not be read yet

    def work(self, settings: Settings) -> None:
        """Run the process until this one is asked to stop.

        Raises:
            RedistillError: the database is missing or not migrated, or the process died.
        """
        with existing(settings) as engine:
            self.watched = Watched(settings, engine)
            with suppress(*UNAVAILABLE):  # for which the process waits
                check_migrated(engine)
            number = self._socket.fileno()
            arguments = (*self._source.options, "monitor", "--probes-on", str(number))
            with Child(arguments, descriptors=(number,)) as child:
                self._watch(child)

    def _watch(self, child: Child) -> None:
        asked_at = answered_at = monotonic()
        while not self._stop.wait(_CHECK_SECONDS):
            if child.exit_code is not None:
                raise ProcessDiedError(exit_code=child.exit_code)
            if monotonic() - asked_at < _ASK_SECONDS:
                continue
            asked_at = monotonic()
            if self._get("/healthz") is not None:
                answered_at = monotonic()
            elif monotonic() - answered_at >= _HANG_SECONDS:
                child.kill()
                raise ProcessHangsError(seconds=_HANG_SECONDS)

    def checks(self, name: str) -> tuple[Check, ...]:
        """Return the checks of /readyz of the process, with the name before each."""
        if self._life.problem is not None:
            problem = self._life.problem
            return (Check(name=f"{name}: monitor", ok=False, code="stopped", detail=problem),)
        found = self._get("/readyz")
        if found is None:
            detail = "the process does not answer"
            return (Check(name=f"{name}: monitor", ok=False, code="no_answer", detail=detail),)
        return tuple(
            Check(name=f"{name}: {check}", **result) for check, result in json.loads(found)["checks"].items()
        )

    def _get(self, path: str) -> bytes | None:
        connection = HTTPConnection("127.0.0.1", self._socket.getsockname()[1], timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        except _HTTP_ERRORS:
            return None
        finally:
            connection.close()


def run(sources: Sequence[Source], stop: Event, worker: Child | None) -> None:
    """Run all monitors, each in a process of its own, and serve probes until `stop` is set."""
    found = lives(sources, stop)
    settings = [life.prepare() for life in found]
    web = next((each.web for each in settings if each is not None), WebSection())
    processes = [MonitorProcess(source, life, stop) for source, life in zip(sources, found, strict=True)]
    with ThreadPoolExecutor(len(processes), "checks") as pool:

        def checks() -> tuple[Check, ...]:
            answers = pool.map(MonitorProcess.checks, processes, labels(found))
            return tuple(check for each in answers for check in each)

        def watched() -> Mapping[str, Watched | None]:
            return {name: each.watched for name, each in zip(labels(found), processes, strict=True)}

        routes = [metrics_route(watched, web.token)]
        application = probes(checks, in_detail=is_loopback(web.host), routes=routes)
        server = Server(application, listening(host=web.host, port=web.port))
        server.start()
        log = structlog.get_logger()
        log.info("monitors started", web=f"http://{address(web.host, server.port)}", count=len(processes))
        with worker or nullcontext():
            threads = [life.start(each.work) for life, each in zip(found, processes, strict=True)]
            while not stop.wait(_CHECK_SECONDS):
                if worker is not None:
                    worker.restart_if_due()
            log.info("monitors stop")
            if worker is not None:
                worker.ask_to_stop()
            for thread in threads:
                thread.join()
        server.stop()
