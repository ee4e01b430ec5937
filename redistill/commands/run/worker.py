"""`redistill worker`: the process that runs re-distillation jobs."""

from typing import Annotated, Final

import typer

from redistill.commands.options import Config, command, configured, examples
from redistill.database import existing, migrated, wait_until_migrated
from redistill.display import show
from redistill.display.progress import bars
from redistill.process import logs
from redistill.process.stop_signals import leave, stop_on_signals

app = command()

#: The most time from SIGTERM to the exit, in which a training is saved.
_STOP_SECONDS: Final = 20.0

_Once = Annotated[bool, typer.Option("--once", help="Run the queued job, if there is one, and exit.")]


@app.command(epilog=examples("redistill worker", "redistill worker --once"))
def worker(ctx: typer.Context, *, once: _Once = False, config: Config = None) -> None:
    """Run re-distillation jobs as they are queued, until stopped by SIGTERM or Ctrl-C."""
    settings = configured(ctx, config)
    logs.configure()
    from redistill import assembly  # noqa: PLC0415 - takes seconds, in which SIGTERM ends the process at once

    within = stop_on_signals(within_seconds=_STOP_SECONDS)
    with within as stop, migrated(settings) if once else existing(settings) as engine, bars() as progress:
        if not once and not wait_until_migrated(engine, settings.monitor.name, stop.is_set):
            return
        runner = assembly.worker(settings, engine, progress)
        if once:
            if not runner.run_once(stop.is_set):
                show.say("No job is queued.")
            return
        runner.serve(assembly.job_transport(settings, engine), stop)
    leave()
