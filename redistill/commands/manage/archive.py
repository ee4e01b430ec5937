"""`redistill archive`: the archived samples of requests."""

from dataclasses import asdict
from typing import Annotated

import typer

from db.connection import clock
from db.states import SliceKind
from monitor.archive.erasure import erase as erase_requests
from monitor.clock import utc_now
from redistill.archived_slices import ArchivedSlices, SliceWithExamples, find, read_slices
from redistill.archives import archive_folders, follow_archives, refuse_other_archives
from redistill.commands.options import LARGEST_ID, Config, Json, configured, examples, group
from redistill.database import migrated, reading_from, translated_errors
from redistill.display import show
from redistill.display.progress import bars
from redistill.display.show import Column
from triggers.incidents.slice_words import MOVED, slice_name

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of requests, as in the request log.")]
Cycle = Annotated[
    int | None,
    typer.Argument(
        metavar="CYCLE",
        min=1,
        max=LARGEST_ID,
        help="Number of the cycle.",
        show_default="the newest one with an archived sample",
    ),
]
Examples = Annotated[
    int, typer.Option("--examples", metavar="N", min=0, max=100, help="Requests to show of each slice.")
]

COLUMNS = (
    Column(title="slice"),
    Column(title="disagree", align="right"),
    Column(title="of all", align="right"),
    Column(title="traffic", align="right"),
    Column(title="rate", align="right"),
    Column(title="excess", align="right", spare=3),
    Column(title="then: traffic", align="right", spare=1),
    Column(title="rate", align="right", spare=1),
    Column(title="q", align="right", spare=4),
    Column(title="moved"),
)

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


@app.command(epilog=examples("redistill archive slices", "redistill archive slices 41 --examples 5"))
def slices(
    ctx: typer.Context,
    cycle: Cycle = None,
    *,
    n_examples: Examples = 2,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Rank the requests on which the models disagree most, by label, length and word, with examples.

    The texts of the archive are printed, redacted as they were archived.
    """
    settings = configured(ctx, config)
    with reading_from(settings) as connection:
        pair = find(connection, settings.monitor.name, cycle, archive_days=settings.monitor.archive_days)
    found = read_slices(pair, n_examples=n_examples)
    if as_json:
        show.print_json(_document(found))
    else:
        _print(found)


def _document(found: ArchivedSlices) -> dict[str, object]:
    slices = [
        {
            **asdict(each.slice),
            "growth": each.slice.growth,
            "examples": [asdict(example) for example in each.examples],
        }
        for each in found.slices
    ]
    return {**asdict(found), "slices": slices}


def _print(found: ArchivedSlices) -> None:
    then = f"cycle {found.reference_cycle_id}" if found.reference_cycle_id else "none"
    show.say(
        f"Cycle {found.cycle_id}, window to {show.time(found.window_end)}: the models disagree on "
        f"{show.count(found.n_disagreements)} of {show.counted(found.n, 'archived request')}; "
        f"reference: {then}"
    )
    if not found.slices:
        show.say("No slice disagrees more than the others beyond chance.")
        return
    for title, of_words in (("By label and length", False), ("By word", True)):
        part = [each for each in found.slices if (each.slice.kind is SliceKind.WORD) == of_words]
        if part:
            show.say(f"\n{title}")
            show.listing(COLUMNS, [_cells(each) for each in part])
    if any(each.examples for each in found.slices):
        show.say("\nExamples (teacher -> student)")
        for each in found.slices:
            show.say(_name(each))
            for example in each.examples:
                show.say(f"  {example.teacher_label} -> {example.student_label}: {example.text}")


def _cells(found: SliceWithExamples) -> list[str]:
    each, before = found.slice, found.slice.reference
    return [
        _name(found),
        show.count(each.n_disagreements),
        f"{each.part:.0%}",
        f"{each.now.share:.1%}",
        f"{each.now.rate:.0%}",
        f"{each.now.excess:.2%}",
        f"{before.share:.1%}" if before else "-",
        f"{before.rate:.0%}" if before else "-",
        f"{each.q_value:.1g}",
        "-" if each.q_moved is None else "yes" if each.q_moved <= MOVED else "no",
    ]


def _name(found: SliceWithExamples) -> str:
    each = found.slice
    also = f" (also {', '.join(each.also)})" if each.also else ""
    name = each.name if each.kind is SliceKind.WORD else slice_name(each.kind, each.name, each.student_label)
    return f"{name}{also}"
