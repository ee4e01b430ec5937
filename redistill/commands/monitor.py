"""`redistill monitor`: the daemon."""

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Final

import structlog
import typer

from monitor.web.probes import Server
from monitor.web.probes import app as probes
from redistill import logs, readiness
from redistill.child import Child
from redistill.commands.options import Config, command, config_file, configured, examples
from redistill.database import migrated
from redistill.progress import show_nothing
from redistill.signals import stop_on_signals
from redistill.times import utc_now

app = command()

_LOOK_SECONDS: Final = 1.0

_WithWorker = Annotated[
    bool, typer.Option("--with-worker", help="Also run a worker, as a process of its own.")
]


@app.command(epilog=examples("redistill monitor", "redistill monitor --with-worker"))
def monitor(ctx: typer.Context, *, with_worker: _WithWorker = False, config: Config = None) -> None:
    """Run cycles as they fall due, and send messages, until stopped by SIGTERM or Ctrl-C."""
    from redistill import assembly  # noqa: PLC0415 - torch takes seconds to load

    settings = configured(ctx, config)
    logs.configure()
    log = structlog.get_logger().bind(monitor=settings.monitor.name)
    with migrated(settings) as engine, stop_on_signals() as stop, ExitStack() as running:
        daemon = assembly.daemon(settings, engine, show_nothing)
        server = Server(
            probes(lambda: readiness.checks(engine, settings.monitor, lambda: daemon.is_running, utc_now())),
            host=settings.web.host,
            port=settings.web.port,
        )
        server.start()
        running.callback(server.stop)
        worker = running.enter_context(_worker(config_file(ctx, config))) if with_worker else None
        daemon.start()
        running.callback(daemon.stop)
        log.info("monitor started", web=f"http://{settings.web.host}:{server.port}")
        while not stop.wait(_LOOK_SECONDS):
            if worker is not None:
                worker.look_after()
        log.info("monitor stops")
        if worker is not None:
            worker.ask_to_stop()


def _worker(config: Path) -> Child:
    return Child(("--config", str(config.resolve()), "worker"))
