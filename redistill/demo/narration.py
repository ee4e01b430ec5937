"""The narration of the demo, read from SQL."""

from typing import Final

from rich.text import Text
from sqlalchemy import Connection, Engine, or_, select

from db.connection.session import reading
from db.states import IncidentState
from db.tables import evaluations, gate_outcomes, incidents
from db.views import rows
from redistill.demo.service import SHIFTS
from redistill.display import show
from redistill.display.comparison import Comparison

OPENING: Final = """\
A simulated MangaAssist: an intent router with 10 intents. Its teacher and its student are now trained from
scratch: the teacher on everything that users ask, the student only on what was usual when it was made."""

SERVING: Final = """
The service runs, and Redistill samples every hour of its log. From hour {hour} on, users change: new titles,
new ways to ask, other intents.
"""

CLOSING: Final = """
That was the whole loop, in {seconds:.0f} s. Everything is in {folder}. To look closer:

  redistill --config {config} history
  redistill --config {config} status
  redistill --config {config} jobs show 1
  redistill --config {config} models list
  redistill --config {config} replay"""

_GATED: Final = (
    ("test", "accuracy"),
    ("test", "rare_class_accuracy"),
    ("test", "ece"),
    ("test", "ece_calibrated"),
    ("test", "latency_p95_ms"),
    ("test", "agreement"),
    ("condemned", "agreement"),
    ("condemned", "kl"),
)
_COLUMNS: Final = (
    show.Column(title="         on"),
    show.Column(title="metric"),
    show.Column(title="incumbent", align="right"),
    show.Column(title="candidate", align="right"),
    show.Column(title="95% interval"),
    show.Column(title="gate"),
)


def print_models(compared: Comparison) -> None:
    """Print the metrics of the two models on the labelled test set, before the service runs."""
    show.say(f"\nOn {compared.n:,} labelled requests that neither model was trained on:")
    for name, model in (("teacher", compared.teacher), ("student", compared.student)):
        metrics = ", ".join(
            f"{metric.name} {metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
            for metric in model.metrics
            if metric.name in {"accuracy", "agreement"}
        )
        show.say(f"  {name} {show.version(model.version)}  {metrics}")


def print_cycle(engine: Engine, hour: int) -> None:
    """Print one line for the newest cycle, and one for each incident that it opened or resolved."""
    with reading(engine) as connection:
        (cycle,) = rows(connection, "cycle_history", order_by="window_end", newest=1)
        changed = connection.execute(
            select(incidents)
            .where(
                incidents.c.state != IncidentState.PENDING,
                or_(
                    incidents.c.cycle_id == cycle["cycle_id"],
                    incidents.c.resolved_at == cycle["finished_at"],
                ),
            )
            .order_by(incidents.c.id)
        ).all()
    usage = f"{SHIFTS[hour]:.0%} new" if SHIFTS[hour] else "usual"
    numbers = "  ".join(
        f"{name} {show.number(cycle[metric], decimals=3)} {show.interval(cycle, metric, decimals=3)}"
        for name, metric in (("agreement", "agreement"), ("KL", "kl"))
    )
    student = f"  student {show.version(cycle['student_version'])}"
    show.say(
        Text.assemble(f"hour {hour + 1:>2}  {usage:<8} {numbers}  ", show.verdict(cycle["verdict"]), student)
    )
    for incident in changed:
        if incident.state == IncidentState.RESOLVED:
            show.say(Text(f"         resolved: {incident.kind}", style=show.GOOD))
        else:
            show.say(Text(f"         paged: {incident.kind} ({incident.severity}): {incident.summary}"))


def print_job(engine: Engine) -> None:
    """Print the newest job, the metrics of its candidate and its end."""
    with reading(engine) as connection:
        (job,) = rows(connection, "job_history", order_by="job_id", newest=1)
        table = _table(connection, job["job_id"], job["candidate_version"])
    show.say(
        f"\n         job {job['job_id']}: {job['reason']}; alpha {show.decimal(job['alpha_from'])} -> "
        f"{show.decimal(job['alpha_to'])}, T = {job['temperature']:g}\n"
    )
    show.listing(_COLUMNS, table)
    style = show.GOOD if job["status"] == "succeeded" else show.BAD
    show.say(Text(f"\n         {job['status']}: {job['decision'] or 'no candidate'}\n", style=style))


def _table(connection: Connection, job_id: object, candidate: object) -> list[list[show.Cell]]:
    measured = {
        (row.dataset, row.metric, row.version == candidate): row
        for row in connection.execute(select(evaluations).where(evaluations.c.job_id == job_id))
    }
    gates = {
        (row.dataset, row.metric): row
        for row in connection.execute(select(gate_outcomes).where(gate_outcomes.c.job_id == job_id))
    }
    lines: list[list[show.Cell]] = []
    for dataset, metric in _GATED:
        incumbent = measured.get((dataset, metric, False))
        row = measured.get((dataset, metric, True))
        gate = gates.get((dataset, metric))
        if row is None or incumbent is None:
            continue
        lines.append(
            [
                f"         {dataset}",
                metric,
                show.number(incumbent.value, decimals=3),
                show.number(row.value, decimals=3),
                f"[{show.number(row.low, decimals=3)}, {show.number(row.high, decimals=3)}]",
                Text.assemble(f"{gate.threshold:g} ", show.gate_result(gate.result)) if gate else "-",
            ]
        )
    return lines
