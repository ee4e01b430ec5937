"""`redistill models`: the model versions, promotion and calibration."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text
from sqlalchemy import Connection

from db import calibrations, versions
from db.connection.session import reading, writing
from db.errors import RedistillError
from db.records import ModelVersion, Shadow
from db.shadows import runs
from db.states import CalibrationReason, PromotionReason, Role
from db.views import rows
from monitor.stop import never_stopped
from redistill.commands.options import Config, Json, configured, examples, group
from redistill.configuration.settings import Settings
from redistill.database import migrated, reading_from, time_in, translated_errors
from redistill.display import show
from redistill.display.measurements import (
    calibrations_of,
    measured_of_version,
    print_calibrations,
    print_measured,
)
from redistill.display.progress import bars
from redistill.display.show import Column, Row
from redistill.process.stop_signals import loading
from redistill.serving import deliver_calibration, files_of, link, linked, put_in_service, set_link
from triggers.orders.manual import NothingInServiceError

Version = Annotated[str, typer.Argument(metavar="VERSION", help="Version, or its first digits.")]

_COLUMNS = (
    Column(title="version"),
    Column(title="role"),
    Column(title="alpha", align="right"),
    Column(title="state"),
    Column(title="accuracy", align="right", spare=1),
    Column(title="95% interval", spare=5),
    Column(title="agreement", align="right", spare=2),
    Column(title="KL (nats)", align="right", spare=3),
    Column(title="P95 (ms)", align="right", spare=6),
    Column(title="since (UTC)", spare=4),
    Column(title="job", align="right", spare=7),
)


_Calibrated = Annotated[
    str | None,
    typer.Argument(
        metavar="VERSION",
        help="Version of a student, or its first digits.",
        show_default="the student in service",
    ),
]

_Directory = Annotated[str, typer.Argument(metavar="DIR", help="New or empty folder of this machine.")]
_IsCalibrated = Annotated[
    bool,
    typer.Option("--calibrated", help="Divide the last layer by the calibration temperature."),
]

app = group("models")


class NotLocalError(RedistillError):
    """{folder} is not a folder of this machine: export to one, and copy it from there."""

    exit_code = 2


class OwnFolderError(RedistillError):
    """{folder} is in {own}, where Redistill keeps its own files: name a folder outside of it."""

    exit_code = 2


class AlreadyServesError(RedistillError):
    """The student {version} is in service already, and its link is correct: nothing was changed."""


class UncalibratedError(RedistillError):
    """The student {version} has no calibration temperature: run `redistill models calibrate {version}`."""


class NothingBeforeError(RedistillError):
    """No student was in service before the current one, so there is none to roll back to."""


@app.command("list", epilog=examples("redistill models list"))
def list_models(ctx: typer.Context, *, config: Config = None, as_json: Json = False) -> None:
    """List the versions, oldest first, with their metrics on the labelled test set."""
    settings = configured(ctx, config)
    with reading_from(settings) as connection:
        found = rows(connection, "model_history", monitor=settings.monitor.name, order_by="created_at")
        shadow = runs.running(connection, settings.monitor.name)
    if as_json:
        show.print_json(found)
    elif found:
        show.listing(_COLUMNS, [_cells(model, shadow) for model in found])
    else:
        show.say("No models yet. The first cycle records the two configured models.")


@app.command("show", epilog=examples("redistill models show 3f9c"))
def show_model(ctx: typer.Context, version: Version, *, config: Config = None, as_json: Json = False) -> None:
    """Show the origin of a version and everything that was measured on it."""
    settings = configured(ctx, config)
    monitor = settings.monitor.name
    with reading_from(settings) as connection:
        recorded = rows(connection, "model_history", monitor=monitor, order_by="created_at")
        found = [row for row in recorded if str(row["version"]).startswith(version)]
        if not found or len({row["version"] for row in found}) > 1:
            raise versions.NoSuchModelError(version=version)
        whole = str(found[-1]["version"])
        measured = measured_of_version(connection, monitor, whole)
        calibrated = calibrations_of(connection, monitor, whole)
        shadow = runs.running(connection, monitor)
    if as_json:
        show.print_json({**found[-1], "evaluations": measured.evaluations, "calibrations": calibrated})
        return
    show.facts(_facts(found[-1], shadow))
    print_calibrations(calibrated)
    print_measured(measured)


@app.command(epilog=examples("redistill models promote 3f9c"))
def promote(ctx: typer.Context, version: Version, *, config: Config = None) -> None:
    """Promote a known student. If it already serves, only repair the registry's link to it."""
    settings = configured(ctx, config)
    with reading_from(settings) as connection:
        model = versions.by_prefix(connection, settings.monitor.name, version)
        is_current = _is_current(connection, model)
    if not is_current:
        put_in_service(settings, model, PromotionReason.MANUAL)
    elif not set_link(settings, model):
        raise AlreadyServesError(version=show.version(model.version))
    _report_current(settings, model)


@app.command(epilog=examples("redistill models rollback"))
def rollback(ctx: typer.Context, *, config: Config = None) -> None:
    """Promote the student that was in service before the current one."""
    settings = configured(ctx, config)
    monitor = settings.monitor.name
    with reading_from(settings) as connection:
        before = versions.rollback_version(connection, monitor)
        model = versions.find(connection, monitor, Role.STUDENT, before) if before else None
    if model is None:
        raise NothingBeforeError
    put_in_service(settings, model, PromotionReason.ROLLBACK)
    _report_current(settings, model)


@app.command(epilog=examples("redistill models calibrate", "redistill models calibrate 3f9c"))
def calibrate(
    ctx: typer.Context, version: _Calibrated = None, *, config: Config = None, as_json: Json = False
) -> None:
    """Fit the temperature that makes a student's confidence match its accuracy, on labelled rows."""
    with loading():
        from redistill import assembly  # noqa: PLC0415 - torch takes seconds to load

    settings = configured(ctx, config)
    monitor = settings.monitor.name
    assembly.configure_torch(settings)
    with migrated(settings) as engine, translated_errors(engine), bars() as progress:
        with reading(engine) as connection:
            student = _student(connection, monitor, version)
            now = time_in(connection)
        found = assembly.calibrator(settings, engine, progress).calibrate(student, never_stopped, now)
        with writing(engine) as connection:
            calibrations.add(connection, monitor, found, CalibrationReason.MANUAL, time_in(connection))
            row = calibrations_of(connection, monitor, found.version)[-1]
    if as_json:
        show.print_json(row)
    else:
        show.say(
            f"The student {show.version(found.version)} has the calibration temperature "
            f"{found.fit.temperature:.4g}: divide its logits by it wherever you use its confidences."
        )
        print_calibrations([row])
    deliver_calibration(settings)


@app.command(
    epilog=examples(
        "redistill models export 3f9c served/student",
        "redistill models export 3f9c served/student --calibrated",
    )
)
def export(
    ctx: typer.Context,
    version: Version,
    directory: _Directory,
    *,
    calibrated: _IsCalibrated = False,
    config: Config = None,
) -> None:
    """Copy the files of a student to a folder, for a service that loads it from there."""
    with loading():
        from distill.calibration.export import export as export_to  # noqa: PLC0415 - torch takes seconds

    if "://" in directory:
        raise NotLocalError(folder=directory)
    settings = configured(ctx, config)
    for own in (settings.redistill.registry, settings.monitor.archive):
        if isinstance(own, Path) and Path(directory).resolve().is_relative_to(own.resolve()):
            raise OwnFolderError(folder=directory, own=own)
    with reading_from(settings) as connection:
        student = versions.by_prefix(connection, settings.monitor.name, version)
        held = calibrations.in_force(connection, student.monitor, student.version)
    if calibrated and held is None:
        raise UncalibratedError(version=show.version(student.version))
    temperature = held.temperature if calibrated and held else None
    export_to(files_of(settings, student), Path(directory), temperature=temperature)
    show.say(f"The student {show.version(student.version)} is copied to {directory}.")
    if temperature is not None:
        show.say(f"Its last layer is divided by {temperature:.4g}: do not divide its logits again.")


def _student(connection: Connection, monitor: str, prefix: str | None) -> ModelVersion:
    if prefix is not None:
        return versions.by_prefix(connection, monitor, prefix)
    current = versions.current(connection, monitor, Role.STUDENT)
    if current is None:
        raise NothingInServiceError(role=Role.STUDENT, monitor=monitor)
    return current


def _is_current(connection: Connection, model: ModelVersion) -> bool:
    current = versions.current(connection, model.monitor, Role.STUDENT)
    return current is not None and current.version == model.version


def _report_current(settings: Settings, model: ModelVersion) -> None:
    show.say(f"The student {show.version(model.version)} is in service from now on.")
    show.say(f"{link(settings)} points to it, in {linked(settings)}.")


def _cells(model: Row, shadow: Shadow | None) -> list[show.Cell]:
    return [
        show.version(model["version"]),
        show.word(model["role"]),
        show.decimal(model["alpha"]),
        _state(model, shadow),
        show.number(model["accuracy"]),
        show.interval(model, "accuracy"),
        show.number(model["agreement"]),
        show.number(model["kl"]),
        show.number(model["latency_p95_ms"], decimals=2),
        show.time(model["promoted_at"]),
        show.word(model["job_id"]),
    ]


def _state(model: Row, shadow: Shadow | None) -> Text:
    if shadow is not None and model["version"] == shadow.candidate_version:
        return Text("in shadow", style="yellow")
    if model["files_deleted_at"] is not None:
        return Text("files deleted", style=show.QUIET)
    if model["promoted_at"] is None:
        return Text("candidate", style="yellow")
    return Text("retired", style=show.QUIET) if model["retired_at"] else Text("current", style=show.GOOD)


def _facts(model: Row, shadow: Shadow | None) -> list[tuple[str, show.Cell]]:
    optional = (
        ("made by", model["job_id"] and f"job {model['job_id']}"),
        ("parent", model["parent_version"]),
        ("alpha", model["alpha"] is not None and show.decimal(model["alpha"])),
        ("temperature", model["temperature"] is not None and show.decimal(model["temperature"])),
        ("promoted", model["promoted_at"] and show.time(model["promoted_at"])),
        ("retired", model["retired_at"] and show.time(model["retired_at"])),
        ("files deleted", model["files_deleted_at"] and show.time(model["files_deleted_at"])),
    )
    return [
        ("version", show.word(model["version"])),
        ("role", show.word(model["role"])),
        ("state", _state(model, shadow)),
        ("recorded", show.time(model["created_at"])),
        *((name, str(value)) for name, value in optional if value),
    ]
