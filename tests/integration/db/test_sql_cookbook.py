"""Every query of docs/sql-cookbook.md gives the rows that are printed below it, on both databases.

The data is ten days of one monitor, one cycle a day with 1,000 scored requests, written by the functions that
the daemon and the worker use.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlalchemy import Connection, Engine, select, text

from db import leases, outbox, queue, versions
from db.connection.session import reading, writing
from db.cycles import labels, ledger
from db.records import (
    CycleResult,
    Evaluation,
    GateOutcome,
    LabelMeasurement,
    Lease,
    Measurement,
    Metric,
    ModelVersion,
    Reject,
    Slot,
    Stratum,
    Traffic,
)
from db.states import GateResult, JobDecision, JobStatus, PromotionReason, RejectReason, Role, Severity
from db.tables import cycles
from db.views import VIEWS
from monitor.intervals import wilson
from tests.support.records.cycles import make_policy
from tests.support.records.factories import TEACHER, make_input_drift, make_measurement, make_result
from triggers.alert_settings import LogAlert
from triggers.conclude import Conclusion, conclude, conclude_failure
from triggers.settings import AlphaPolicy
from triggers.teacher.correctness import split

DOC = (Path(__file__).parents[3] / "docs" / "sql-cookbook.md").read_text(encoding="utf-8")
RECIPE = re.compile(
    r"^## (?P<title>\d+\.[^\n]*)\n.*?```sql\n(?P<query>.*?)```\n\n(?P<table>(?:\|[^\n]*\n)+)",
    re.MULTILINE | re.DOTALL,
)
TITLES = re.findall(r"^## (\d+\..*)$", DOC, re.MULTILINE)

MONITOR = "mangaassist"
#: Accuracy and agreement of each student on the labelled test set.
TEST_SCORES = {"student-1": (0.906, 0.972), "student-2": (0.91, 0.975), "student-3": (0.88, 0.96)}
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
POLICY = make_policy(
    alpha=AlphaPolicy(),
    alerts=(LogAlert(name="log"), LogAlert(name="pager", severities=(Severity.ERROR, Severity.CRITICAL))),
)


class Recipe(NamedTuple):
    query: str
    rows: list[list[str]]  #: the header first


def recipe(title: str) -> Recipe:
    (found,) = (match for match in RECIPE.finditer(DOC) if match["title"] == title)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in found["table"].splitlines()]
    return Recipe(query=found["query"], rows=[lines[0], *lines[2:]])


def shown(value: object) -> str:
    """A value as the document prints it, whichever database it came from."""
    if value is None:
        return ""
    if isinstance(value, float | Decimal):
        return f"{value:.4f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    return re.sub(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\.0+$", r"\1", str(value))


class Story:
    """Writes what happened, day by day."""

    def __init__(self, engine: Engine, lease: Lease) -> None:
        self.engine = engine
        self.lease = lease
        self.student = ModelVersion(
            monitor=MONITOR, version="student-1", role=Role.STUDENT, uri="models/1", alpha=Decimal("0.7")
        )

    def write(self, action: Callable[[Connection], object]) -> None:
        with writing(self.engine) as connection:
            action(connection)

    def cycle(
        self, day: int, measured: Measurement, *, n_seen: int = 20_000, rejects: tuple[Reject, ...] = ()
    ) -> Conclusion:
        slot = slot_of(day)
        traffic = Traffic(
            n_seen=n_seen,
            n_sampled=measured.n,
            n_rejected=sum(each.n for each in rejects),
            rejects=rejects,
            strata=(Stratum(label=None, n_seen=n_seen, n=measured.n),),
        )
        result: CycleResult = replace(
            make_result(measurement=measured, traffic=traffic, student_version=self.student.version),
            alpha=self.student.alpha,
        )
        begun = slot.window_end + timedelta(minutes=10)
        with writing(self.engine) as connection:
            claim = ledger.claim(connection, slot, begun)
        assert claim is not None
        return conclude(self.engine, self.lease, claim, result, POLICY, now=begun + timedelta(seconds=90))

    def failed_cycle(self, day: int, error: str) -> None:
        begun = slot_of(day).window_end + timedelta(minutes=10)
        with writing(self.engine) as connection:
            claim = ledger.claim(connection, slot_of(day), begun)
        assert claim is not None
        conclude_failure(self.engine, self.lease, claim, error, POLICY, now=begun + timedelta(seconds=5))

    def job(self, day: int, candidate: str) -> None:
        """A worker takes the open job an hour after the day's end and is done half an hour later."""
        begun = slot_of(day).window_end + HOUR
        ended = begun + timedelta(minutes=30)
        accuracy, _ = TEST_SCORES[candidate]
        passes = accuracy >= 0.905
        with writing(self.engine) as connection:
            claimed = queue.claim(connection, MONITOR, owner="worker", lease_seconds=60, now=begun)
            assert claimed is not None
            job, _ = claimed
            model = ModelVersion(
                monitor=MONITOR,
                version=candidate,
                role=Role.STUDENT,
                uri=f"models/{candidate}",
                parent_version=self.student.version,
                job_id=job.job_id,
                alpha=job.alpha_to,
                temperature=job.temperature,
            )
            versions.record(connection, model, ended)
            for measured_model in (self.student, model):
                evaluation = on_test_set(measured_model.version)
                versions.add_evaluations(connection, measured_model, job.job_id, [evaluation])
            gate = GateOutcome(
                gate="accuracy",
                dataset="test",
                value=accuracy,
                threshold=0.905,
                result=GateResult.PASS if passes else GateResult.FAIL,
            )
            versions.add_gate_outcomes(connection, job.job_id, [gate])
            queue.finish(
                connection,
                job,
                JobStatus.SUCCEEDED if passes else JobStatus.REJECTED,
                now=ended,
                candidate_version=candidate,
                decision=JobDecision.PROMOTED if passes else JobDecision.REJECTED,
                reason=f"accuracy {accuracy} against 0.905",
            )
            if passes:
                versions.promote(connection, model, PromotionReason.GATES_PASSED, ended)
                self.student = model


def slot_of(day: int) -> Slot:
    """The window of a day of November 2026."""
    start = datetime(2026, 11, day, tzinfo=UTC)
    return Slot(monitor=MONITOR, window_start=start, window_end=start + DAY)


def measured(order_tracking: int, escalation: int, *, kl: float) -> Measurement:
    """Disagreements among 600 and 400 requests of the two labels; all of the KL is the second's."""
    labels = (("order_tracking", 600, order_tracking, 0.0), ("escalation", 400, escalation, kl / 0.4))
    whole = make_measurement(n=1_000, disagreements=order_tracking + escalation, kl=kl)
    by_label = tuple(
        LabelMeasurement(label=label, n=n, share=n / 1_000, agreement=wilson(n - k, n), kl=its_kl)
        for label, n, k, its_kl in labels
    )
    return replace(whole, per_label=by_label)


def moved(measurement: Measurement) -> Measurement:
    """More of the requests are escalations than in the first cycle, and their words are others."""
    shares = {"order_tracking": 0.45, "escalation": 0.55}
    by_label = tuple(replace(each, share=shares[each.label]) for each in measurement.per_label)
    return replace(measurement, per_label=by_label, input_drift=make_input_drift(reference_cycle_id=1))


def rejected(reason: RejectReason, n: int) -> Reject:
    return Reject(reason=reason, n=n, example_hash="ab" * 32, example_object="2026-11.jsonl.gz")


def on_test_set(version: str) -> Evaluation:
    accuracy, agreement = TEST_SCORES[version]
    values = {"accuracy": accuracy, "agreement": agreement, "kl": 0.05, "ece": 0.04, "macro_f1": 0.85}
    return Evaluation(
        dataset="test",
        metrics=tuple(
            Metric(name=name, value=value, low=value - 0.01, high=value + 0.01, n=5_500)
            for name, value in values.items()
        ),
    )


def tell(story: Story) -> None:
    """A student drifts, and its successor; one job is promoted, one is rejected, and one waits."""
    first = story.student
    with writing(story.engine) as connection:
        teacher = ModelVersion(monitor=MONITOR, version=TEACHER, role=Role.TEACHER, uri="models/teacher")
        for model in (teacher, first):
            versions.record(connection, model, slot_of(2).window_start)
            versions.promote(connection, model, PromotionReason.CONFIGURED, slot_of(2).window_start)
    story.cycle(2, measured(6, 20, kl=0.08))
    story.write(lambda connection: ledger.skip(connection, [slot_of(3)], slot_of(4).window_end))
    two_rejects = (rejected(RejectReason.NO_ID, 30), rejected(RejectReason.TEXT_EMPTY, 10))
    story.cycle(4, measured(6, 20, kl=0.08), n_seen=19_960, rejects=two_rejects)
    broken_log = (rejected(RejectReason.NOT_JSON, 1_460), rejected(RejectReason.NO_ID, 40))
    story.cycle(5, measured(6, 20, kl=0.08), n_seen=18_500, rejects=broken_log)
    story.cycle(6, measured(6, 64, kl=0.11))
    story.cycle(7, measured(6, 74, kl=0.12))
    assert story.cycle(8, moved(measured(6, 84, kl=0.13))).order.job_id == 1
    story.job(8, "student-2")
    story.failed_cycle(9, "the request log is away")
    story.cycle(10, measured(4, 16, kl=0.05))
    assert story.cycle(11, measured(6, 24, kl=0.2)).order.job_id == 2
    story.job(11, "student-3")
    assert story.cycle(12, measured(6, 34, kl=0.25)).order.job_id == 3
    review(story)
    send(story)


#: What people said later of some disagreements: the day, and how often either, or neither, is right.
REVIEWED = ((4, 6, 2, 2), (8, 20, 4, 6), (12, 3, 9, 0))


def review(story: Story) -> None:
    with writing(story.engine) as connection:
        rows = connection.execute(select(cycles.c.window_end, cycles.c.id))
        numbers = {row.window_end: row.id for row in rows}
        for day, *counts in REVIEWED:
            truth = [label for label, n in zip((0, 1, 2), counts, strict=True) for _ in range(n)]
            n = len(truth)
            found = split(truth, [0] * n, [1] * n, [1] * n)
            labels.set_correctness(connection, numbers[slot_of(day).window_end], found)


def send(story: Story) -> None:
    """The log takes every message; the pager takes none and is given up for the first incident."""
    now = slot_of(13).window_end
    with writing(story.engine) as connection:
        while (delivery := outbox.take_due(connection, MONITOR, "log", now, hold=HOUR)) is not None:
            outbox.mark_delivered(connection, delivery.delivery_id, now)
        delivery = outbox.take_due(connection, MONITOR, "pager", now, hold=HOUR)
        assert delivery is not None
        outbox.mark_dead(connection, delivery.delivery_id, "HTTP 400 Bad Request")


@pytest.fixture
def told(engine: Engine) -> Engine:
    with writing(engine) as connection:
        lease = leases.acquire(connection, f"monitor:{MONITOR}", owner="daemon", seconds=600)
    assert lease is not None
    tell(Story(engine, lease))
    return engine


def test_the_cookbook_answers_thirteen_questions() -> None:
    assert [title.partition(".")[0] for title in TITLES] == [str(number) for number in range(1, 14)]
    assert len(re.findall(r"^```sql$", DOC, re.MULTILINE)) == len(TITLES)


@pytest.mark.parametrize("view", VIEWS)
def test_the_cookbook_explains_each_column_of_a_view_in_its_order(view: str) -> None:
    _, _, after = DOC.partition(f"### `{view}`\n")
    table = after.partition("\n### ")[0].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    assert " ".join(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == VIEWS[view]


def test_every_query_gives_the_rows_that_are_printed_below_it(told: Engine) -> None:
    recipes = {title: recipe(title) for title in TITLES}
    found = {}
    with reading(told) as connection:
        for title, wanted in recipes.items():
            result = connection.execute(text(wanted.query))
            found[title] = [list(result.keys()), *([shown(value) for value in row] for row in result)]
    assert found == {title: wanted.rows for title, wanted in recipes.items()}
