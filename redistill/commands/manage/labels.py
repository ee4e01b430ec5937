"""`redistill labels`: true labels, which show the model that is right where the two disagree."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from db.connection import clock
from db.connection.session import reading
from db.errors import quoted
from monitor.clock import utc_now
from monitor.labels.files import read_labels
from monitor.labels.join import Imported, import_labels
from redistill.archives import follow_archives
from redistill.commands.options import Config, Json, configured, examples, group
from redistill.database import migrated, translated_errors
from redistill.display import show
from redistill.display.cleared_windows import advice_on_cleared
from redistill.display.progress import bars

_File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        allow_dash=True,
        help="JSON Lines, or CSV with a header (.csv); also compressed (.gz, .zst); '-' reads JSON Lines "
        "from the standard input.",
    ),
]
_Id = Annotated[str, typer.Option("--id", metavar="NAME", help="Field or column of the request id.")]
_Label = Annotated[str, typer.Option("--label", metavar="NAME", help="Field or column of the true label.")]

app = group("labels")


@app.command("import", epilog=examples("redistill labels import reviewed.csv --id request_id --label intent"))
def import_file(
    ctx: typer.Context,
    file: _File,
    *,
    id_name: _Id = "id",
    label_name: _Label = "label",
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Match true labels with the sampled requests, to see which model is right where the two disagree.

    A label replaces an earlier one of the same request. `redistill status` shows the result.
    """
    settings = configured(ctx, config)
    with migrated(settings) as engine, translated_errors(engine), bars() as progress:
        follow_archives(settings, engine)
        imported = import_labels(
            engine,
            settings.monitor.name,
            read_labels(
                file,
                id_name=id_name,
                label_name=label_name,
                progress=lambda done, total: progress("labels", done, total),
            ),
            kept=timedelta(days=settings.monitor.archive_days),
            now=clock.agreed(engine, utc_now()),
            progress=lambda done, total: progress("samples", done, total),
            labels_are_random=settings.redistill.label_source == "random",
        )
        with reading(engine) as connection:
            cleared = advice_on_cleared(connection, settings.monitor.name, settings.teacher)
    if as_json:
        show.print_json({**asdict(imported), "n_unsampled": imported.n_unsampled})
    else:
        show.facts(list(_facts(imported, settings.monitor.archive_days)))
        if cleared:
            show.say(cleared)
    if imported.first_unread:
        show.warn(_unread(imported))


def _facts(found: Imported, archive_days: int) -> Iterator[tuple[str, show.Cell]]:
    yield (
        "read",
        f"{show.counted(found.n_read, 'row')} with labels of {show.counted(found.n_requests, 'request')}",
    )
    changed = (
        f"{show.counted(found.n_changed, 'label')} new or changed, in {show.counted(found.n_cycles, 'cycle')}"
    )
    yield "joined", f"{show.counted(found.n_joined, 'sampled request')}; {changed}"
    why = f"most requests are not sampled, and samples are kept for {archive_days} days"
    yield "in no sample", f"{show.counted(found.n_unsampled, 'request')}; {why}"
    if first := found.first_malformed:
        rows = show.counted(found.n_malformed, "row")
        yield "malformed", f"{rows}, the first in line {first.line}: {first.problem}"
    if found.n_unknown:
        unknown = show.counted(found.n_unknown, "label")
        yield "unknown", f"{unknown} that the models do not have, the first {quoted(found.first_unknown)}"


def _unread(found: Imported) -> str:
    samples = show.counted(found.n_unread, "sample")
    return f"{samples} could not be read; the first error: {found.first_unread}"
