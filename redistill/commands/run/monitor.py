"""`redistill monitor`: the daemon."""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain
from socket import socket
from threading import Event
from typing import TYPE_CHECKING, Annotated, Final

import structlog
import typer
from sqlalchemy import Engine

from monitor.clock import utc_now
from monitor.daemon.probes import Check, Server, address, is_loopback, listening
from monitor.daemon.probes import app as probes
from redistill.commands.options import Configs, command, config_sources, examples
from redistill.configuration.settings import Settings, load
from redistill.configuration.source import Source
from redistill.database import existing, wait_until_migrated
from redistill.display.progress import show_nothing
from redistill.process import logs, readiness
from redistill.process.child import PATIENCE_SECONDS, Child
from redistill.process.stop_signals import leave, leave_on_signals, stop_on_signals
from redistill.web.collector import Watched
from redistill.web.endpoint import metrics_route

if TYPE_CHECKING:
    from monitor.daemon.loop import Daemon

app = command()

_CHECK_SECONDS: Final = 1.0
#: The most time from SIGTERM to the exit. A worker of the monitor gets more, to save its training, and
#: several monitors wait for their processes.
_STOP_SECONDS: Final = 9.0
_STOP_WITH_CHILDREN_SECONDS: Final = PATIENCE_SECONDS + 4

_WithWorker = Annotated[
    bool, typer.Option("--with-worker", help="Also run a worker, in a process of its own.")
]
_ProbesOn = Annotated[
    int | None,
    typer.Option("--probes-on", hidden=True, help="Listening socket of a daemon that runs several monitors."),
]


@app.command(
    epilog=examples(
        "redistill monitor",
        "redistill monitor --with-worker",
        "redistill monitor --config a.toml --config b.toml",
    )
)
def monitor(
    ctx: typer.Context,
    *,
    with_worker: _WithWorker = False,
    config: Configs = None,
    probes_on: _ProbesOn = None,
) -> None:
    """Run cycles as they fall due and send notifications, until stopped by SIGTERM or Ctrl-C.

    With several configurations, each monitor is run in a process of its own.
    """
    sources = config_sources(ctx, config)
    worker = _worker(sources) if with_worker else None
    within = _STOP_SECONDS if worker is None and len(sources) == 1 else _STOP_WITH_CHILDREN_SECONDS
    with stop_on_signals(within_seconds=within) as stop:
        if len(sources) > 1:
            _run_several(sources, stop, worker)
        else:
            _run_one(sources[0], stop, worker, probes_on)
    leave()


def _run_one(source: Source, stop: Event, worker: Child | None, probes_on: int | None) -> None:
    settings = load(source)
    logs.configure(monitor=settings.monitor.name)
    with existing(settings) as engine:
        web = settings.web
        listener = listening(host=web.host, port=web.port) if probes_on is None else socket(fileno=probes_on)
        _Monitor(settings, engine, stop, worker).run(listener)


def _run_several(sources: Sequence[Source], stop: Event, worker: Child | None) -> None:
    from redistill.several import monitors  # noqa: PLC0415 - most daemons have one

    logs.configure()
    monitors.run(sources, stop, worker)


def _worker(sources: Sequence[Source]) -> Child:
    options = chain.from_iterable(source.options for source in sources)
    return Child((*options, "worker"))


class _Monitor:
    """The probes, which answer at once, and the daemon, which starts once the database responds."""

    def __init__(self, settings: Settings, engine: Engine, stop: Event, worker: Child | None) -> None:
        self._settings = settings
        self._engine = engine
        self._stop = stop
        self._worker = worker
        self._daemon: Daemon | None = None

    def run(self, listener: socket) -> None:
        settings = self._settings
        in_detail = is_loopback(str(listener.getsockname()[0]))
        watched = {settings.monitor.name: Watched(settings, self._engine)}
        routes = [metrics_route(lambda: watched, settings.web.token)]
        server = Server(probes(self._checks, in_detail=in_detail, routes=routes), listener)
        server.start()
        try:
            is_migrated = wait_until_migrated(self._engine, self._settings.monitor.name, self._stop.is_set)
            if is_migrated and not self._stop.is_set():
                self._work(server.port)
        finally:
            server.stop()

    def _work(self, port: int) -> None:
        with leave_on_signals():
            from redistill import assembly  # noqa: PLC0415 - torch takes seconds to load

        self._daemon = daemon = assembly.daemon(self._settings, self._engine, show_nothing, self._stop)
        if self._stop.is_set():
            return
        with self._worker or nullcontext():
            daemon.start()
            try:
                self._supervise(daemon, port)
            finally:
                daemon.stop()

    def _supervise(self, daemon: "Daemon", port: int) -> None:
        log = structlog.get_logger().bind(monitor=self._settings.monitor.name)
        log.info("monitor started", web=f"http://{address(self._settings.web.host, port)}")
        while not self._stop.wait(_CHECK_SECONDS):
            daemon.reschedule_after_clock_change()
            if self._worker is not None:
                self._worker.restart_if_due()
        log.info("monitor stops")
        if self._worker is not None:
            self._worker.ask_to_stop()

    def _checks(self) -> tuple[Check, ...]:
        found = readiness.checks(self._engine, self._settings.monitor, self._scheduler, utc_now())
        return (*found, readiness.models(self._engine, self._settings))

    @property
    def _scheduler(self) -> readiness.Scheduler:
        if self._daemon is None:
            return "starting"
        return "running" if self._daemon.is_running else "stopped"
