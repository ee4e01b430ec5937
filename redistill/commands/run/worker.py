"""`redistill worker`: the process that runs re-distillation jobs."""

from collections.abc import Sequence
from typing import Annotated, Final, NoReturn

import typer
from sqlalchemy import Engine

from db import leases, queue
from db.connection.session import reading
from db.states import JobStatus
from redistill.commands.options import Configs, command, config_sources, examples
from redistill.configuration.settings import load
from redistill.configuration.source import Source
from redistill.database import existing, migrated, wait_until_migrated
from redistill.display import show
from redistill.display.progress import bars
from redistill.process import logs
from redistill.process.stop_signals import leave, loading, stop_on_signals

app = command()

#: The most time from SIGTERM to the exit, in which a training is saved.
_STOP_SECONDS: Final = 20.0

_Once = Annotated[bool, typer.Option("--once", help="Run the queued job, if there is one, and exit.")]


@app.command(
    epilog=examples(
        "redistill worker", "redistill worker --once", "redistill worker --config a.toml --config b.toml"
    )
)
def worker(ctx: typer.Context, *, once: _Once = False, config: Configs = None) -> None:
    """Run re-distillation jobs as they are queued, until stopped by SIGTERM or Ctrl-C.

    With several configurations, their jobs are run in turn, one at a time.
    """
    sources = config_sources(ctx, config)
    if len(sources) > 1:
        _serve_several(sources, once=once)
    settings = load(sources[0])
    logs.configure()
    with loading():
        from redistill import assembly  # noqa: PLC0415 - takes seconds, in which a signal ends the process

    within = stop_on_signals(within_seconds=_STOP_SECONDS)
    with within as stop, migrated(settings) if once else existing(settings) as engine, bars() as progress:
        if not once and not wait_until_migrated(engine, settings.monitor.name, stop.is_set):
            return
        runner = assembly.worker(settings, engine, progress)
        if once:
            if not runner.run_once(stop.is_set):
                show.say(_why_idle(engine, settings.monitor.name))
            return
        runner.serve(assembly.job_transport(settings, engine), stop)
    leave()


def _why_idle(engine: Engine, monitor: str) -> str:
    with reading(engine) as connection:
        job = queue.open_job(connection, monitor)
        expires = None if job is None else leases.expiry_of(connection, queue.lease_name(job.job_id))
    if job is None:
        return "No job is queued."
    if job.status is JobStatus.RUNNING:
        until = show.time(expires)
        return f"Another worker holds job {job.job_id} until {until} UTC, and longer if it is alive."
    return f"Job {job.job_id} is queued and was not started: {job.error or 'run the command again.'}"


def _serve_several(sources: Sequence[Source], *, once: bool) -> NoReturn:
    if once:
        raise typer.BadParameter("--once takes one configuration: run the command once for each")
    logs.configure()
    with loading():
        from redistill.several import workers  # noqa: PLC0415 - as above

    with stop_on_signals(within_seconds=_STOP_SECONDS) as stop, bars() as progress:
        workers.serve(sources, progress, stop)
    leave()
