"""`redistill archive`: the sampled requests that are kept."""

from dataclasses import asdict
from typing import Annotated

import typer

from monitor.archive.erasure import erase as erase_requests
from monitor.clock import utc_now
from redistill.commands.options import Config, Json, configured, examples, group
from redistill.database import migrated, telling
from redistill.display import show
from redistill.display.progress import bars

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Request ids, as they are in the log.")]

app = group("archive")


@app.callback()
def archive() -> None:
    """Take requests out of the archive."""


@app.command(epilog=examples("redistill archive erase r-17 r-18"))
def erase(ctx: typer.Context, ids: Ids, *, config: Config = None, as_json: Json = False) -> None:
    """Take the requests of these ids out of every archive; the numbers of their cycles stay.

    The request log itself is the service's. Models that were trained with them stay as they are.
    """
    settings = configured(ctx, config)
    with migrated(settings) as engine, telling(engine), bars() as progress:
        erased = erase_requests(
            engine,
            settings.monitor.name,
            ids,
            utc_now(),
            lambda done, total: progress("archives", done, total),
        )
    if as_json:
        show.print_json(asdict(erased))
    elif erased.n_requests or erased.n_labels:
        requests, archives = (
            show.counted(erased.n_requests, "request"),
            show.counted(erased.n_archives, "archive"),
        )
        and_labels = f", and {show.counted(erased.n_labels, 'label')}" if erased.n_labels else ""
        show.say(f"Taken out: {requests}, of {archives}{and_labels}.")
    else:
        show.say(f"No archive holds any of them; they are kept for {settings.monitor.archive_days} days.")
