"""`redistill monitor`: the daemon."""

from contextlib import nullcontext
from threading import Event
from typing import TYPE_CHECKING, Annotated, Final

import structlog
import typer
from sqlalchemy import Engine

from monitor.clock import utc_now
from monitor.daemon.probes import Check, Server
from monitor.daemon.probes import app as probes
from redistill.commands.options import Config, command, config_source, configured, examples
from redistill.configuration.settings import Settings
from redistill.configuration.source import Source
from redistill.database import existing, wait_until_migrated
from redistill.display.progress import show_nothing
from redistill.process import logs, readiness
from redistill.process.child import PATIENCE_SECONDS, Child
from redistill.process.stop_signals import leave, stop_on_signals

if TYPE_CHECKING:
    from monitor.daemon.loop import Daemon

app = command()

_CHECK_SECONDS: Final = 1.0
#: The most time from SIGTERM to the exit. A worker of the monitor gets more, to save its training.
_STOP_SECONDS: Final = 9.0
_STOP_WITH_WORKER_SECONDS: Final = PATIENCE_SECONDS + 4

_WithWorker = Annotated[
    bool, typer.Option("--with-worker", help="Also run a worker, in a process of its own.")
]


@app.command(epilog=examples("redistill monitor", "redistill monitor --with-worker"))
def monitor(ctx: typer.Context, *, with_worker: _WithWorker = False, config: Config = None) -> None:
    """Run cycles as they fall due and send notifications, until stopped by SIGTERM or Ctrl-C."""
    within = _STOP_WITH_WORKER_SECONDS if with_worker else _STOP_SECONDS
    with stop_on_signals(within_seconds=within) as stop:
        settings = configured(ctx, config)
        logs.configure()
        with existing(settings) as engine:
            worker = _worker(config_source(ctx, config)) if with_worker else None
            _Monitor(settings, engine, stop, worker).run()
    leave()


class _Monitor:
    """The probes, which answer at once, and the daemon, which starts once the database responds."""

    def __init__(self, settings: Settings, engine: Engine, stop: Event, worker: Child | None) -> None:
        self._settings = settings
        self._engine = engine
        self._stop = stop
        self._worker = worker
        self._daemon: Daemon | None = None

    def run(self) -> None:
        web = self._settings.web
        server = Server(probes(self._checks), host=web.host, port=web.port)
        server.start()
        try:
            is_migrated = wait_until_migrated(self._engine, self._settings.monitor.name, self._stop.is_set)
            if is_migrated and not self._stop.is_set():
                self._work(server.port)
        finally:
            server.stop()

    def _work(self, port: int) -> None:
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
        log.info("monitor started", web=f"http://{self._settings.web.host}:{port}")
        while not self._stop.wait(_CHECK_SECONDS):
            daemon.reschedule_after_clock_change()
            if self._worker is not None:
                self._worker.restart_if_due()
        log.info("monitor stops")
        if self._worker is not None:
            self._worker.ask_to_stop()

    def _checks(self) -> tuple[Check, ...]:
        return readiness.checks(self._engine, self._settings.monitor, self._scheduler, utc_now())

    @property
    def _scheduler(self) -> readiness.Scheduler:
        if self._daemon is None:
            return "starting"
        return "running" if self._daemon.is_running else "stopped"


def _worker(source: Source) -> Child:
    return Child((*source.options, "worker"))
