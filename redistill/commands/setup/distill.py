"""`redistill distill`: the first student of a teacher, from labelled rows."""

import shlex
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import TypeAdapter, ValidationError

from db.errors import RedistillError
from distill.settings import RedistillSection, SoftLabelsMode
from distill.training.fields import TEXT_AND_LABEL, LabelledFields
from monitor.clock import utc_now
from monitor.setting_values import Device, Precision
from monitor.settings import MOST_THREADS
from monitor.stop import StoppedError
from monitor.storage.artifacts import located
from redistill.commands.options import Json, LabelField, TextField, command, examples
from redistill.display import show
from redistill.display.progress import bars
from redistill.first_student.tables import print_document, print_outcome
from redistill.process.stop_signals import INTERRUPTED, loading, stop_on_signals
from triggers.settings import Alpha

if TYPE_CHECKING:
    from redistill.first_student.make import Wanted

app = command()

_DEFAULTS = RedistillSection()
_STOP_SECONDS = 60.0


class NoStartError(RedistillError):
    """The student has no start: give --init DIR, or --layers N for some layers of the teacher."""

    exit_code = 2


class BadAlphaError(RedistillError):
    """--alpha: {text!r} is not an alpha: give a number from 0 to 1 with at most three decimals."""

    exit_code = 2


class DistillationInterruptedError(RedistillError):
    """interrupted: nothing was registered, and the same command resumes the training."""

    exit_code = INTERRUPTED


def _file(name: str, meaning: str) -> object:
    return typer.Option(name, metavar="FILE", help=f"{meaning}: JSON Lines, or CSV with a header.")


_Teacher = Annotated[str, typer.Option("--teacher", metavar="DIR", help="Directory of the large model.")]
_Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        metavar="DIR",
        help="Directory of the student's start: a classifier, or an encoder without a head.",
        show_default="the teacher, with --layers",
    ),
]
_Layers = Annotated[
    int | None,
    typer.Option("--layers", metavar="N", min=1, help="Layers of the start to use, evenly spaced."),
]
_Out = Annotated[str, typer.Option("--out", metavar="DIR", help="Registry that the student is written to.")]
_AlphaOption = Annotated[
    str, typer.Option("--alpha", metavar="A", help="Weight of the KL term (the teacher) in the loss, 0 to 1.")
]
_Temperature = Annotated[float, typer.Option("--temperature", min=0.01, max=1_000, help="T of the KL term.")]
_Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs", min=1, help="Passes over the rows.", show_default="5, or more for 600 steps of 64 rows"
    ),
]
_BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Rows per step.")]
_LearningRate = Annotated[
    float, typer.Option("--learning-rate", min=1e-9, max=1, help="The highest, between warm-up and decay.")
]
_Seed = Annotated[
    int, typer.Option("--seed", min=0, max=2**62, help="Seed of the order, the dropout and a new head.")
]
_Seeds = Annotated[
    int,
    typer.Option("--seeds", metavar="N", min=1, help="Students to train, from --seed on; the best is kept."),
]
_SoftLabels = Annotated[
    SoftLabelsMode,
    typer.Option("--soft-labels", help="Whether the teacher answers while the student trains, or before."),
]
_Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=MOST_THREADS,
        help="Threads of the training.",
        show_default="one per usable core",
    ),
]
_Baseline = Annotated[
    bool, typer.Option("--baseline", help="Also train on the labels alone (alpha 0), for comparison.")
]


@app.command(
    epilog=examples(
        "redistill distill --teacher models/bert --layers 4 --train train.csv --validation val.csv "
        "--test test.csv --out registry",
        "redistill distill --teacher models/bert --init models/tinybert --train train.jsonl "
        "--validation val.jsonl --test test.jsonl --out registry --seeds 3 --baseline",
    )
)
def distill(
    *,
    teacher: _Teacher,
    init: _Init = None,
    layers: _Layers = None,
    train: Annotated[str, _file("--train", "Labelled rows to train on")],
    validation: Annotated[str, _file("--validation", "Labelled rows to choose by and to calibrate on")],
    test: Annotated[str, _file("--test", "Labelled rows to evaluate on")],
    out: _Out,
    text_field: TextField = None,
    label_field: LabelField = None,
    alpha: _AlphaOption = str(_DEFAULTS.alpha),
    temperature: _Temperature = 3.0,
    epochs: _Epochs = None,
    batch_size: _BatchSize = _DEFAULTS.batch_size,
    learning_rate: _LearningRate = _DEFAULTS.learning_rate,
    seed: _Seed = _DEFAULTS.seed,
    seeds: _Seeds = 1,
    baseline: _Baseline = False,
    device: Annotated[Device, typer.Option("--device", help="Where to train.")] = "auto",
    precision: Annotated[Precision, typer.Option("--precision", help="Of the forward passes.")] = "float32",
    soft_labels: _SoftLabels = "auto",
    threads: _Threads = None,
    as_json: Json = False,
) -> None:
    """Make the first student of a teacher from labelled rows, without a configuration.

    The student is a version in the folder of --out, with its measurements in manifest.json. On the same
    machine, the same command makes the same version. An interrupted command resumes when it is run again.
    """
    if init is None and layers is None:
        raise NoStartError
    weight = _parsed(alpha)
    with loading():
        from redistill.first_student.make import Wanted, make  # noqa: PLC0415 - torch takes seconds to load

    wanted = Wanted(
        teacher=located(teacher),
        init=None if init is None else located(init),
        layers=layers,
        train=located(train),
        validation=located(validation),
        test=located(test),
        out=located(out),
        fields=LabelledFields(text=text_field or "text", label=label_field or "label"),
        alpha=weight,
        temperature=temperature,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seeds=range(seed, seed + seeds),
        baseline=baseline,
        device=device,
        precision=precision,
        soft_labels=soft_labels,
        threads=threads,
    )
    with stop_on_signals(within_seconds=_STOP_SECONDS, exit_code=INTERRUPTED) as stop, bars() as progress:
        try:
            made = make(wanted, stopped=stop.is_set, show=progress, now=utc_now())
        except StoppedError as error:
            raise DistillationInterruptedError from error
    if as_json:
        print_document(made)
    else:
        print_outcome(made)
        _print_next(made.result.registered.location, wanted)


def _print_next(version: str, wanted: "Wanted") -> None:
    fields = (
        []
        if wanted.fields == TEXT_AND_LABEL
        else ["--text-field", wanted.fields.text, "--label-field", wanted.fields.label]
    )
    words = [
        *("redistill", "init", "--teacher", str(wanted.teacher), "--student", version),
        *("--train", str(wanted.train), "--validation", str(wanted.validation), "--test", str(wanted.test)),
        *fields,
    ]
    show.say(f"\nNext, beside the request log:\n  {shlex.join(words)}")


def _parsed(alpha: str) -> Decimal:
    try:
        return TypeAdapter(Alpha).validate_python(alpha)
    except ValidationError as error:
        raise BadAlphaError(text=alpha) from error
