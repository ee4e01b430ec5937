"""`redistill jobs`: the orders for a re-distillation."""

import json
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.text import Text
from sqlalchemy import Connection, select

from db import queue
from db.records import Job
from db.tables import cycles, jobs
from db.views import rows, view
from redistill import show
from redistill.commands.options import Config, Json, command, configured, examples
from redistill.database import reading_from, writing_to
from redistill.evidence import evidence_of_job, print_evidence
from redistill.show import Column, Row
from redistill.times import utc_now

JobId = Annotated[int, typer.Argument(metavar="JOB", help="The job's number.")]

JOB_SCHEMA = "redistill.job/1"

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

app = command(help="Show the orders for a re-distillation; call one off, or retry it.")


@app.command("list", epilog=examples("redistill jobs list --json"))
def list_jobs(ctx: typer.Context, *, config: Config = None, as_json: Json = False) -> None:
    """Show the jobs, oldest first."""
    settings = configured(ctx, config)
    with reading_from(settings) as connection:
        found = rows(connection, "job_history", monitor=settings.monitor.name, order_by="job_id")
    if as_json:
        show.print_json(found)
    elif found:
        show.listing(_COLUMNS, [_cells(job) for job in found])
    else:
        show.say("No jobs yet. A rule with the action 'redistill' orders one when it fires.")


@app.command("show", epilog=examples("redistill jobs show 7"))
def show_job(ctx: typer.Context, job_id: JobId, *, config: Config = None, as_json: Json = False) -> None:
    """Show why a job was ordered, what was measured and what was decided."""
    with reading_from(configured(ctx, config)) as connection:
        payload = _payload(connection, queue.get(connection, job_id))
        job = _row(connection, job_id)
        evidence = evidence_of_job(connection, job_id)
    if as_json:
        found = {"gates": evidence.gates, "evaluations": evidence.evaluations}
        labels = json.loads(str(job["evidence"])) if job["evidence"] else None
        show.print_json({**job, "evidence": labels, **found, "payload": payload})
        return
    show.facts(_facts(job))
    print_evidence(evidence)


@app.command("cancel", epilog=examples("redistill jobs cancel 7"))
def cancel_job(ctx: typer.Context, job_id: JobId, *, config: Config = None) -> None:
    """Call off a queued or running job."""
    with writing_to(configured(ctx, config)) as connection:
        queue.cancel(connection, job_id, utc_now())
    show.say(f"Job {job_id} is cancelled. A worker that runs it drops its candidate.")


@app.command("retry", epilog=examples("redistill jobs retry 7"))
def retry_job(ctx: typer.Context, job_id: JobId, *, config: Config = None) -> None:
    """Queue a failed or cancelled job again, once what it met is mended."""
    with writing_to(configured(ctx, config)) as connection:
        queue.retry(connection, job_id)
    show.say(f"Job {job_id} is queued again.")


def alphas(job: Row) -> str:
    """How the job changes alpha: '0.7 -> 0.6'."""
    return f"{show.decimal(job['alpha_from'])} -> {show.decimal(job['alpha_to'])}"


def _row(connection: Connection, job_id: int) -> dict[str, object]:
    source = view("job_history")
    found = connection.execute(select(source).where(source.c.job_id == job_id)).mappings().one()
    error = connection.scalar(select(jobs.c.error).where(jobs.c.id == job_id))
    return {**found, "error": error}


def _payload(connection: Connection, job: Job) -> Mapping[str, object]:
    """The job as a message: schema redistill.job/1."""
    archive = connection.scalar(select(cycles.c.archive).where(cycles.c.id == job.cycle_id))
    return {
        "schema": JOB_SCHEMA,
        "job_id": job.job_id,
        "monitor": job.monitor,
        "cycle_id": job.cycle_id,
        "rule": job.rule,
        "reason": job.reason,
        "teacher_version": job.teacher_version,
        "student_version": job.student_version,
        "alpha_from": job.alpha_from,
        "alpha_to": job.alpha_to,
        "temperature": job.temperature,
        "soft_labels": "online",
        "archive": archive,
        "enqueued_at": job.enqueued_at,
    }


def _cells(job: Row) -> list[show.Cell]:
    return [
        show.word(job["job_id"]),
        _status(job),
        show.word(job["decision"]),
        alphas(job),
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
        ("because", job["decision_reason"]),
        ("last error", job["error"]),
        ("candidate", job["candidate_version"] and show.version(job["candidate_version"])),
        ("promoted", job["promoted_at"] and show.time(job["promoted_at"])),
    )
    return [
        ("job", show.word(job["job_id"])),
        ("status", _status(job)),
        ("ordered by", f"{show.word(job['rule'])}, cycle {show.word(job['cycle_id'])}: {job['reason']}"),
        ("alpha", f"{alphas(job)} (temperature {show.decimal(job['temperature'])})"),
        ("attempt", show.word(job["attempt"])),
        ("labels", _labels(job)),
        ("enqueued", show.time(job["enqueued_at"])),
        ("started", show.time(job["started_at"])),
        ("finished", show.time(job["finished_at"])),
        *((name, str(value)) for name, value in optional if value),
    ]


def _labels(job: Row) -> str:
    """What true labels said about the job when it was ordered."""
    if job["evidence"] is None:
        return "none spoke for or against it; `redistill labels import FILE` brings some for the next job"
    return str(json.loads(str(job["evidence"]))["says"])


def _status(job: Row) -> Text:
    return Text(str(job["status"]), style=_COLOURS.get(str(job["status"]), show.QUIET))
