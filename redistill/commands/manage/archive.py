"""`redistill archive`: the archived samples of requests."""

from dataclasses import asdict
from typing import Annotated

import typer

from db.connection import clock
from monitor.archive.erasure import erase as erase_requests
from monitor.clock import utc_now
from redistill.archives import archive_folders, follow_archives, refuse_other_archives
from redistill.commands.options import Config, Json, configured, examples, group
from redistill.database import migrated, translated_errors
from redistill.display import show
from redistill.display.progress import bars

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of requests, as in the request log.")]

app = group("archive")


@app.command(epilog=examples("redistill archive erase r-17 r-18"))
def erase(ctx: typer.Context, ids: Ids, *, config: Config = None, as_json: Json = False) -> None:
    """Erase the requests with these ids from every archive; the numbers of their cycles are kept.

    The request log itself, and models that were trained on the requests, are not changed.
    """
    if not all(ids):
        raise typer.BadParameter("an ID is empty")
    settings = configured(ctx, config)
    with migrated(settings) as engine, translated_errors(engine), bars() as progress:
        refuse_other_archives(settings, engine)
        follow_archives(settings, engine)
        erased = erase_requests(
            engine,
            settings.monitor.name,
            ids,
            clock.agreed(engine, utc_now()),
            lambda done, total: progress("archives", done, total),
            folders=archive_folders(settings, engine),
            encryption=settings.s3.encryption,
        )
    if as_json:
        show.print_json(asdict(erased))
    elif erased.n_requests or erased.n_labels:
        requests, archives = (
            show.counted(erased.n_requests, "request"),
            show.counted(erased.n_archives, "archive"),
        )
        and_labels = f", and {show.counted(erased.n_labels, 'label')}" if erased.n_labels else ""
        show.say(f"Erased: {requests} from {archives}{and_labels}.")
    else:
        days = settings.monitor.archive_days
        show.say(f"No archive contains any of these requests; archives are kept for {days} days.")
