"""`redistill init`: a configuration for the models and the data in a folder."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from db.errors import RedistillError
from distill.training.fields import LabelledFields
from monitor.clock import utc_now
from monitor.settings import MonitorSection
from redistill.commands.options import LabelField, TextField, command, examples
from redistill.configuration.discover import (
    ModelDirectory,
    labelled_rows,
    rare_labels,
    read_model,
    scan,
)
from redistill.configuration.period import Period
from redistill.configuration.template import Answers, render
from redistill.configuration.traffic_profile import TrafficProfile, profile_traffic
from redistill.configuration.training_length import epochs_for
from redistill.display import show
from redistill.display.times import relative
from redistill.display.words.reject_words import ADVICE
from redistill.display.words.rule_words import rule_in_words
from triggers.rule_sets import RULE_SETS, RuleSet
from triggers.settings import Rule

app = command()

_FILE: Final = "redistill.toml"
_COUNTED_ROWS: Final = 100_000
_FRESH: Final = timedelta(hours=2)
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


class ConfigExistsError(RedistillError):
    """{path} already exists: edit it, or move it away and run `redistill init` again."""


class NoClassifierError(RedistillError):
    """{option}: {path} is not a classifier: name a directory with safetensors weights and a config.json that
    has id2label.
    """

    exit_code = 2


class NoSuchPathError(RedistillError):
    """{option}: {path} does not exist."""

    exit_code = 2


class NotAPathError(RedistillError):
    """--traffic takes a path, not a URL: run `redistill init` without it, then name the bucket or the table
    in [traffic] (see docs/traffic.md).
    """

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """The paths to configure; None for one that was not found."""

    teacher: ModelDirectory | None
    student: ModelDirectory | None
    traffic: TrafficProfile | None
    train: Path | None
    validation: Path | None
    test: Path | None
    labelled_fields: LabelledFields
    rule_set: RuleSet


def _option(name: str, metavar: str, meaning: str) -> object:
    return typer.Option(name, metavar=metavar, help=meaning, show_default="found in the folder")


@app.command(
    epilog=examples("redistill init", "redistill init . --teacher models/bert --student models/tiny")
)
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder to search, and to write redistill.toml to.")
    ] = Path(),
    *,
    teacher: Annotated[Path | None, _option("--teacher", "DIR", "Directory of the large model.")] = None,
    student: Annotated[
        Path | None, _option("--student", "DIR", "Directory of the small model in service.")
    ] = None,
    traffic: Annotated[str | None, _option("--traffic", "PATH", "File or folder of the request log.")] = None,
    train: Annotated[Path | None, _option("--train", "FILE", "Labelled rows to train on.")] = None,
    validation: Annotated[
        Path | None, _option("--validation", "FILE", "Labelled rows to calibrate and to validate on.")
    ] = None,
    test: Annotated[Path | None, _option("--test", "FILE", "Labelled rows to evaluate on.")] = None,
    text_field: TextField = None,
    label_field: LabelField = None,
    rules: Annotated[
        RuleSet, typer.Option("--rules", help="Rules: those of the design, or for drifts that last.")
    ] = "literal",
) -> None:
    """Write a redistill.toml for the models, the request log and the labelled files in a folder."""
    target = folder.resolve() / _FILE
    if target.exists():
        raise ConfigExistsError(path=folder / _FILE)
    fields = LabelledFields(text=text_field or "text", label=label_field or "label")
    contents = scan(target.parent, fields)
    teacher_found, student_found = contents.teacher_and_student()
    chosen = _model("--student", student) or student_found
    choice = _Choice(
        teacher=_model("--teacher", teacher) or teacher_found,
        student=chosen,
        traffic=_profile(_log(traffic) or contents.log(), chosen),
        train=_existing("--train", train) or contents.labelled_as("train"),
        validation=_existing("--validation", validation) or contents.labelled_as("validation"),
        test=_existing("--test", test) or contents.labelled_as("test"),
        labelled_fields=fields,
        rule_set=rules,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    _write(target, render(_answers(target.parent, choice)))
    show.facts(list(_report(choice, target, RULE_SETS[rules], utc_now())))


def _write(target: Path, text: str) -> None:
    try:
        target.write_text(text, encoding="utf-8")
    except BaseException:  # half a file would be in the way of the next attempt
        target.unlink(missing_ok=True)
        raise


def _model(option: str, path: Path | None) -> ModelDirectory | None:
    if path is None:
        return None
    model = read_model(path.resolve())
    if model is None:
        raise NoClassifierError(option=option, path=path)
    return model


def _existing(option: str, path: Path | None) -> Path | None:
    if path is not None and not path.exists():
        raise NoSuchPathError(option=option, path=path)
    return path and path.resolve()


def _log(traffic: str | None) -> Path | None:
    if traffic is None:
        return None
    if "://" in traffic:
        raise NotAPathError  # without the URL, which may contain a password
    return _existing("--traffic", Path(traffic))


def _profile(log: Path | None, student: ModelDirectory | None) -> TrafficProfile | None:
    return profile_traffic(log, student.labels if student else ()) if log else None


def _answers(folder: Path, choice: _Choice) -> Answers:
    traffic, labels = choice.traffic, _labels(choice)
    return Answers(
        folder=folder,
        name=re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip("-._") or "default",
        every=traffic.every if traffic else "1h",
        traffic=traffic.uri if traffic else None,
        format=traffic.format if traffic else "jsonl",
        fields=traffic.fields if traffic else None,
        teacher=choice.teacher.path if choice.teacher else None,
        student=choice.student.path if choice.student else None,
        train=choice.train,
        validation=choice.validation,
        test=choice.test,
        labelled_fields=choice.labelled_fields,
        rare_labels=rare_labels(labels),
        epochs=_epochs(len(labels), traffic.period if traffic else None),
        rule_set=choice.rule_set,
    )


def _labels(choice: _Choice) -> list[object]:
    """Return the labels of the first 100,000 rows to train on."""
    if choice.train is None:
        return []
    rows = labelled_rows(choice.train, choice.labelled_fields)
    return [row.get(choice.labelled_fields.label) for row in islice(rows, _COUNTED_ROWS)]


def _epochs(n_labelled: int, period: Period | None) -> int:
    """Return the epochs for a number of labelled rows and the windows of the log."""
    n_window = min(period.quietest, MonitorSection().sample_size) if period else 0
    return epochs_for(n_labelled, n_window)


def _report(
    choice: _Choice, target: Path, rules: Sequence[Rule], now: datetime
) -> Iterator[tuple[str, show.Cell]]:
    yield "teacher", _described(choice.teacher, "the save_pretrained directory of the large model")
    yield "student", _described(choice.student, "the save_pretrained directory of the small model in service")
    yield "traffic", _traffic(choice.traffic, now)
    if choice.traffic and choice.traffic.period:
        yield "window", _window(choice.traffic.period)
    yield "train", _file(choice.train)
    yield "test", _file(choice.test)
    for rule in rules:
        yield f"rule {rule.name}", rule_in_words(rule)
    yield "written", str(target)
    yield "next", "`redistill db upgrade`, `redistill doctor`, " + _cycle(choice, now)


def _described(model: ModelDirectory | None, wanted: str) -> Text:
    if model is None:
        return _missing(wanted)
    return Text(f"{model.path} ({model.n_bytes / 1e6:,.1f} MB of weights, {len(model.labels)} labels)")


def _file(path: Path | None) -> Text:
    return (
        Text(str(path))
        if path
        else _missing('a file of rows such as {"text": "where is my order?", "label": "faq"}')
    )


def _missing(wanted: str) -> Text:
    return Text(f"not found: name {wanted}", style="yellow")


def _traffic(log: TrafficProfile | None, now: datetime) -> Text:
    if log is None:
        lines = '{"id": "r-1", "time": "2026-11-24T10:00:03Z", "text": "hello"}'
        return _missing(
            f"JSON Lines such as {lines}, SageMaker captures, or Parquet (with redistill[parquet])"
        )
    first, last = log.survey.first_time, log.survey.last_time
    if first is None or last is None:
        return Text(f"{log.uri}: no usable request yet{_problem(log)}", style="yellow")
    span = f"from {show.time(first)} to {show.time(last)} ({relative(last, now)})"
    line = f"{log.uri}: {span}; {log.per_day:,} requests in the last day of the log"
    problem = _problem(log)
    return Text(f"{line}; some records are unusable{problem}", style="yellow") if problem else Text(line)


def _window(period: Period) -> Text:
    needed = MonitorSection().min_samples
    if period.n_windows:
        count = f"the quietest window of {period.every} has {show.counted(period.quietest, 'request')}"
    else:
        requests = show.counted(period.quietest, "request")
        count = f"about {requests} per window, by the rate of the log, which is shorter than a window"
    line = f"every = {period.every!r}: {count}"
    if period.quietest >= needed:
        return Text(f"{line}; a verdict needs {needed:,}")
    return Text(
        f"{line}, fewer than min_samples = {needed:,}: lower min_samples in [monitor]", style=show.WARNING
    )


def _problem(log: TrafficProfile) -> str:
    problem = log.survey.problem
    if problem is None:
        return ""
    place = problem.object_name + (f", line {problem.line}" if problem.line else "")
    return f": {place} is {problem.reason}: {ADVICE[problem.reason]}"


def _cycle(choice: _Choice, now: datetime) -> str:
    """Return the commands that run the windows of the log, by how many there are and how recent it is."""
    windows = choice.traffic.windows(now) if choice.traffic else ()
    if len(windows) > 1:
        start, end = windows[0].window_start, windows[-1].window_end
        return (
            f"`redistill cycle --backfill {start:{_TIME}} {end:{_TIME}}` first (a window that is judged "
            "after a later one cannot order a job), then `redistill monitor --with-worker`"
        )
    last = choice.traffic.survey.last_time if choice.traffic else None
    if last is None or now - last < _FRESH:
        return "then `redistill cycle`"
    return f"then `redistill cycle --at {last:{_TIME}}` (the log has no recent requests)"
