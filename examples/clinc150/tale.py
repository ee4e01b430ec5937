"""A report of the run from the database alone: the days, each job's candidate and the incidents."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.text import Text
from sqlalchemy import Connection, Engine, select
from world import MONITOR, Day

from db import queue
from db.connection.session import reading
from db.records import Job
from db.states import IncidentState
from db.tables import incidents
from db.views import rows
from redistill.configuration.settings import Settings
from redistill.display import show
from redistill.display.measurements import measured_by_job
from redistill.display.show import Cell, Column, Row

_DAYS: Final = (
    Column(title="day"),
    Column(title="share", align="right"),
    Column(title="agreement", align="right"),
    Column(title="95% interval"),
    Column(title="KL (nats)", align="right"),
    Column(title="95% interval"),
    Column(title="verdict"),
    Column(title="streak", align="right"),
    Column(title="student"),
    Column(title="what followed"),
)
_MODELS: Final = ("candidate", "incumbent")
_DATASETS: Final = ("test", "condemned")
_METRICS: Final = (
    "accuracy",
    "teacher_accuracy",
    "macro_f1",
    "ece",
    "agreement",
    "kl",
    "latency_p95_ms",
)


@dataclass(frozen=True, kw_only=True)
class DayRecord:
    """One day, the result of its cycle, and the job that the cycle ordered."""

    day: Day
    cycle: Row
    job: Job | None

    @property
    def followed(self) -> Text:
        """Return what became of the job; empty without one."""
        if self.job is None:
            return Text("")
        ended = str(self.job.decision or self.job.status)
        style = show.GOOD if ended == "promoted" else show.BAD
        return Text(
            f"job {self.job.job_id}, alpha {self.job.alpha_from} -> {self.job.alpha_to}: {ended}", style=style
        )


def days_of(engine: Engine, days: Sequence[Day]) -> tuple[DayRecord, ...]:
    """Return the days with their rows from the database."""
    with reading(engine) as connection:
        cycles = rows(connection, "cycle_history", monitor=MONITOR, order_by="window_end")
        jobs = {job.cycle_id: job for job in queue.of_monitor(connection, MONITOR)}
    by_end = {cycle["window_end"]: cycle for cycle in cycles}
    found = ((day, by_end[day.slot.window_end]) for day in days)
    return tuple(DayRecord(day=day, cycle=cycle, job=jobs.get(_id(cycle))) for day, cycle in found)


def tell(title: str, picture: Path, settings: Settings, engine: Engine, days: Sequence[Day]) -> None:
    """Print the tables and draw the picture."""
    from picture import draw  # noqa: PLC0415 - matplotlib is an extra that --help does not need

    found = days_of(engine, days)
    _tell(engine, found)
    draw(picture, found, settings, title)


def _tell(engine: Engine, days: Sequence[DayRecord]) -> None:
    show.listing(_DAYS, [_day(each) for each in days])
    tell_jobs(engine, days)


def tell_jobs(engine: Engine, days: Sequence[DayRecord]) -> None:
    """Print the measurements of each job's candidate, and the incidents."""
    with reading(engine) as connection:
        for job in sorted((each.job for each in days if each.job), key=lambda job: job.job_id):
            _tell_job(connection, job)
        _tell_incidents(connection)


def _id(cycle: Row) -> int:
    identity = cycle["cycle_id"]
    if not isinstance(identity, int):
        raise TypeError(identity)
    return identity


def _day(each: DayRecord) -> list[Cell]:
    cycle = each.cycle
    return [
        f"{each.day.slot.window_start:%d %b}",
        f"{each.day.share:.0%}",
        show.number(cycle["agreement"]),
        show.interval(cycle, "agreement"),
        show.number(cycle["kl"]),
        show.interval(cycle, "kl"),
        show.verdict(cycle["verdict"]),
        show.word(cycle["agreement_streak"]),
        show.version(cycle["student_version"])[:8],
        each.followed,
    ]


def _tell_job(connection: Connection, job: Job) -> None:
    found = {
        (_MODELS[row["version"] == job.student_version], row["dataset"], row["metric"]): row
        for row in measured_by_job(connection, job.job_id).evaluations
    }
    show.say("")
    show.say(Text(f"Job {job.job_id}: {job.reason}", style="bold"))
    show.say(f"{job.decision}, {job.decision_reason}")
    for row in rows(connection, "job_history", monitor=MONITOR, order_by="job_id"):
        if row["job_id"] == job.job_id and row["evidence"] is not None:
            show.say(json.loads(str(row["evidence"]))["says"])
    places = [(model, dataset) for dataset in _DATASETS for model in _MODELS]
    columns = [Column(title="metric"), *(Column(title=f"{model}, {name}") for model, name in places)]
    show.listing(columns, list(_metrics(found, places)))


def _metrics(
    found: Mapping[tuple[str, object, object], Row], places: Sequence[tuple[str, str]]
) -> Iterator[list[Cell]]:
    for metric in _METRICS:
        yield [metric, *(_metric(found.get((*place, metric))) for place in places)]


def _metric(row: Row | None) -> str:
    if row is None:
        return "-"
    return f"{show.number(row['value'])} [{show.number(row['low'])}, {show.number(row['high'])}]"


def _tell_incidents(connection: Connection) -> None:
    show.say("")
    open_or_past = (incidents.c.monitor == MONITOR, incidents.c.state != IncidentState.PENDING)
    query = select(incidents).where(*open_or_past).order_by(incidents.c.opened_at, incidents.c.id)
    for incident in connection.execute(query).mappings():
        kind, severity, state = incident["kind"], incident["severity"], incident["state"]
        show.say(f"Incident {kind} ({severity}), {state}: {incident['summary']}")
