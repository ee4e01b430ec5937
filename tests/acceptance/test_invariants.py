"""What must hold whatever happens: one test for each invariant of docs/architecture.md, by its number."""

import gzip
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, insert
from sqlalchemy.exc import DBAPIError, IntegrityError

from db import leases, queue, tables
from db.connection.session import connect, reading, writing
from db.cycles import history, ledger, teachers
from db.records import Claim, CycleResult, Delivery, Evaluation, Job, Metric, NewJob, Reject, Slot
from db.states import (
    CycleStatus,
    IncidentKind,
    JobDecision,
    JobStatus,
    OrderReason,
    RejectReason,
    Role,
    Verdict,
    VerdictReason,
)
from db.tables import (
    class_metrics,
    cycles,
    evaluations,
    gate_outcomes,
    incidents,
    input_drift,
    jobs,
    metadata,
    models,
    promotions,
    rule_outcomes,
)
from distill.evaluation import gates
from distill.settings import GatesSection
from distill.training.dataset import split_archive
from monitor.archive import files
from monitor.archive.places import ArchiveReadError
from monitor.archive.sample import ScoredSample
from monitor.daemon.slot_runner import SlotRunner
from monitor.measure import measure
from monitor.scoring.models import fingerprint
from monitor.settings import MonitorSection
from monitor.stop import Stopped, never_stopped
from monitor.storage.zstandard import zstd
from monitor.strata import Strata
from redistill import assembly
from redistill.configuration.settings import Settings
from redistill.display.progress import show_nothing
from tests.support.processes.product import fork, run
from tests.support.processes.races import in_threads
from tests.support.records.conclusions import end_open_job
from tests.support.records.cycles import Cycles, due_at, make_audience, make_policy, stored, taken
from tests.support.records.factories import (
    make_input_drift,
    make_measurement,
    make_result,
    make_slot,
    make_traffic,
)
from tests.support.records.leaks import leaks
from tests.support.world.installation import MONITOR, REQUESTS, Site, hours, make_site
from tests.support.world.reruns import measured, rerun
from tests.support.world.tiny_world import KEYWORDS, World
from triggers.channels.outbox import HOLD, Outbox
from triggers.channels.port import Receipt, SendResult
from triggers.orders import alpha
from triggers.rules import evaluation
from triggers.rules.cycle_point import teacher_point_of
from triggers.rules.verdict import SampleQuality, judge
from triggers.teacher.correctness import split
from triggers.teacher.trust import judge_teacher

HOUR = timedelta(hours=1)


# 1. One cycle per slot


def test_invariant_1_one_cycle_per_slot(database_url: str) -> None:
    """Whether it is due, was missed or has died with its process, and however many daemons there are; and
    the database refuses a second one of who does not ask.
    """
    newest = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)  # noqa: TID251 - what is due, is due now
    slots = [slot_ending(newest - back * HOUR) for back in range(8, -1, -1)]
    engine = connect(database_url)
    claims: list[Claim] = []
    first = make_runner(engine, claims)
    first.run([slots[0], slots[3]], never_stopped)
    die_with(engine, slots[1])

    def run_due(_number: int) -> None:
        own = connect(database_url)
        make_runner(own, claims).run_due(never_stopped)
        own.dispose()

    in_threads(4, run_due)
    found = sorted(stored(engine, cycles), key=lambda row: row["window_end"])[: len(slots)]
    assert [row["window_end"] for row in found] == [slot.window_end for slot in slots]
    assert {row["status"] for row in found} == {CycleStatus.EVALUATED}
    assert [row["attempt"] for row in found] == [1, 2] + [1] * 7
    caught_up = [claim.slot for claim in claims if claim.slot in slots][2:]
    assert caught_up == [slots[1], slots[2], *slots[4:]]  # the oldest first, and each once
    twin = {"monitor": MONITOR, "window_start": slots[0].window_start, "window_end": slots[0].window_end}
    with pytest.raises(IntegrityError), writing(engine) as connection:
        connection.execute(insert(cycles).values(**twin, status="running", attempt=1))
    engine.dispose()


def slot_ending(end: datetime) -> Slot:
    return Slot(monitor=MONITOR, window_start=end - HOUR, window_end=end)


def make_runner(engine: Engine, claims: list[Claim]) -> SlotRunner:
    def note(claim: Claim, _stopped: Stopped) -> CycleResult:
        claims.append(claim)
        time.sleep(0.02)  # long enough for the others to come by
        return make_result()

    section = MonitorSection(name=MONITOR, lateness=timedelta(0))
    return SlotRunner(engine, section, note, make_policy())


def die_with(engine: Engine, slot: Slot) -> None:
    lease = taken(engine, seconds=0)
    with writing(engine) as connection:
        leases.guard(connection, lease)
        ledger.claim(connection, slot, slot.window_end)


# 2. Same slot, same sample


def test_invariant_2_same_slot_same_sample(world: World, sqlite_url: str, tmp_path: Path) -> None:
    """In whatever order and files the requests lie, and when the first attempt was cut off half-way."""
    site = make_site(tmp_path / "site", world, hours(healthy=2, drifted=1), url=sqlite_url)
    shards = shuffled(site, tmp_path / "shards")
    with rerun(site, tmp_path / "once") as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
        expected, compared = measured(engine), inputs(engine)
    with rerun(site, tmp_path / "again", traffic={"uri": shards}) as (settings, engine):
        for _ in range(2):
            runner = assembly.slot_runner(settings, engine, show_nothing)
            assert runner.run(site.slots, after(5)) < len(site.slots)
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
        assert without_objects(measured(engine)) == without_objects(expected)
        assert inputs(engine) == compared
    with rerun(site, tmp_path / "other", traffic={"key": "another"}) as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
        hashes = [[cycle["archive_sha256"] for cycle in run.values()] for run in (measured(engine), expected)]
        assert not set(hashes[0]) & set(hashes[1])


def inputs(engine: Engine) -> list[dict[str, Any]]:
    """How each cycle's requests differ from its reference's."""
    found = [
        {name: value for name, value in row.items() if not name.endswith("cycle_id")}
        for row in stored(engine, input_drift)
    ]
    assert len(found) == 2
    return found


def shuffled(site: Site, folder: Path) -> Path:
    """The requests of all windows in four files, in no order; broken lines, with no time, stay behind."""
    lines = [
        line for path in site.traffic.iterdir() for line in gzip.decompress(path.read_bytes()).splitlines()
    ]
    folder.mkdir()
    for number, part in enumerate(np.array_split(np.random.default_rng(1).permutation(lines), 4)):
        (folder / f"{number}.jsonl").write_bytes(b"\n".join(part.tolist()) + b"\n")
    return folder


def without_objects(found: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Without what says in which file a broken line lay; those with no time are told by neighbours."""
    kept = ["n_seen", "n_sampled", "n_disagreements", "agreement", "kl", "js", "labels", "strata"]
    kept.append("archive_sha256")
    return {key: {name: row[name] for name in kept} for key, row in found.items()}


def after(calls: int) -> Stopped:
    answers = iter([False] * calls)
    return lambda: next(answers, True)


# 3. A decision and its effects are one transaction


@pytest.mark.parametrize(
    "table",
    [
        "class_metrics",
        "teacher_metrics",
        "strata",
        "correctness",
        "input_drift",
        "rejects",
        "rule_outcomes",
        "rule_states",
        "rule_texts",
        "jobs",
        "incidents",
        "deliveries",
    ],
)
def test_invariant_3_a_decision_and_its_effects_are_one_transaction(engine: Engine, table: str) -> None:
    """Whichever of its writes the database refuses, none is there; the next attempt writes them all."""
    cycle = Cycles(engine=engine, lease=taken(engine))
    claim = cycle.claim(0)
    before = everything(engine)
    break_inserts(engine, table)
    with pytest.raises(DBAPIError):
        cycle.conclude_claim(claim, drifted())
    assert everything(engine) == before
    mend_inserts(engine, table)
    cycle.conclude_claim(claim, drifted())
    assert changed(before, everything(engine)) == {
        "cycles", "class_metrics", "teacher_metrics", "strata", "correctness", "input_drift", "rejects",
        "rule_outcomes", "rule_states", "rule_texts", "jobs", "incidents", "deliveries",
    }  # fmt: skip


def drifted() -> CycleResult:
    broken = Reject(reason=RejectReason.NOT_JSON, n=3, example_hash="0" * 64, example_object="a.jsonl")
    measured = make_measurement(disagreements=1_000, kl=0.3)
    return make_result(
        measurement=replace(measured, correctness=split([0], [0], [1], [1]), input_drift=make_input_drift()),
        traffic=make_traffic(rejects=(broken,)),
    )


def everything(engine: Engine) -> dict[str, list[dict[str, Any]]]:
    return {table.name: stored(engine, table) for table in metadata.sorted_tables}


def changed(before: dict[str, Any], now: dict[str, Any]) -> set[str]:
    return {name for name in now if now[name] != before[name]}


def break_inserts(engine: Engine, table: str) -> None:
    with writing(engine) as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql(
                f"CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'disk full'); END"
            )
            return
        connection.exec_driver_sql(
            "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'disk full'; END $$"
        )
        connection.exec_driver_sql(
            f"CREATE TRIGGER broken BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION broken()"
        )


def mend_inserts(engine: Engine, table: str) -> None:
    with writing(engine) as connection:
        on = "" if engine.dialect.name == "sqlite" else f" ON {table}"
        connection.exec_driver_sql(f"DROP TRIGGER broken{on}")


def test_invariant_3_delivery_comes_after_and_at_least_once(engine: Engine) -> None:
    """A sender that dies between the sending and its mark sends again, under the same key."""
    sent: list[str] = []

    class Pager:
        pause_seconds = 0.0

        def send(self, delivery: Delivery, *, now: datetime) -> Receipt:
            sent.append(delivery.key)
            if len(sent) == 1:
                raise KeyboardInterrupt
            del now
            return Receipt(result=SendResult.DELIVERED)

    outbox = Outbox(
        engine=engine, channels={"log": Pager()}, audience=make_audience(), rng=np.random.default_rng(1)
    )
    cycle = Cycles(engine=engine, lease=taken(engine))
    claim = cycle.claim(0)
    assert outbox.deliver_due(due_at(0)) == 0
    cycle.conclude_claim(claim, drifted())
    with pytest.raises(KeyboardInterrupt):
        outbox.deliver_due(due_at(0))
    assert outbox.deliver_due(due_at(0)) == 0
    assert outbox.deliver_due(due_at(0) + HOLD) == 1
    assert outbox.deliver_due(due_at(0) + 2 * HOLD) == 0
    assert sent == [f"redistill:{MONITOR}:1:firing:error"] * 2


# 4. At most one open job per student; one alpha step per completed job


def test_invariant_4_one_open_job_and_one_step_for_each_that_completes(engine: Engine) -> None:
    """While the drift lasts: a job that failed has tried no alpha, one whose candidate was rejected has."""
    cycle = Cycles(engine=engine, lease=taken(engine))
    ends = iter(
        [None, JobStatus.FAILED, None, JobStatus.REJECTED, JobStatus.CANCELLED, JobStatus.SUCCEEDED, None]
    )
    for index, status in enumerate(ends):
        cycle.conclude(index, drifted())
        assert sum(row["status"] in queue.OPEN for row in stored(engine, jobs)) == 1
        if status is not None:
            end_open_job(engine, status, now=due_at(index))
    steps = [(str(row["alpha_from"]), str(row["alpha_to"])) for row in stored(engine, jobs)]
    assert steps == [("0.7", "0.6"), ("0.7", "0.6"), ("0.6", "0.5"), ("0.6", "0.5"), ("0.5", "0.4")]


def test_invariant_4_the_database_refuses_a_second_open_job(database_url: str) -> None:
    """However many order at once, who looked first or not."""

    def order(_number: int) -> bool:
        engine = connect(database_url)
        try:
            with writing(engine) as connection:
                queue.enqueue(connection, make_order(), due_at(0))
        except IntegrityError:
            return False
        finally:
            engine.dispose()
        return True

    assert sorted(in_threads(4, order)) == [False, False, False, True]


def make_order() -> NewJob:
    return NewJob(
        monitor=MONITOR,
        cycle_id=None,
        rule=None,
        reason="by hand",
        teacher_version="t",
        student_version="s",
        alpha_from=Decimal("0.7"),
        alpha_to=Decimal("0.6"),
        temperature=3.0,
    )


# 5. No verdict without evidence


@pytest.mark.parametrize(
    ("sections", "status", "reason"),
    [
        ({"monitor": {"min_samples": REQUESTS + 1}}, CycleStatus.INCONCLUSIVE, VerdictReason.TOO_FEW_SAMPLES),
        ({"monitor": {"max_reject_share": 0.001}}, CycleStatus.INCONCLUSIVE, VerdictReason.TOO_MANY_REJECTS),
        ({"traffic": {"uri": Path("quiet")}}, CycleStatus.INCONCLUSIVE, VerdictReason.TOO_FEW_SAMPLES),
        ({"teacher": {"uri": Path("gone")}}, CycleStatus.FAILED, VerdictReason.ERROR),
        ({}, CycleStatus.EVALUATED, VerdictReason.RULE_FIRED),
    ],
    ids=["few samples", "many rejects", "no traffic", "no teacher", "enough of all"],
)
def test_invariant_5_no_verdict_without_evidence(
    world: World,
    sqlite_url: str,
    tmp_path: Path,
    sections: dict[str, dict[str, Any]],
    status: CycleStatus,
    reason: VerdictReason,
) -> None:
    """A drifted window with too little to go on is neither healthy nor breached, and orders nothing."""
    site = make_site(tmp_path / "site", world, hours(healthy=0, drifted=1), url=sqlite_url)
    anchored = {
        name: {key: at(tmp_path, item) for key, item in table.items()} for name, table in sections.items()
    }
    (tmp_path / "quiet").mkdir()
    with rerun(site, tmp_path / "run", **anchored) as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(site.slots, never_stopped)
        (cycle,) = stored(engine, cycles)
        assert (cycle["status"], cycle["verdict_reason"]) == (status, reason)
        is_evidence = status is CycleStatus.EVALUATED
        assert (cycle["verdict"] in {Verdict.HEALTHY, Verdict.BREACHED}) == is_evidence
        assert [row["fired"] for row in stored(engine, rule_outcomes) if row["fired"]] == [True] * is_evidence
        drifts = [row for row in stored(engine, incidents) if row["kind"] == IncidentKind.DRIFT]
        assert len(stored(engine, jobs)) == len(drifts) == is_evidence


def at(folder: Path, value: object) -> object:
    return folder / value if isinstance(value, Path) else value


def test_invariant_5_what_has_no_evidence_neither_counts_nor_resets(engine: Engine) -> None:
    cycle = Cycles(engine=engine, lease=taken(engine))
    few = make_result(measurement=make_measurement(n=999, disagreements=999, kl=9.0))
    breached = make_result(measurement=make_measurement(disagreements=1_000))
    cycle.conclude(0, breached)
    cycle.conclude(1, few)
    with writing(engine) as connection:
        ledger.skip(connection, [make_slot(2)], due_at(2))
    cycle.conclude(3, breached)
    streaks = [row["streak"] for row in stored(engine, rule_outcomes) if row["rule"] == "low-agreement"]
    assert streaks == [1, 1, 2]
    assert stored(engine, jobs) == []


# 6. A candidate is judged by the functions that condemned the incumbent


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """A site whose student drifted, was re-distilled and promoted, all of it in this process."""

    site: Site
    settings: Settings
    engine: Engine


@pytest.fixture(scope="module")
def repaired(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repaired]:
    folder = tmp_path_factory.mktemp("repaired")
    site = make_site(folder / "site", world, hours(healthy=2, drifted=5), url="sqlite:///unused.db")
    with rerun(site, folder / "run") as (settings, engine):
        runner = assembly.slot_runner(settings, engine, show_nothing)
        runner.run(site.slots[:5], never_stopped)
        assert assembly.worker(settings, engine, show_nothing).run_once(never_stopped)
        runner.run(site.slots[5:], never_stopped)
        yield Repaired(site=site, settings=settings, engine=engine)


def test_invariant_6_a_candidate_is_judged_as_the_incumbent_was(repaired: Repaired) -> None:
    """On the held-out part of the sample that condemned it the worker finds for the incumbent what the
    daemon's own logits say, and both students are measured there and on the test set.
    """
    (job,) = stored(repaired.engine, jobs)
    sample = condemned_by(repaired.engine, job)
    held_out = set(split_archive([request.text for request in sample.requests]).held_out)
    kept = np.array([request.text in held_out for request in sample.requests])
    daemons = measure(
        sample.teacher_logits[kept],
        sample.student_logits[kept],
        sample.labels,
        temperature=sample.temperature,
        strata=Strata(sizes=sample.strata.sizes, of=sample.strata.of[kept]),
    )
    incumbent = evaluated(repaired.engine, job["student_version"], gates.CONDEMNED)
    assert incumbent["agreement"] == (daemons.agreement.estimate, daemons.n)
    for name in ("kl", "kl_t1", "js"):
        value = daemons.kl.estimate if name == "kl" else getattr(daemons, name)
        assert incumbent[name] == (pytest.approx(value, rel=1e-4), daemons.n)
    candidate = evaluated(repaired.engine, job["candidate_version"], gates.CONDEMNED)
    assert candidate["agreement"][0] >= 0.95 > incumbent["agreement"][0]
    # bins of confidence and labels are there as far as they have rows
    on_test = [
        {name for name in evaluated(repaired.engine, job[role], gates.TEST) if ":" not in name}
        for role in ("student_version", "candidate_version")
    ]
    assert on_test[0] | {*gates.LATENCY_RATIOS} == on_test[1] > set(candidate)


def condemned_by(engine: Engine, job: dict[str, Any]) -> ScoredSample:
    (cycle,) = [row for row in stored(engine, cycles) if row["id"] == job["cycle_id"]]
    return files.read(cycle["archive"], sha256=cycle["archive_sha256"])


def evaluated(engine: Engine, version: str, dataset: str) -> dict[str, tuple[float, int]]:
    return {
        row["metric"]: (row["value"], row["n"])
        for row in stored(engine, evaluations)
        if (row["version"], row["dataset"]) == (version, dataset)
    }


def test_invariant_6_the_test_set_alone_promotes_nobody(repaired: Repaired, tmp_path: Path) -> None:
    """A candidate that has learned nothing is as good as ever on the test set, and fails where it drifted."""
    lazy = {"learning_rate": 1e-12, "epochs": 1}
    with rerun(repaired.site, tmp_path / "lazy", redistill=lazy) as (settings, engine):
        assembly.slot_runner(settings, engine, show_nothing).run(repaired.site.slots[:3], never_stopped)
        assert assembly.worker(settings, engine, show_nothing).run_once(never_stopped)
        (job,) = stored(engine, jobs)
        assert (job["status"], job["decision"]) == (JobStatus.REJECTED, JobDecision.REJECTED)
        failed = [
            (row["gate"], row["dataset"]) for row in stored(engine, gate_outcomes) if row["result"] == "fail"
        ]
        assert failed == [("agreement", gates.CONDEMNED)]
        current = [row["version"] for row in stored(engine, promotions) if row["role"] == Role.STUDENT]
        assert current == [job["student_version"]]
        assert (settings.redistill.registry / "current").resolve() == settings.student.uri


# 7. No request text in SQL or logs


def test_invariant_7_no_request_text_in_sql_or_logs(world: World, sqlite_url: str, tmp_path: Path) -> None:
    """Whether all goes well, a cycle fails, or a job does on a row of its data."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"text": " ".join(KEYWORDS), "label": 5}) + "\n")
    site = make_site(
        tmp_path, world, hours(healthy=1, drifted=2), url=sqlite_url, redistill={"train": str(bad)}
    )
    run(
        fork,
        site,
        "cycle",
        "--backfill",
        site.timeline.start.isoformat(),
        site.slots[1].window_end.isoformat(),
    )
    run(fork, site, "worker", "--once")
    shutil.rmtree(site.archive.parent)
    site.archive.parent.write_text("no folder")
    failing = fork(site, "cycle", "--at", site.slots[2].window_start.isoformat())
    assert failing.wait() == 1
    engine = connect(sqlite_url)
    assert [row["status"] for row in stored(engine, jobs)] == [JobStatus.FAILED]
    assert [row["status"] for row in stored(engine, cycles)] == ["evaluated", "evaluated", "failed"]
    assert site.events("cycle failed")
    assert leaks(site, engine) == []
    engine.dispose()


# 8. Every number can be recomputed


def test_invariant_8_a_cycle_follows_from_its_archive(repaired: Repaired) -> None:
    for cycle in stored(repaired.engine, cycles):
        sample = files.read(cycle["archive"], sha256=cycle["archive_sha256"])
        found = measure(
            sample.teacher_logits,
            sample.student_logits,
            sample.labels,
            temperature=cycle["temperature"],
            strata=sample.strata,
        )
        assert (sample.teacher_version, sample.student_version) == (
            cycle["teacher_version"],
            cycle["student_version"],
        )
        assert (found.n, found.disagreements) == (cycle["n_scored"], cycle["n_disagreements"])
        for name in ("agreement", "kl"):
            interval = getattr(found, name)
            stored_interval = (cycle[name], cycle[f"{name}_low"], cycle[f"{name}_high"])
            assert (interval.estimate, interval.low, interval.high) == stored_interval
        for name in ("kl_p50", "kl_p95", "kl_p99", "kl_t1", "js"):
            assert getattr(found, name) == cycle[name]
        strata = {
            row["student_label"]: row
            for row in stored(repaired.engine, tables.strata)
            if row["cycle_id"] == cycle["id"]
        }
        assert len(strata) == 6
        total = sum(
            Fraction(row["n_seen"] * (row["n"] - row["n_disagreements"]), row["n"]) for row in strata.values()
        )
        assert Fraction(cycle["agreement_exact"]) == total / cycle["n_seen"] == found.exact_agreement
        assert dict(zip(sample.stratum_labels, sample.strata.sizes, strict=True)) == {
            label: row["n_seen"] for label, row in strata.items()
        }
        by_label = {
            row["label"]: row
            for row in stored(repaired.engine, class_metrics)
            if row["cycle_id"] == cycle["id"]
        }
        assert {(each.label, each.n, each.agreement.estimate, each.kl) for each in found.per_label} == {
            (label, row["n"], row["agreement"], row["kl"]) for label, row in by_label.items()
        }


def test_invariant_8_an_archive_that_was_changed_is_noticed(repaired: Repaired, tmp_path: Path) -> None:
    cycle = stored(repaired.engine, cycles)[0]
    forged = tmp_path / "forged.jsonl.zst"
    text = zstd.decompress(Path(cycle["archive"]).read_bytes()).replace(b'"r-0-1"', b'"r-0-x"')
    forged.write_bytes(zstd.compress(text))
    assert files.read(str(forged)).slot.monitor == MONITOR
    with pytest.raises(ArchiveReadError):
        files.read(str(forged), sha256=cycle["archive_sha256"])


def test_invariant_8_outcomes_and_verdicts_follow_from_the_numbers(repaired: Repaired) -> None:
    with reading(repaired.engine) as connection:
        points = history.points(connection, MONITOR)
    outcomes = {
        (outcome.window_end, outcome.rule): outcome
        for rule in repaired.settings.rules
        for outcome in evaluation.replay(rule, points)
    }
    for cycle in stored(repaired.engine, cycles):
        own = [row for row in stored(repaired.engine, rule_outcomes) if row["cycle_id"] == cycle["id"]]
        assert len(own) == len(repaired.settings.rules)
        for row in own:
            expected = outcomes[cycle["window_end"], row["rule"]]
            assert {name: getattr(expected, name) for name in row if name != "cycle_id"} == {
                name: value for name, value in row.items() if name != "cycle_id"
            }
        judgement = judge(
            SampleQuality(
                n_scored=cycle["n_scored"],
                n_seen=cycle["n_seen"],
                n_rejected=cycle["n_rejected"],
                min_samples=repaired.settings.monitor.min_samples,
                max_reject_share=repaired.settings.monitor.max_reject_share,
            ),
            [outcomes[cycle["window_end"], rule.name] for rule in repaired.settings.rules],
        )
        assert (judgement.verdict, judgement.reason) == (cycle["verdict"], cycle["verdict_reason"])


def test_invariant_8_the_teachers_health_follows_from_its_cycles(repaired: Repaired) -> None:
    """From the numbers of the cycle and of its reference, as they are in SQL and in the archive."""
    policy = repaired.settings.teacher
    found = stored(repaired.engine, tables.teacher_metrics)
    by_id = {row["id"]: row for row in stored(repaired.engine, cycles)}
    for row in found:
        cycle = by_id[row["cycle_id"]]
        sample = files.read(cycle["archive"], sha256=cycle["archive_sha256"])
        measured = measure(
            sample.teacher_logits,
            sample.student_logits,
            sample.labels,
            temperature=cycle["temperature"],
            strata=sample.strata,
        )
        slot = Slot(monitor=MONITOR, window_start=cycle["window_start"], window_end=cycle["window_end"])
        with reading(repaired.engine) as connection:
            known = teachers.known_teacher(
                connection, slot, cycle["teacher_version"], reference_cycles=policy.reference_cycles
            )
        judged = judge_teacher(teacher_point_of(measured), known, policy)
        assert judged.accuracy is None  # the log has no true labels
        expected = {**vars(judged), **(vars(judged.mix) if judged.mix else {})}
        del expected["mix"]
        assert {name: row[name] for name in expected} == expected
        assert (row["confidence"], row["entropy_high"]) == (
            measured.teacher.confidence.estimate,
            measured.teacher.entropy.high,
        )
    assert [row["health"] for row in found] == ["unknown"] * 3 + ["healthy"] * (len(found) - 3)


def test_invariant_8_orders_and_their_alpha_follow_from_what_was_known(repaired: Repaired) -> None:
    """Of each cycle: from the jobs and the student as they stood when it ended."""
    with reading(repaired.engine) as connection:
        all_jobs = queue.of_monitor(connection, MONITOR)
    fired = {row["cycle_id"] for row in stored(repaired.engine, rule_outcomes) if row["fired"]}
    reasons = []
    for cycle in stored(repaired.engine, cycles):
        at_its_end = cycle["finished_at"]
        serving = student_at(repaired.engine, at_its_end)
        ladder = alpha.ladder_of(
            [as_it_stood(job, at_its_end) for job in all_jobs if job.enqueued_at < at_its_end],
            began_at=serving["promoted_at"],
            student_alpha=cycle["alpha"],
            wanted=cycle["id"] in fired,
            is_latest=serving["version"] == cycle["student_version"],
        )
        order = alpha.decide(repaired.settings.redistill, ladder, at_its_end)
        ordered = [(job.alpha_from, job.alpha_to) for job in all_jobs if job.cycle_id == cycle["id"]]
        expected = [(order.alpha_from, order.alpha_to)] if order.reason is OrderReason.ORDERED else []
        assert ordered == expected
        reasons.append(order.reason)
    assert (
        reasons
        == [OrderReason.NOT_WANTED] * 2
        + [OrderReason.ORDERED]
        + [OrderReason.JOB_OPEN] * 2
        + [OrderReason.NOT_WANTED] * 2
    )


def student_at(engine: Engine, time: datetime) -> dict[str, Any]:
    (serving,) = [
        row
        for row in stored(engine, promotions)
        if row["role"] == Role.STUDENT and row["promoted_at"] <= time and (row["retired_at"] or time) >= time
    ]
    return serving


def as_it_stood(job: Job, time: datetime) -> Job:
    is_open = job.finished_at is None or job.finished_at > time
    return replace(job, status=JobStatus.RUNNING, finished_at=None, decision=None) if is_open else job


def test_invariant_8_a_promotion_follows_from_what_was_measured(repaired: Repaired) -> None:
    """The gates' outcomes from the metrics, the decision from the gates, the version from its files."""
    (job,) = stored(repaired.engine, jobs)
    outcomes = stored(repaired.engine, gate_outcomes)
    thresholds = GatesSection(**{row["gate"]: row["threshold"] for row in outcomes})
    candidate, incumbent = (
        [
            Evaluation(dataset=dataset, metrics=metrics_of(repaired.engine, job[role], dataset))
            for dataset in (gates.TEST, gates.CONDEMNED)
        ]
        for role in ("candidate_version", "student_version")
    )
    judged = gates.check(thresholds, candidate, incumbent)
    names = ("gate", "dataset", "metric", "value", "incumbent_value", "result")
    assert {tuple(getattr(each, name) for name in names) for each in judged} == {
        tuple(row[name] for name in names) for row in outcomes
    }
    assert gates.passed(judged) == (job["decision"] == JobDecision.PROMOTED)
    (made,) = [row for row in stored(repaired.engine, models) if row["job_id"] == job["id"]]
    assert fingerprint(Path(made["uri"])) == made["version"] == job["candidate_version"]
    assert (made["parent_version"], made["alpha"]) == (job["student_version"], job["alpha_to"])
    promoted = [row for row in stored(repaired.engine, promotions) if row["version"] == made["version"]]
    assert [row["promoted_at"] for row in promoted] == [job["finished_at"]]


def metrics_of(engine: Engine, version: str, dataset: str) -> tuple[Metric, ...]:
    return tuple(
        Metric(name=row["metric"], value=row["value"], low=row["low"], high=row["high"], n=row["n"])
        for row in stored(engine, evaluations)
        if (row["version"], row["dataset"]) == (version, dataset)
    )
