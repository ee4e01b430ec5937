"""`redistill evaluate`: the metrics of the student and the teacher on labelled data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from db.records import Metric
from distill.settings import RedistillSection
from distill.training.fields import LabelledFields
from monitor.settings import MetricsSection, ScoringSection
from monitor.storage.artifacts import Artifacts, located
from redistill.artifacts import artifacts
from redistill.commands.options import (
    Config,
    Json,
    LabelField,
    TextField,
    command,
    config_source,
    configured,
    examples,
)
from redistill.display import show
from redistill.display.progress import bars
from redistill.display.show import Column
from redistill.process.stop_signals import loading
from redistill.serving import serving_student

if TYPE_CHECKING:
    from redistill.display.comparison import Comparison

app = command()

_COLUMNS = (
    Column(title="metric"),
    Column(title="student", align="right"),
    Column(title="95% interval"),
    Column(title="teacher", align="right"),
    Column(title="95% interval", spare=1),
    Column(title="rows", align="right", spare=2),
)
_LABELS = (
    Column(title="label"),
    Column(title="rows", align="right", spare=1),
    Column(title="recall", align="right"),
    Column(title="95% interval"),
    Column(title="precision", align="right"),
    Column(title="95% interval", spare=2),
    Column(title="teacher's recall", align="right"),
    Column(title="precision", align="right", spare=3),
)
_BINS = (
    Column(title="confidence"),
    Column(title="rows", align="right"),
    Column(title="mean", align="right"),
    Column(title="accuracy", align="right"),
    Column(title="95% interval"),
    Column(title="teacher's rows", align="right", spare=2),
    Column(title="mean", align="right", spare=1),
    Column(title="accuracy", align="right", spare=1),
)
_Data = Annotated[
    str, typer.Option("--data", metavar="FILE", help="Labelled rows: JSON Lines, or CSV with a header.")
]
_Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher", metavar="DIR", help="Directory of a teacher.", show_default="the configured teacher"
    ),
]
_Student = Annotated[
    str | None,
    typer.Option(
        "--student", metavar="DIR", help="Directory of a student.", show_default="the student in service"
    ),
]


@app.command(
    epilog=examples(
        "redistill evaluate --data test.jsonl",
        "redistill evaluate --data test.csv --text-field utterance --label-field intent",
        "redistill evaluate --data test.jsonl --teacher models/bert --student models/tiny",
    )
)
def evaluate(
    ctx: typer.Context,
    *,
    data: _Data,
    teacher: _Teacher = None,
    student: _Student = None,
    text_field: TextField = None,
    label_field: LabelField = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Measure the student and the teacher on labelled data, each number with its 95% interval."""
    with loading():
        from monitor.scoring.device import place  # noqa: PLC0415 - torch takes seconds to load
        from redistill.display.comparison import compare  # noqa: PLC0415 - as above

    if teacher and student and not config_source(ctx, config).exists:
        metrics, scoring, section = MetricsSection(), ScoringSection(), RedistillSection()
        opener, pair = Artifacts(), (located(teacher), located(student))
    else:
        settings = configured(ctx, config)
        metrics, scoring, section = settings.metrics, settings.scoring, settings.redistill
        opener = artifacts(settings)
        pair = (
            located(teacher) if teacher else settings.teacher.uri,
            located(student) if student else serving_student(settings),
        )
    with bars() as progress:
        found = compare(
            located(data),
            *pair,
            artifacts=replace(opener, show=progress),
            metrics=metrics,
            scoring=scoring,
            placement=place(section.device, section.precision, section="redistill"),
            show=progress,
            validation=section.validation,
            fields=LabelledFields(
                text=text_field or section.text_field, label=label_field or section.label_field
            ),
            validation_fields=section.fields,
        )
    if as_json:
        show.print_json(found)
    else:
        _print(found)


def _print(found: "Comparison") -> None:
    show.facts(
        [
            ("data", f"{found.data}, {show.count(found.n)} rows"),
            ("student", f"{found.student.directory} ({show.version(found.student.version)})"),
            ("teacher", f"{found.teacher.directory} ({show.version(found.teacher.version)})"),
        ]
    )
    student, teacher = _by_name(found.student.metrics), _by_name(found.teacher.metrics)
    show.say("")
    panel = [metric for metric in found.student.metrics if ":" not in metric.name]
    show.listing(_COLUMNS, [_cells(metric, teacher.get(metric.name)) for metric in panel])
    show.say(f"\nagreement, kl (nats) and js (nats) are with the teacher, at T = {found.temperature:g}.")
    show.say(f"ece_calibrated is the student's ECE {_calibrated(found)}.")
    if spread := max(metric.spread for metric in panel):
        bootstrapped = "The bounds of macro_f1 and of the ECEs are bootstrapped"
        show.say(f"{bootstrapped}; between the seeds they differ by up to {spread:.4f}.")
    show.say("")
    show.listing(_LABELS, [_of_label(label, student, teacher) for label in found.labels])
    show.say("")
    bins = sorted({name.partition(":")[2] for name in (*student, *teacher) if name.startswith("confidence:")})
    show.listing(_BINS, [_of_bin(each, student, teacher) for each in bins])


def _calibrated(found: "Comparison") -> str:
    if found.calibrated_at is None:
        return "with each half of the rows at the temperature fitted on the other half"
    return f"at the temperature {found.calibrated_at:.4g}, fitted on the configured validation rows"


def _by_name(metrics: Sequence[Metric]) -> Mapping[str, Metric]:
    return {metric.name: metric for metric in metrics}


def _of_label(label: str, student: Mapping[str, Metric], teacher: Mapping[str, Metric]) -> list[show.Cell]:
    recall, precision = student.get(f"recall:{label}"), student.get(f"precision:{label}")
    return [
        label,
        show.count(recall.n if recall else 0),
        *_with_interval(recall),
        *_with_interval(precision),
        *(_value(teacher.get(f"{name}:{label}")) for name in ("recall", "precision")),
    ]


def _of_bin(name: str, student: Mapping[str, Metric], teacher: Mapping[str, Metric]) -> list[show.Cell]:
    accuracy, of_teacher = student.get(f"accuracy:{name}"), teacher.get(f"accuracy:{name}")
    return [
        name,
        show.count(accuracy.n if accuracy else 0),
        _value(student.get(f"confidence:{name}")),
        *_with_interval(accuracy),
        show.count(of_teacher.n if of_teacher else 0),
        _value(teacher.get(f"confidence:{name}")),
        _value(of_teacher),
    ]


def _cells(student: Metric, teacher: Metric | None) -> list[show.Cell]:
    return [student.name, *_with_interval(student), *_with_interval(teacher), show.count(student.n)]


def _with_interval(metric: Metric | None) -> tuple[str, str]:
    return (_value(metric), f"[{show.number(metric.low)}, {show.number(metric.high)}]" if metric else "")


def _value(metric: Metric | None) -> str:
    return show.number(metric.value) if metric else ""
