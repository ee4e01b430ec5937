"""Metrics, gate outcomes and calibrations of models, read from SQL and printed as tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from rich.text import Text
from sqlalchemy import Connection, Select, select

from db.tables import evaluations, gate_outcomes
from db.views import view
from redistill.display import show
from redistill.display.show import Column, Row

_GATES = (
    Column(title="gate"),
    Column(title="on"),
    Column(title="value", align="right"),
    Column(title="incumbent", align="right", spare=1),
    Column(title="threshold", align="right"),
    Column(title="result"),
    Column(title="detail", spare=2),
)
_METRICS = (
    Column(title="metric"),
    Column(title="value", align="right"),
    Column(title="95% interval"),
    Column(title="rows", align="right", spare=1),
)

_CALIBRATIONS = (
    Column(title="calibrated (UTC)"),
    Column(title="temperature", align="right"),
    Column(title="on"),
    Column(title="rows", align="right", spare=1),
    Column(title="until (UTC)", spare=5),
    Column(title="NLL", spare=3),
    Column(title="ECE"),
    Column(title="ECE, debiased", spare=2),
    Column(title="reason", spare=4),
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Rows of `gate_outcomes` and `evaluations`, grouped by model and data set."""

    gates: tuple[Row, ...]
    evaluations: tuple[Row, ...]


def measured_by_job(connection: Connection, job_id: int) -> Measured:
    """Return the metrics of a job's incumbent and candidate, and its gate outcomes."""
    return Measured(
        gates=_rows(connection, select(gate_outcomes).where(gate_outcomes.c.job_id == job_id)),
        evaluations=_rows(connection, select(evaluations).where(evaluations.c.job_id == job_id)),
    )


def measured_of_version(connection: Connection, monitor: str, version: str) -> Measured:
    """Return the metrics of one model, from all jobs."""
    query = select(evaluations).where(evaluations.c.monitor == monitor, evaluations.c.version == version)
    return Measured(gates=(), evaluations=_rows(connection, query))


def calibrations_of(connection: Connection, monitor: str, version: str) -> tuple[Row, ...]:
    """Return the calibrations of a version, oldest first; the newest is in force."""
    source = view("calibration_history")
    query = select(source).where(source.c.monitor == monitor, source.c.version == version)
    rows = connection.execute(query.order_by(source.c.calibrated_at)).mappings()
    return tuple(dict(row) for row in rows)


def print_calibrations(calibrations: Sequence[Row]) -> None:
    """Print one line per calibration, each number at T = 1 and at the fitted temperature."""
    if calibrations:
        show.say("")
        show.listing(_CALIBRATIONS, [_calibration(each) for each in calibrations])


def print_measured(measured: Measured) -> None:
    """Print the gates, if any, and a table for each model, job and data set.

    Metrics of a single label or confidence bin are in --json only.
    """
    if measured.gates:
        show.say("")
        show.listing(_GATES, [_gate(outcome) for outcome in measured.gates])
    for title, metrics in groupby(sorted(measured.evaluations, key=_order), key=_title):
        print_metrics(title, [metric for metric in metrics if ":" not in str(metric["metric"])])


def print_metrics(title: str, metrics: Sequence[Row]) -> None:
    """Print one line per metric, below a title."""
    show.say("")
    show.say(Text(title, style="bold"))
    show.listing(_METRICS, [_metric(metric) for metric in metrics])


def _rows(connection: Connection, query: Select[tuple[object, ...]]) -> tuple[Row, ...]:
    """Return the rows in the order of their keys, so that both databases give the same."""
    rows = connection.execute(query.order_by(*query.selected_columns)).mappings()
    # SQLAlchemy's column names are a subclass of str, which orjson does not accept as keys
    return tuple({str(name): value for name, value in row.items()} for row in rows)


def _order(metric: Row) -> tuple[str, ...]:
    return (f"{metric['job_id']:012}", str(metric["version"]), str(metric["dataset"]))


def _title(metric: Row) -> str:
    return f"{show.version(metric['version'])} on {metric['dataset']} (job {metric['job_id']})"


def _gate(outcome: Row) -> list[show.Cell]:
    return [
        str(outcome["gate"]),
        str(outcome["dataset"]),
        show.number(outcome["value"]),
        show.number(outcome["incumbent_value"]),
        show.number(outcome["threshold"]),
        show.gate_result(outcome["result"]),
        str(outcome["detail"] or ""),
    ]


def _calibration(row: Row) -> list[show.Cell]:
    return [
        show.time(row["calibrated_at"]),
        show.number(row["temperature"]),
        str(row["dataset"] if row["source"] in {None, "file"} else row["source"]),
        show.count(row["n"]),
        show.time(row["rows_until"]),
        *(
            f"{show.number(row[f'{name}_before'])} -> {show.number(row[f'{name}_after'])}"
            for name in ("nll", "ece", "ece_debiased")
        ),
        str(row["reason"]),
    ]


def _metric(metric: Row) -> list[show.Cell]:
    return [
        str(metric["metric"]),
        show.number(metric["value"]),
        f"[{show.number(metric['low'])}, {show.number(metric['high'])}]",
        show.count(metric["n"]),
    ]
