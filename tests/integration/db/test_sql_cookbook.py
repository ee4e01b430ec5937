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

from db import outbox, queue, versions
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
from db.views import VIEWS, view
from monitor.intervals import wilson
from tests.support.records.cycles import make_policy, taken
from tests.support.records.factories import (
    TEACHER,
    make_empty_result,
    make_input_drift,
    make_measurement,
    make_result,
    make_slice,
)
from triggers.alert_settings import LogAlert
from triggers.conclude import Conclusion, Policy, conclude, conclude_failure
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
    """Writes what happened to a monitor, day by day."""

    def __init__(self, engine: Engine, lease: Lease, monitor: str = MONITOR) -> None:
        self.engine = engine
        self.lease = lease
        self.monitor = monitor
        self.student = ModelVersion(
            monitor=monitor, version="student-1", role=Role.STUDENT, uri="models/1", alpha=Decimal("0.7")
        )

    def write(self, action: Callable[[Connection], object]) -> None:
        with writing(self.engine) as connection:
            action(connection)

    @property
    def policy(self) -> Policy:
        return replace(POLICY, audience=replace(POLICY.audience, monitor=self.monitor))

    def slot_of(self, day: int) -> Slot:
        """The window of a day of November 2026."""
        start = datetime(2026, 11, day, tzinfo=UTC)
        return Slot(monitor=self.monitor, window_start=start, window_end=start + DAY)

    def cycle(
        self, day: int, measured: Measurement, *, n_seen: int = 20_000, rejects: tuple[Reject, ...] = ()
    ) -> Conclusion:
        traffic = Traffic(
            n_seen=n_seen,
            n_sampled=measured.n,
            n_rejected=sum(each.n for each in rejects),
            rejects=rejects,
            strata=(Stratum(label=None, n_seen=n_seen, n=measured.n),),
        )
        return self.conclude(day, make_result(measurement=measured, traffic=traffic))

    def conclude(self, day: int, measured: CycleResult) -> Conclusion:
        slot = self.slot_of(day)
        result = replace(measured, student_version=self.student.version, alpha=self.student.alpha)
        begun = slot.window_end + timedelta(minutes=10)
        with writing(self.engine) as connection:
            claim = ledger.claim(connection, slot, begun)
        assert claim is not None
        return conclude(
            self.engine, self.lease, claim, result, self.policy, now=begun + timedelta(seconds=90)
        )

    def failed_cycle(self, day: int, error: str) -> None:
        slot = self.slot_of(day)
        begun = slot.window_end + timedelta(minutes=10)
        with writing(self.engine) as connection:
            claim = ledger.claim(connection, slot, begun)
        assert claim is not None
        conclude_failure(self.engine, self.lease, claim, error, self.policy, now=begun + timedelta(seconds=5))

    def job(self, day: int, candidate: str) -> None:
        """A worker takes the open job an hour after the day's end and is done half an hour later."""
        begun = self.slot_of(day).window_end + HOUR
        ended = begun + timedelta(minutes=30)
        accuracy, _ = TEST_SCORES[candidate]
        passes = accuracy >= 0.905
        with writing(self.engine) as connection:
            claimed = queue.claim(connection, self.monitor, owner="worker", lease_seconds=60, now=begun)
            assert claimed is not None
            job, _ = claimed
            model = ModelVersion(
                monitor=self.monitor,
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
    return replace(
        measurement,
        per_label=by_label,
        input_drift=make_input_drift(reference_cycle_id=1),
        slices=(make_slice("escalation"), make_slice("order_tracking")),
    )


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
        teacher = ModelVersion(
            monitor=story.monitor, version=TEACHER, role=Role.TEACHER, uri="models/teacher"
        )
        for model in (teacher, first):
            versions.record(connection, model, story.slot_of(2).window_start)
            versions.promote(connection, model, PromotionReason.CONFIGURED, story.slot_of(2).window_start)
    story.cycle(2, measured(6, 20, kl=0.08))
    story.write(lambda connection: ledger.skip(connection, [story.slot_of(3)], story.slot_of(4).window_end))
    two_rejects = (rejected(RejectReason.NO_ID, 30), rejected(RejectReason.TEXT_EMPTY, 10))
    story.cycle(4, measured(6, 20, kl=0.08), n_seen=19_960, rejects=two_rejects)
    broken_log = (rejected(RejectReason.NOT_JSON, 1_460), rejected(RejectReason.NO_ID, 40))
    story.cycle(5, measured(6, 20, kl=0.08), n_seen=18_500, rejects=broken_log)
    story.cycle(6, measured(6, 64, kl=0.11))
    story.cycle(7, measured(6, 74, kl=0.12))
    job = story.cycle(8, moved(measured(6, 84, kl=0.13))).order.job_id
    story.job(8, "student-2")
    story.failed_cycle(9, "the request log is away")
    story.cycle(10, measured(4, 16, kl=0.05))
    next_job = story.cycle(11, measured(6, 24, kl=0.2)).order.job_id
    story.job(11, "student-3")
    last_job = story.cycle(12, measured(6, 34, kl=0.25)).order.job_id
    assert None not in {job, next_job, last_job}
    review(story)
    send(story)


#: What people said later of some disagreements: the day, and how often either, or neither, is right.
REVIEWED = ((4, 6, 2, 2), (8, 20, 4, 6), (12, 3, 9, 0))


def review(story: Story) -> None:
    with writing(story.engine) as connection:
        rows = connection.execute(
            select(cycles.c.window_end, cycles.c.id).where(cycles.c.monitor == story.monitor)
        )
        numbers = {row.window_end: row.id for row in rows}
        for day, *counts in REVIEWED:
            truth = [label for label, n in zip((0, 1, 2), counts, strict=True) for _ in range(n)]
            n = len(truth)
            found = split(truth, [0] * n, [1] * n, [1] * n)
            labels.set_correctness(connection, numbers[story.slot_of(day).window_end], found)


def send(story: Story) -> None:
    """The log takes every message; the pager takes none and is given up for the first incident."""
    now = story.slot_of(13).window_end
    with writing(story.engine) as connection:
        while (delivery := outbox.take_due(connection, story.monitor, "log", now, hold=HOUR)) is not None:
            outbox.mark_delivered(connection, delivery.delivery_id, now)
        delivery = outbox.take_due(connection, story.monitor, "pager", now, hold=HOUR)
        assert delivery is not None
        outbox.mark_dead(connection, delivery.delivery_id, "HTTP 400 Bad Request")


def begun(engine: Engine, monitor: str = MONITOR) -> Story:
    return Story(engine, taken(engine, f"monitor:{monitor}"), monitor)


@pytest.fixture
def told(engine: Engine) -> Engine:
    tell(begun(engine))
    return engine


def found_by(connection: Connection, wanted: Recipe) -> list[list[str]]:
    result = connection.execute(text(wanted.query))
    return [list(result.keys()), *([shown(value) for value in row] for row in result)]


def test_the_cookbook_answers_fourteen_questions() -> None:
    assert [title.partition(".")[0] for title in TITLES] == [str(number) for number in range(1, 15)]
    assert len(re.findall(r"^```sql$", DOC, re.MULTILINE)) == len(TITLES)


@pytest.mark.parametrize("name", VIEWS)
def test_the_cookbook_explains_each_column_of_a_view_in_its_order(name: str) -> None:
    _, _, after = DOC.partition(f"### `{name}`\n")
    table = after.partition("\n### ")[0].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    assert " ".join(name for cell in cells for name in re.findall(r"`(\w+)`", cell)) == VIEWS[name]


def test_every_query_gives_the_rows_that_are_printed_below_it(told: Engine) -> None:
    recipes = {title: recipe(title) for title in TITLES}
    with reading(told) as connection:
        found = {title: found_by(connection, wanted) for title, wanted in recipes.items()}
    assert found == {title: wanted.rows for title, wanted in recipes.items()}


def test_no_query_mixes_two_monitors(told: Engine) -> None:
    """The same happens to a second monitor: each row says whose it is, or is of one job."""
    tell(begun(told, "second"))
    with reading(told) as connection:
        for title in TITLES:
            wanted = recipe(title)
            header, *rows = found_by(connection, wanted)
            is_of_job_1 = header[0] == "cycle_id"
            own = [row for row in rows if is_of_job_1 or row[0] in {MONITOR, "1", "2", "3"}]
            assert [header, *own] == wanted.rows, title
            assert len(rows) == (1 if is_of_job_1 else 2) * len(own), title


def test_every_query_answers_on_an_empty_database(engine: Engine) -> None:
    with reading(engine) as connection:
        assert {title: len(found_by(connection, recipe(title))) for title in TITLES} == dict.fromkeys(
            TITLES, 1
        )


def test_every_query_answers_on_odd_cycles(engine: Engine) -> None:
    """Windows without requests, a cycle under way, one that failed, and labels that say nothing; no jobs."""
    story = begun(engine)
    story.conclude(2, make_empty_result())
    story.failed_cycle(3, "the request log is away")
    rejects = (rejected(RejectReason.NOT_JSON, 1_500),)
    story.cycle(4, measured(6, 20, kl=0.08), n_seen=18_500, rejects=rejects)
    story.cycle(5, measured(6, 20, kl=0.08))
    with writing(engine) as connection:
        ledger.claim(connection, story.slot_of(6), story.slot_of(6).window_end)
        for cycle_id in connection.scalars(select(cycles.c.id)).all():
            labels.set_correctness(connection, cycle_id, split([0], [0], [0], [1]))
    with reading(engine) as connection:
        found = {title.partition(".")[0]: found_by(connection, recipe(title))[1:] for title in TITLES}
    assert [row[-1] for row in found["10"]] == ["", "", "0.075", ""]
    assert {(row[2], row[3]) for row in found["11"]} == {("", "")}
    assert {number for number, rows in found.items() if not rows} == {"3", "4", "5", "9", "12", "13", "14"}


def test_labels_that_no_healthy_cycle_had_are_shown(engine: Engine) -> None:
    """A student that was never healthy, and one that a label is new to."""
    story = begun(engine)
    with reading(engine) as connection:
        assert found_by(connection, recipe(TITLES[1]))[1:] == []
    story.cycle(2, measured(6, 64, kl=0.11))
    with reading(engine) as connection:
        rows = found_by(connection, recipe(TITLES[1]))[1:]
    assert [(row[1], row[3], row[6]) for row in rows] == [("escalation", "", ""), ("order_tracking", "", "")]


SPELLING = re.search(r"`(window_end >= '[^`]+)`", DOC)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_the_documented_comparison_of_times_finds_the_same_rows_everywhere(told: Engine, zone: str) -> None:
    """From midnight to midnight, the first included and the last not."""
    assert SPELLING is not None
    ends = view("cycle_history").c.window_end
    query = select(ends).where(text(SPELLING[1])).order_by(ends)
    with reading(told) as connection:
        if told.dialect.name == "postgresql":
            connection.execute(text(f"SET LOCAL timezone = '{zone}'"))
        found = [shown(value) for value in connection.scalars(query)]
    assert found == [f"2026-11-0{day} 00:00:00" for day in (5, 6, 7)]
