"""`redistill evaluate`: what the student and the teacher are worth on labelled data."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from db import versions
from db.errors import RedistillError
from db.records import Metric
from db.states import Role
from monitor.settings import MetricsSection, ScoringSection
from redistill import show
from redistill.commands.options import Config, Json, command, config_file, configured, examples
from redistill.database import reading_from
from redistill.progress import bars
from redistill.settings import Settings
from redistill.show import Column

if TYPE_CHECKING:
    from redistill.comparison import Comparison

app = command()

_COLUMNS = (
    Column(title="metric"),
    Column(title="student", align="right"),
    Column(title="95% interval"),
    Column(title="teacher", align="right"),
    Column(title="95% interval", spare=1),
    Column(title="rows", align="right", spare=2),
)
_Data = Annotated[Path, typer.Option("--data", metavar="FILE", help="JSON Lines with text and label.")]
_Teacher = Annotated[
    Path | None, typer.Option("--teacher", metavar="DIR", help="The large model.", show_default="configured")
]
_Student = Annotated[
    Path | None,
    typer.Option("--student", metavar="DIR", help="The small model.", show_default="the one that serves"),
]


@app.command(
    epilog=examples(
        "redistill evaluate --data test.jsonl",
        "redistill evaluate --data test.jsonl --teacher models/bert --student models/tiny",
    )
)
def evaluate(
    ctx: typer.Context,
    *,
    data: _Data,
    teacher: _Teacher = None,
    student: _Student = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Measure the student and the teacher on labelled data, each number with its 95% interval."""
    from redistill.comparison import compare  # noqa: PLC0415 - torch takes seconds to load

    if teacher and student and not config_file(ctx, config).exists():
        metrics, scoring = MetricsSection(), ScoringSection()
    else:
        settings = configured(ctx, config)
        metrics, scoring = settings.metrics, settings.scoring
        teacher, student = teacher or settings.teacher.uri, student or _serving(settings)
    with bars() as progress:
        found = compare(data, teacher, student, metrics=metrics, scoring=scoring, show=progress)
    if as_json:
        show.print_json(found)
    else:
        _print(found)


def _serving(settings: Settings) -> Path:
    """Where the student lies that serves: as the database says, else as the configuration does."""
    with suppress(RedistillError), reading_from(settings) as connection:
        current = versions.current(connection, settings.monitor.name, Role.STUDENT)
        if current is not None:
            return Path(current.uri)
    return settings.student.uri


def _print(found: "Comparison") -> None:
    show.facts(
        [
            ("data", f"{found.data}, {show.count(found.n)} rows"),
            ("student", f"{found.student.directory} ({show.version(found.student.version)})"),
            ("teacher", f"{found.teacher.directory} ({show.version(found.teacher.version)})"),
        ]
    )
    show.say("")
    teacher = {metric.name: metric for metric in found.teacher.metrics}
    show.listing(_COLUMNS, [_cells(metric, teacher.get(metric.name)) for metric in found.student.metrics])
    show.say(f"\nagreement, kl (nats) and js (nats) are with the teacher, at T = {found.temperature:g}.")


def _cells(student: Metric, teacher: Metric | None) -> list[show.Cell]:
    return [
        student.name,
        show.number(student.value),
        _interval(student),
        show.number(teacher.value) if teacher else "",
        _interval(teacher) if teacher else "",
        show.count(student.n),
    ]


def _interval(metric: Metric) -> str:
    return f"[{show.number(metric.low)}, {show.number(metric.high)}]"
