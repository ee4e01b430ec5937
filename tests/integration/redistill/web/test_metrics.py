"""/metrics: the numbers of the database, for every state a value, and an answer whatever fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import httpx
import pytest
from sqlalchemy import Engine, event, update
from structlog.testing import capture_logs

import redistill.web.collector
from db import queue
from db.connection.session import writing
from db.cycles import ledger
from db.records import Measurement, QuietResult
from db.states import IncidentKind, JobStatus, Verdict
from db.tables import class_metrics, jobs
from redistill.configuration.settings import Settings, load
from redistill.web.catalogue import METRICS
from redistill.web.collector import Watched
from tests.support.processes.waiting import wait_until
from tests.support.records.conclusions import conclude_drifts
from tests.support.records.cycles import MONITOR, Cycles, taken
from tests.support.records.factories import (
    START,
    make_empty_result,
    make_input_drift,
    make_measurement,
    make_new_job,
    make_result,
    make_slot,
    make_teacher,
    make_traffic,
)
from tests.support.records.tables import rename_table
from tests.support.servers.metrics import Series, scraped, series, serving
from tests.support.world.waiting_monitor import written
from triggers.conclude_quiet import conclude_quiet

Monitors = dict[str, Watched | None]
CHANNEL = '\n[[alerts]]\nkind = "log"\nname = "pager"\n'


def settings_of(tmp_path: Path, *, name: str = MONITOR, more: str = CHANNEL) -> Settings:
    file = written(tmp_path / f"{name}.toml", name=name)
    file.write_text(file.read_text(encoding="utf-8") + more, encoding="utf-8")
    return load(file)


@pytest.fixture
def watched(engine: Engine, tmp_path: Path) -> Monitors:
    return {MONITOR: Watched(settings_of(tmp_path), engine)}


@pytest.fixture
def run(engine: Engine) -> Cycles:
    return Cycles(engine=engine, lease=taken(engine))


def own(name: str, **labels: str) -> Series:
    return series(f"redistill_{name}", monitor=MONITOR, **labels)


def with_drift(measurement: Measurement, cycle_id: int) -> Measurement:
    return replace(measurement, input_drift=make_input_drift(reference_cycle_id=cycle_id))


def test_the_numbers_are_those_of_the_newest_judged_window(run: Cycles, watched: Monitors) -> None:
    run.promote(now=START)
    cycle_id = run.fail(0).cycle_id
    run.conclude(0)
    measured = with_drift(make_measurement(disagreements=330, kl=0.2), cycle_id)
    run.conclude(1, make_result(measurement=measured))
    run.conclude(2, make_empty_result())
    found = scraped(watched)
    assert found[own("window_end_timestamp_seconds")] == make_slot(2).window_end.timestamp()
    assert found[own("judged_window_end_timestamp_seconds")] == make_slot(1).window_end.timestamp()
    assert found[own("window_seconds")] == 3_600
    assert found[own("lateness_seconds")] == 600
    assert {each: found[own("verdict", verdict=each)] for each in Verdict} == {
        Verdict.HEALTHY: 0,
        Verdict.BREACHED: 0,
        Verdict.INCONCLUSIVE: 1,
        Verdict.FAILED: 0,
    }
    agreement, kl = measured.agreement, measured.kl
    assert [found[own(f"agreement{end}_ratio")] for end in ("", "_low", "_high")] == [
        agreement.estimate,
        agreement.low,
        agreement.high,
    ]
    assert [found[own(f"kl{end}_nats")] for end in ("", "_low", "_high")] == [kl.estimate, kl.low, kl.high]
    assert found[own("input_drift_ratio")] == 0.634
    assert found[own("label_mix_psi_nats")] == 0.12
    assert found[own("class_share_ratio", label="escalation")] == 0.5
    assert found[own("class_agreement_ratio", label="escalation")] == agreement.estimate
    assert found[own("rule_streak_cycles", rule="low-agreement")] == 1
    assert found[own("rule_threshold", rule="low-agreement", metric="agreement")] == 0.95
    assert found[own("cycles_total", verdict="healthy")] == 1
    assert found[own("cycles_total", verdict="failed")] == 1
    assert found[own("student_info", version="student-1")] == 1
    assert found[own("student_alpha_ratio")] == 0.7


def test_a_quiet_window_changes_no_streak_and_counts_once_it_is_judged(
    run: Cycles, watched: Monitors
) -> None:
    run.conclude(0, make_result(measurement=make_measurement(disagreements=330)))
    quiet = QuietResult(traffic=make_traffic(n_seen=42, n_sampled=42))
    audience = run.policy.audience
    conclude_quiet(run.engine, run.lease, run.claim(1), quiet, audience, now=make_slot(1).window_end)
    found = scraped(watched)
    assert found[own("window_end_timestamp_seconds")] == make_slot(1).window_end.timestamp()
    assert found[own("rule_streak_cycles", rule="low-agreement")] == 1
    assert sum(found[own("cycles_total", verdict=each)] for each in Verdict) == 1
    with writing(run.engine) as connection:
        ledger.end_quiet(connection, MONITOR, make_slot(1).window_end)
    assert scraped(watched)[own("cycles_total", verdict=Verdict.INCONCLUSIVE)] == 1


def test_the_work_is_that_of_the_queue_and_the_outbox(engine: Engine, watched: Monitors) -> None:
    conclude_drifts(engine, "pager", "removed", resolved=False)
    with writing(engine) as connection:
        connection.execute(update(jobs).values(status=JobStatus.CANCELLED))
        queue.enqueue(connection, make_new_job(), START)
        queue.claim(connection, MONITOR, owner="w", lease_seconds=60, now=START)
    found = scraped(watched)
    assert found[own("jobs_open", status="running")] == 1
    assert found[own("jobs_open", status="queued")] == 0
    assert found[own("job_enqueued_timestamp_seconds")] == START.timestamp()
    assert found[own("lease_expires_timestamp_seconds", lease="monitor")] > START.timestamp()
    assert found[own("lease_expires_timestamp_seconds", lease="job")] > START.timestamp()
    assert own("lease_expires_timestamp_seconds", lease="calibration") not in found
    assert found[own("incidents_open", kind="drift")] == 1
    assert sum(value for (name, _), value in found.items() if name == "redistill_incidents_open") == 1
    assert found[own("deliveries_pending", channel="pager")] == 1
    assert found[own("deliveries_pending", channel="removed")] == 1


def test_a_monitor_without_a_cycle_has_zeros_and_no_numbers_that_do_not_exist(watched: Monitors) -> None:
    found = scraped(watched)
    names = {name for name, _ in found}
    assert {found[own("verdict", verdict=each)] for each in Verdict} == {0}
    assert {found[own("incidents_open", kind=each)] for each in IncidentKind} == {0}
    assert found[own("jobs_total", status="failed")] == 0
    assert found[own("deliveries_total", channel="pager", state="dead")] == 0
    assert found[own("records_rejected_total", reason="no_id")] == 0
    assert found[own("cycle_stage_seconds_bucket", stage="score", le="+Inf")] == 0
    assert found[own("teacher_healthy")] == 1
    assert not {name for name in names if "agreement_" in name or "_nats" in name or "window_end" in name}


def test_histograms_are_cumulative(run: Cycles, watched: Monitors) -> None:
    for index, seconds in enumerate((0.05, 0.2, 20_000)):
        run.conclude(index, replace(make_result(), stage_seconds={"score": seconds, "new": 1}))
    found = scraped(watched)
    buckets = [
        found[own("cycle_stage_seconds_bucket", stage="score", le=le)] for le in ("0.1", "0.3", "+Inf")
    ]
    assert buckets == [1, 2, 3]
    assert found[own("cycle_stage_seconds_count", stage="score")] == 3
    assert found[own("cycle_stage_seconds_sum", stage="score")] == pytest.approx(20_000.25)
    assert found[own("cycle_stage_seconds_count", stage="new")] == 3


def test_a_teacher_with_a_fault_is_not_healthy(run: Cycles, watched: Monitors) -> None:
    for index in range(3):
        run.conclude(index)
    run.conclude(3, make_result(measurement=make_measurement(teacher=make_teacher(confidence=0.5))))
    assert scraped(watched)[own("teacher_healthy")] == 0
    run.conclude(4)
    assert scraped(watched)[own("teacher_healthy")] == 1


def test_every_series_has_the_labels_of_the_catalogue_and_its_monitor(run: Cycles, watched: Monitors) -> None:
    run.conclude(0)
    for name, labels in scraped(watched):
        base = next(name.removesuffix(end) for end in ("_bucket", "_count", "_sum", "") if name.endswith(end))
        expected = {*METRICS[base if base in METRICS else name].labels, "monitor"}
        assert {key for key, _ in labels} - {"le"} == expected, name
        assert "version" not in expected or name.endswith("_info")


def test_labels_can_be_left_out(engine: Engine, run: Cycles, tmp_path: Path) -> None:
    run.conclude(0)
    settings = settings_of(tmp_path, more="by_label = false\n")
    names = {name for name, _ in scraped({MONITOR: Watched(settings, engine)})}
    assert "redistill_agreement_ratio" in names
    assert not {name for name in names if "class" in name}


HOSTILE = 'a"} 1\nredistill_jobs_open{status="queued\\'


def test_a_hostile_label_is_data(run: Cycles, watched: Monitors) -> None:
    run.conclude(0)
    with writing(run.engine) as connection:
        own_label = class_metrics.c.label == "escalation"
        connection.execute(update(class_metrics).where(own_label).values(label=HOSTILE))
    assert scraped(watched)[own("class_share_ratio", label=HOSTILE)] == 0.5


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
        ("application/openmetrics-text;version=x", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_client_chooses_the_format(watched: Monitors, accept: str, content_type: str) -> None:
    with serving(watched) as url:
        answer = httpx.get(f"{url}/metrics", headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, content_type)
    assert answer.text.endswith("# EOF\n") is content_type.startswith("application")
    help_of_kl = f"# HELP redistill_kl_nats {METRICS['redistill_kl_nats'].help}\n"
    assert help_of_kl in answer.text
    assert "process_resident_memory_bytes" in answer.text


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer", 401),
        ("Basic s3cret", 401),
        ("Bearer s3cret", 200),
        ("bearer s3cret", 200),
    ],
)
def test_a_token_guards_everything_but_the_probes(watched: Monitors, header: str | None, status: int) -> None:
    headers = {} if header is None else {"Authorization": header}
    with serving(watched, token="s3cret") as url:  # noqa: S106 - a test's
        answer = httpx.get(f"{url}/metrics", headers=headers)
        assert {httpx.get(f"{url}{probe}").status_code for probe in ("/healthz", "/readyz")} == {200}
    assert answer.status_code == status
    assert ("redistill_" in answer.text) is (status == 200)
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


def test_a_database_that_cannot_be_read_is_a_metric_and_logged_once(
    engine: Engine, watched: Monitors
) -> None:
    assert scraped(watched)[own("database_up")] == 1
    rename_table(engine, "running_counts", "renamed")
    with capture_logs() as logged:
        found = [scraped(watched) for _ in range(2)]
    assert [each[own("database_up")] for each in found] == [0, 0]
    assert {name for name, _ in found[0]} == {"redistill_database_up", "redistill_build_info"}
    (line,) = (each for each in logged if each["event"] == "metrics incomplete")
    assert "running_counts" in line["error"]
    rename_table(engine, "renamed", "running_counts")
    assert scraped(watched)[own("database_up")] == 1


@contextmanager
def hanging(engine: Engine) -> Iterator[None]:
    """Each statement of the engine waits until the end of the block."""
    ended = Event()

    def wait(*_arguments: object) -> None:
        ended.wait(30)

    event.listen(engine, "before_cursor_execute", wait)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", wait)
        ended.set()


def test_a_database_that_hangs_delays_no_other_monitor_for_long(
    sqlite_engine: Engine, postgres_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redistill.web.collector, "LIMIT_SECONDS", 0.5)
    monitors: Monitors = {
        "one": Watched(settings_of(tmp_path, name="one"), sqlite_engine),
        "other": Watched(settings_of(tmp_path, name="other"), postgres_engine),
        "missing.toml": None,
    }
    with hanging(sqlite_engine):
        found = scraped(monitors)
    up = {labels[0][1]: value for (name, labels), value in found.items() if name == "redistill_database_up"}
    assert up == {"one": 0, "other": 1, "missing.toml": 0}
    assert found[series("redistill_jobs_open", monitor="other", status="queued")] == 0
    wait_until(lambda: scraped(monitors)[series("redistill_database_up", monitor="one")] == 1, "it answers")
