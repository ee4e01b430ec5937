"""`redistill jobs`: the re-distillation jobs."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.text import Text
from sqlalchemy import Connection, select

from db import queue, worker_tasks
from db.errors import RedistillError, one_line
from db.records import Job
from db.tables import jobs
from db.views import rows, view
from monitor.clock import utc_now
from redistill.commands.options import LARGEST_ID, Config, Json, configured, examples, group
from redistill.configuration.settings import Settings
from redistill.database import reading_from, time_in, writing_to
from redistill.display import show
from redistill.display.measurements import measured_by_job, print_measured
from redistill.display.show import Column, Row
from redistill.display.words import shadow_words
from redistill.display.worker_state import IN_WORDS, task_in_words, worker_of
from redistill.training_log import print_training, training_of
from triggers.orders.manual import order_by_hand
from triggers.settings import Alpha
from triggers.transports.job_message import message_of

JobId = Annotated[int, typer.Argument(metavar="JOB", help="The job's number.", min=1, max=LARGEST_ID)]

_COLUMNS = (
    Column(title="job", align="right"),
    Column(title="status"),
    Column(title="decision"),
    Column(title="alpha"),
    Column(title="rule"),
    Column(title="enqueued (UTC)"),
    Column(title="finished (UTC)", spare=2),
    Column(title="candidate", spare=1),
    Column(title="promoted (UTC)", spare=4),
    Column(title="attempt", align="right", spare=3),
)
_COLOURS = {
    "queued": "yellow",
    "running": "yellow",
    "succeeded": show.GOOD,
    "rejected": show.BAD,
    "failed": show.BAD,
}

_Training = Annotated[
    bool, typer.Option("--training", help="Also show the log of the training, by epoch and by step.")
]
_Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Reason, kept with the job.")]
_Alpha = Annotated[
    str | None,
    typer.Option(
        "--alpha",
        metavar="A",
        help="Weight of the KL term (the teacher) in the loss, 0 to 1.",
        show_default="as alpha_policy says: one alpha_step below the current alpha, or the current alpha",
    ),
]


class BadAlphaError(RedistillError):
    """--alpha: {text!r} is not an alpha: give a number from 0 to 1 with at most three decimals."""

    exit_code = 2


class NoReasonError(RedistillError):
    """--reason is empty: state in one line why the student is re-distilled."""

    exit_code = 2


app = group("jobs")


@app.command("list", epilog=examples("redistill jobs list --json"))
def list_jobs(ctx: typer.Context, *, config: Config = None, as_json: Json = False) -> None:
    """List the jobs, oldest first."""
    settings = configured(ctx, config)
    with reading_from(settings) as connection:
        history = rows(connection, "job_history", monitor=settings.monitor.name, order_by="job_id")
        found = [{**job, "worker": _worker(connection, job)} for job in history]
    if as_json:
        show.print_json(found)
    elif found:
        show.listing(_COLUMNS, [_cells(job) for job in found])
    else:
        show.say(
            "No jobs yet. A rule with the action 'redistill' orders one when it fires; "
            "`redistill jobs enqueue` enqueues one by hand."
        )


@app.command("show", epilog=examples("redistill jobs show 7", "redistill jobs show 7 --training"))
def show_job(
    ctx: typer.Context,
    job_id: JobId,
    *,
    with_training: _Training = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show why a job was ordered, what was measured and what was decided."""
    settings = configured(ctx, config)
    with reading_from(settings) as connection:
        recorded = _own(connection, settings, job_id)
        payload = message_of(recorded, queue.archive_of(connection, recorded))
        job = _row(connection, job_id)
        measured = measured_by_job(connection, job_id)
        task = worker_tasks.newest(connection, job_id)
        tasks = _tasks(connection, job_id)
        shadow = shadow_words.of_job(connection, job_id, settings.redistill.shadow_cycles)
        training = (
            training_of(connection, settings, job_id, job["candidate_version"]) if with_training else None
        )
    if as_json:
        details: dict[str, object] = {
            "gates": measured.gates,
            "evaluations": measured.evaluations,
            "tasks": tasks,
            "shadow": shadow,
        }
        if training is not None:
            details |= {"training": training.epochs, "training_steps": training.steps}
        evidence = json.loads(str(job["evidence"])) if job["evidence"] else None
        show.print_json({**job, "evidence": evidence, **details, "payload": payload})
        return
    more = [("shadow", shadow)] if shadow else []
    show.facts(_facts(job) + more + ([("task", task_in_words(task, utc_now()))] if task else []))
    print_measured(measured)
    if training is not None:
        print_training(training)


@app.command("enqueue", epilog=examples('redistill jobs enqueue --reason "new labels" --alpha 0.5'))
def enqueue_job(
    ctx: typer.Context, *, reason: _Reason, alpha: _Alpha = None, config: Config = None, as_json: Json = False
) -> None:
    """Enqueue a re-distillation by hand, even when the rules would not order one.

    Only a queued or running job prevents it; `max_attempts`, `alpha_floor` and `cooldown` do not.
    """
    why, alpha_to = one_line(reason), _parsed(alpha)
    if not why:
        raise NoReasonError
    settings = configured(ctx, config)
    with writing_to(settings) as connection:
        job_id = order_by_hand(
            connection,
            settings.monitor.name,
            settings.redistill,
            reason=why,
            alpha_to=alpha_to,
            kept=timedelta(days=settings.monitor.archive_days),
            now=time_in(connection),
        )
        job = queue.get(connection, job_id)
        message = message_of(job, queue.archive_of(connection, job))
    if as_json:
        show.print_json(message)
        return
    show.say(f"Job {job_id} is queued, with alpha {job.alpha_from} -> {job.alpha_to}.")
    if job.cycle_id is None:
        show.say("It trains on the labelled files only: no sample of the two models in service is archived.")
    else:
        show.say(f"It trains on the labelled files and on the samples up to that of cycle {job.cycle_id}.")


@app.command("cancel", epilog=examples("redistill jobs cancel 7"))
def cancel_job(ctx: typer.Context, job_id: JobId, *, config: Config = None) -> None:
    """Cancel a queued or running job; its candidate is discarded."""
    settings = configured(ctx, config)
    with writing_to(settings) as connection:
        queue.cancel(connection, _own(connection, settings, job_id).job_id, time_in(connection))
    show.say(
        f"Job {job_id} is cancelled. A worker that runs it stops within 20 s and discards its candidate."
    )


@app.command("retry", epilog=examples("redistill jobs retry 7"))
def retry_job(ctx: typer.Context, job_id: JobId, *, config: Config = None) -> None:
    """Queue a failed or cancelled job again, with a fresh set of attempts; fix the cause first."""
    settings = configured(ctx, config)
    with writing_to(settings) as connection:
        queue.retry(connection, _own(connection, settings, job_id).job_id)
    show.say(f"Job {job_id} is queued again.")


def _own(connection: Connection, settings: Settings, job_id: int) -> Job:
    """Return the job if it belongs to the configured monitor."""
    job = queue.get(connection, job_id)
    if job.monitor != settings.monitor.name:
        raise queue.NoSuchJobError(job_id=job_id)
    return job


def _alpha_change(job: Row) -> str:
    """Return the job's change of alpha: '0.7 -> 0.6'."""
    return f"{show.decimal(job['alpha_from'])} -> {show.decimal(job['alpha_to'])}"


def _row(connection: Connection, job_id: int) -> dict[str, object]:
    source = view("job_history")
    found = connection.execute(select(source).where(source.c.job_id == job_id)).mappings().one()
    error = connection.scalar(select(jobs.c.error).where(jobs.c.id == job_id))
    return {**found, "error": error, "worker": _worker(connection, dict(found))}


def _tasks(connection: Connection, job_id: int) -> list[Row]:
    source = view("worker_task_history")
    query = select(source).where(source.c.job_id == job_id).order_by(source.c.task_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def _worker(connection: Connection, job: Row) -> str | None:
    return worker_of(connection, int(str(job["job_id"])), job["status"])


def _parsed(alpha: str | None) -> Decimal | None:
    try:
        return None if alpha is None else TypeAdapter(Alpha).validate_python(alpha)
    except ValidationError as error:
        raise BadAlphaError(text=alpha) from error


def _cells(job: Row) -> list[show.Cell]:
    return [
        show.word(job["job_id"]),
        _status(job),
        show.word(job["decision"]),
        _alpha_change(job),
        show.word(job["rule"]),
        show.time(job["enqueued_at"]),
        show.time(job["finished_at"]),
        show.version(job["candidate_version"]),
        show.time(job["promoted_at"]),
        show.word(job["attempt"]),
    ]


def _facts(job: Row) -> list[tuple[str, show.Cell]]:
    optional = (
        ("decision", job["decision"]),
        ("reason", job["decision_reason"]),
        ("last error", job["error"]),
        ("trained with", _trained_with(job)),
        ("candidate", job["candidate_version"] and show.version(job["candidate_version"])),
        ("promoted", job["promoted_at"] and show.time(job["promoted_at"])),
    )
    return [
        ("job", show.word(job["job_id"])),
        ("status", _status(job)),
        ("ordered by", f"{job['rule'] or 'a person'}, cycle {show.word(job['cycle_id'])}: {job['reason']}"),
        ("alpha", f"{_alpha_change(job)} (temperature {show.decimal(job['temperature'])})"),
        ("attempt", show.word(job["attempt"])),
        ("labels", _labels(job)),
        ("enqueued", show.time(job["enqueued_at"])),
        ("started", show.time(job["started_at"])),
        ("finished", show.time(job["finished_at"])),
        *((name, str(value)) for name, value in optional if value),
    ]


def _labels(job: Row) -> str:
    """Return what true labels said about the job when it was ordered."""
    if job["evidence"] is None:
        return "no evidence from true labels; `redistill labels import FILE` provides some for the next job"
    return str(json.loads(str(job["evidence"]))["says"])


def _trained_with(job: Row) -> str | None:
    n = job["n_labelled_traffic"]
    return None if n is None else f"true labels of {show.count(int(str(n)))} archived requests"


def _status(job: Row) -> Text:
    worker = IN_WORDS.get(str(job["worker"]))
    more = f", {worker}" if worker else ""
    return Text(f"{job['status']}{more}", style=_COLOURS.get(str(job["status"]), show.QUIET))
