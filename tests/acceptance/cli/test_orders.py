"""The jobs and the models: `jobs` and `models`."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update
from structlog.testing import capture_logs

from db import leases, queue, tables, versions
from db.connection.session import reading, writing
from db.records import Archive, Evaluation, GateOutcome, Metric, ModelVersion
from db.states import GateResult, JobStatus, PromotionReason, Role
from monitor.stop import never_stopped
from redistill import assembly
from redistill.configuration.settings import load
from redistill.display.progress import show_nothing
from redistill.serving import _state
from tests.support.records.conclusions import end_open_job
from tests.support.records.cycles import MONITOR, Cycles
from tests.support.records.factories import START, TEACHER, make_measurement, make_result
from tests.support.world.installation import now
from tests.support.world.model_files import make_files
from tests.support.world.project import findings, run, said

FAR = make_result(measurement=make_measurement(kl=0.21))
#: Weights by which the versions begin with three equal letters, and their first twelve digits.
AAA, BBB, CCC, DDD = ("aaa-3067", "bbb-8444", "ccc-3382", "ddd-1800")
A12, B12, C12, D12 = ("aaac67a9e55f", "bbbfd2eb2bf5", "cccddec92624", "ddd9c0b3f6ed")
CANDIDATE = "registry/versions/cccddec926245d2e3115ebcc3666b26c9570aa48678af12ead93797ce24fe602"
STUDENT = ModelVersion(monitor=MONITOR, version="", role=Role.STUDENT, uri="")
PAYLOAD = (
    "schema job_id monitor cycle_id rule reason teacher_version student_version alpha_from alpha_to "
    "temperature soft_labels archive enqueued_at"
)


@pytest.fixture
def ordered(cycles: Cycles) -> Cycles:
    """A monitor whose KL rule has ordered job 1."""
    cycles.promote(now=START - timedelta(days=1))
    cycles.conclude(0, FAR)
    return cycles


def test_a_job_is_listed_with_what_it_changes(ordered: Cycles) -> None:
    assert ordered.lease
    _, line = run("jobs", "list").stdout.splitlines()
    assert line.split()[:3] == ["1", "queued", "-"]
    assert "0.7 -> 0.6" in line
    assert "high-kl" in line


@pytest.mark.usefixtures("ordered")
def test_a_job_says_why_it_was_ordered() -> None:
    shown = run("jobs", "show", "1").stdout
    assert "high-kl, cycle 1: kl 0.21 above 0.15 for 1 cycle" in shown


@pytest.mark.usefixtures("ordered")
def test_a_job_in_json_has_the_payload_of_the_contract() -> None:
    job = json.loads(run("jobs", "show", "1", "--json").stdout)
    assert list(job["payload"]) == PAYLOAD.split()
    assert job["payload"]["schema"] == "redistill.job/1"
    assert (job["payload"]["alpha_from"], job["payload"]["alpha_to"]) == (0.7, 0.6)
    assert (job["gates"], job["evaluations"], job["error"]) == ([], [], None)


def test_a_job_shows_its_gates_and_measurements(ordered: Cycles, engine: Engine) -> None:
    measured = Metric(name="accuracy", value=0.91, low=0.9, high=0.92, n=5_500)
    gate = GateOutcome(
        gate="accuracy",
        dataset="test",
        value=0.91,
        threshold=0.905,
        result=GateResult.PASS,
        incumbent_value=0.92,
    )
    waived = GateOutcome(
        gate="ece",
        dataset="test",
        value=0.069,
        threshold=0.05,
        result=GateResult.WAIVED,
        metric="ece_calibrated",
        incumbent_value=0.074,
        detail="calibrated; 0.081 at T = 1",
    )
    with writing(engine) as connection:
        student = versions.current(connection, MONITOR, Role.STUDENT)
        assert student is not None
        versions.add_evaluations(connection, student, 1, [Evaluation(dataset="test", metrics=(measured,))])
        versions.add_gate_outcomes(connection, 1, [gate, waived])
    assert ordered.engine is engine
    shown = run("jobs", "show", "1").stdout
    lines = [line.split(maxsplit=6) for line in shown.splitlines()]
    assert ["accuracy", "test", "0.9100", "0.9200", "0.9050", "pass"] in lines
    assert ["ece", "test", "0.0690", "0.0740", "0.0500", "waived", waived.detail] in lines
    result = run("jobs", "show", "1", "--json")
    assert not result.exception, (result.exception, result.stderr)
    kept = json.loads(result.stdout)["gates"]
    assert [(each["result"], each["incumbent_value"]) for each in kept] == [("pass", 0.92), ("waived", 0.074)]
    assert "student-1 on test (job 1)" in shown
    assert "accuracy  0.9100  [0.9000, 0.9200]  5,500" in shown


@pytest.mark.usefixtures("ordered")
def test_a_queued_job_can_be_called_off_once() -> None:
    assert "Job 1 is cancelled" in run("jobs", "cancel", "1").stdout
    assert "cancelled" in run("jobs", "list").stdout
    again = run("jobs", "cancel", "1")
    assert again.exit_code == 1
    assert said(again) == "Job 1 is cancelled: only a queued or running job can be cancelled."


@pytest.mark.usefixtures("ordered")
def test_a_cancelled_job_can_be_retried() -> None:
    refused = run("jobs", "retry", "1")
    assert refused.exit_code == 1
    assert said(refused) == "Job 1 is queued: only a failed or cancelled job can be retried."
    run("jobs", "cancel", "1")
    assert "Job 1 is queued again" in run("jobs", "retry", "1").stdout
    assert "queued" in run("jobs", "list").stdout


@pytest.mark.usefixtures("ordered")
@pytest.mark.parametrize("number", ["0", "9223372036854775808", "one"])
@pytest.mark.parametrize("act", [("jobs", "show"), ("jobs", "retry"), ("incidents", "ack")])
def test_a_number_that_no_database_gives_is_bad_usage(act: tuple[str, str], number: str) -> None:
    refused = run(*act, number)
    assert refused.exit_code == 2
    assert "Invalid value for" in refused.stderr


@pytest.mark.usefixtures("ordered")
@pytest.mark.parametrize("act", ["show", "cancel", "retry"])
def test_another_monitor_s_job_is_none(act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Monitors may share a database: a number that was mistaken must not call off another one's job."""
    monkeypatch.setenv("REDISTILL__MONITOR__NAME", "other")
    refused = run("jobs", act, "1")
    assert refused.exit_code == 1
    assert said(refused) == "There is no job 1: choose one from `redistill jobs list`."
    monkeypatch.delenv("REDISTILL__MONITOR__NAME")
    assert "queued" in run("jobs", "list").stdout


@pytest.fixture
def serving_pair(cycles: Cycles) -> Cycles:
    """A teacher and a student in service, and a healthy cycle of theirs with a sample; no job."""
    teacher = ModelVersion(monitor=MONITOR, version=TEACHER, role=Role.TEACHER, uri="models/teacher")
    with writing(cycles.engine) as connection:
        versions.record(connection, teacher, START)
        versions.promote(connection, teacher, PromotionReason.CONFIGURED, START)
    cycles.promote(now=START - timedelta(days=1))
    cycles.conclude(0, make_result(archive=Archive(uri="archive/0", sha256="00")))
    return cycles


ORDER = ("jobs", "enqueue", "--reason", "new labels")


def enqueued(*arguments: str) -> dict[str, Any]:
    result = run(*ORDER, *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    payload: dict[str, Any] = json.loads(result.stdout)
    return payload


def end(engine: Engine, status: JobStatus) -> None:
    end_open_job(engine, status, now=now())


@pytest.mark.usefixtures("serving_pair")
def test_a_person_orders_one_alpha_step_below_the_present_and_says_why() -> None:
    result = run(*ORDER)
    assert result.stdout.splitlines() == [
        "Job 1 is queued, with alpha 0.7 -> 0.6.",
        "It trains on the labelled files and on the samples up to that of cycle 1.",
    ]
    job = json.loads(run("jobs", "show", "1", "--json").stdout)
    assert (job["rule"], job["reason"], job["cycle_id"]) == (None, "new labels", 1)
    assert (job["status"], job["attempt"], job["worker"]) == ("queued", 0, None)
    assert job["payload"]["archive"] == "archive/0"
    assert "a person, cycle 1: new labels" in run("jobs", "show", "1").stdout
    assert "ordered by a person: new labels" in run("status").stdout


def test_without_a_sample_that_is_kept_it_trains_on_labelled_data_alone(serving_pair: Cycles) -> None:
    with writing(serving_pair.engine) as connection:
        connection.execute(update(tables.cycles).values(window_end=START - timedelta(days=31)))
    result = run(*ORDER)
    assert "on the labelled files only" in result.stdout


@pytest.mark.usefixtures("serving_pair")
def test_a_person_may_choose_any_alpha() -> None:
    payload = enqueued("--alpha", "0.85")
    assert (payload["alpha_from"], payload["alpha_to"]) == (0.7, 0.85)
    assert list(payload) == PAYLOAD.split()


@pytest.mark.usefixtures("serving_pair")
@pytest.mark.parametrize("alpha", ["1.1", "-0.1", "0.1234", "low", "nan", ""])
def test_what_is_no_alpha_is_refused(alpha: str) -> None:
    result = run(*ORDER, "--alpha", alpha)
    assert result.exit_code == 2
    assert said(result) == (
        f"--alpha: {alpha!r} is not an alpha: give a number from 0 to 1 with at most three decimals."
    )
    assert "No jobs yet" in run("jobs", "list").stdout


@pytest.mark.usefixtures("serving_pair")
@pytest.mark.parametrize("reason", ["", "  \n"])
def test_an_order_without_a_reason_is_refused(reason: str) -> None:
    result = run("jobs", "enqueue", "--reason", reason)
    assert result.exit_code == 2
    assert said(result).startswith("--reason is empty: state in one line why")


@pytest.mark.usefixtures("serving_pair")
def test_a_person_cannot_order_beside_an_open_job() -> None:
    run(*ORDER)
    again = run(*ORDER)
    assert again.exit_code == 1
    assert said(again) == (
        "Job 1 is queued, and a monitor has one open job at a time: wait for its end, or cancel it."
    )


@pytest.mark.usefixtures("migrated")
def test_before_the_first_cycle_there_is_nothing_to_order() -> None:
    result = run(*ORDER)
    assert result.exit_code == 1
    assert said(result).startswith("No teacher is in service for the monitor 'mangaassist' yet:")


def test_a_person_may_order_when_the_rules_no_longer_do(serving_pair: Cycles) -> None:
    """Step by step down to the floor, and there again, although every candidate has failed."""
    steps = []
    for _ in range(8):
        payload = enqueued()
        steps.append((payload["alpha_from"], payload["alpha_to"]))
        end(serving_pair.engine, JobStatus.REJECTED)
    assert steps == [
        *((0.7, 0.6), (0.6, 0.5), (0.5, 0.4), (0.4, 0.3), (0.3, 0.2), (0.2, 0.1)),
        *((0.1, 0.1), (0.1, 0.1)),
    ]


def test_a_running_job_says_whether_its_worker_is_there(ordered: Cycles) -> None:
    with writing(ordered.engine) as connection:
        claimed = queue.claim(connection, MONITOR, owner="worker", lease_seconds=60, now=START)
    assert claimed is not None
    assert "running " in run("jobs", "list").stdout
    assert json.loads(run("jobs", "list", "--json").stdout)[0]["worker"] == "alive"
    assert not json.loads(run("status", "--json").stdout)["worker_is_gone"]
    with writing(ordered.engine) as connection:
        leases.renew(connection, claimed[1], seconds=-1)
    assert "running, its worker is gone" in run("jobs", "list").stdout
    assert "running, its worker is gone" in run("jobs", "show", "1").stdout
    assert json.loads(run("jobs", "list", "--json").stdout)[0]["worker"] == "gone"
    assert "job 1: running (its worker is gone), for" in run("status").stdout
    assert json.loads(run("status", "--json").stdout)["worker_is_gone"]


@pytest.mark.usefixtures("migrated")
@pytest.mark.parametrize("verb", ["show", "cancel", "retry"])
def test_a_job_that_there_is_not_is_told(verb: str) -> None:
    result = run("jobs", verb, "7")
    assert result.exit_code == 1
    assert said(result) == "There is no job 7: choose one from `redistill jobs list`."


@pytest.fixture
def students(cycles: Cycles, project: Path) -> Cycles:
    """aaa has served, bbb serves, and ccc is held in the registry."""
    folder = project / "registry/versions/ccc"
    first, second = (make_files(project / f"models/{each[:3]}", each) for each in (AAA, BBB))
    third = make_files(folder, CCC)
    assert (first[:12], second[:12], third[:12]) == (A12, B12, C12)
    folder.rename(folder := folder.parent / third)
    for index, (version, alpha) in enumerate(((first, None), (second, Decimal("0.7")))):
        uri = str(project / "models" / version[:3])
        serve(cycles, replace(STUDENT, version=version, uri=uri, alpha=alpha), START + timedelta(hours=index))
    model = replace(STUDENT, version=third, uri=str(folder), alpha=Decimal("0.6"))
    with writing(cycles.engine) as connection:
        versions.record(connection, model, START + timedelta(hours=2))
    return cycles


def serve(cycles: Cycles, model: ModelVersion, now: datetime) -> None:
    with writing(cycles.engine) as connection:
        versions.record(connection, model, now)
        versions.promote(connection, model, PromotionReason.MANUAL, now)


def serving(cycles: Cycles) -> str:
    with reading(cycles.engine) as connection:
        current = versions.current(connection, MONITOR, Role.STUDENT)
    assert current is not None
    return current.version[:12]


@pytest.mark.usefixtures("students")
def test_models_are_listed_with_their_state() -> None:
    lines = run("models", "list").stdout.splitlines()[1:]
    assert [line.split()[:4] for line in lines] == [
        [A12, "student", "-", "retired"],
        [B12, "student", "0.7", "current"],
        [C12, "student", "0.6", "candidate"],
    ]


def test_a_held_candidate_is_promoted_by_how_it_begins(students: Cycles, project: Path) -> None:
    result = run("models", "promote", "ccc")
    assert result.exit_code == 0
    assert serving(students) == C12
    assert (project / "registry/current").resolve() == project / CANDIDATE


def test_a_promotion_is_over_though_the_clock_of_who_promotes_is_ahead(
    students: Cycles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redistill.database.utc_now", lambda: now() + timedelta(days=1))
    assert run("models", "promote", "ccc").exit_code == 0
    with reading(students.engine) as connection:
        since = versions.current_since(connection, MONITOR, Role.STUDENT)
    assert since is not None
    assert since <= now()


def test_a_rollback_goes_to_the_student_before_and_then_further_back(students: Cycles, project: Path) -> None:
    run("models", "promote", "ccc")
    assert run("models", "rollback").exit_code == 0
    assert serving(students) == B12
    assert run("models", "rollback").exit_code == 0
    assert serving(students) == A12
    assert (project / "registry/current").resolve() == project / "models/aaa"
    last = run("models", "rollback")
    assert last.exit_code == 1
    assert said(last) == "No student was in service before the current one, so there is none to roll back to."


def test_a_link_of_another_monitor_is_left_alone(
    students: Cycles, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its link would point to a student of the wrong monitor."""
    assert run("models", "promote", "aaa").exit_code == 0
    monkeypatch.setenv("REDISTILL__MONITOR__NAME", "second")
    with writing(students.engine) as connection:
        found = versions.by_prefix(connection, MONITOR, "bbb")
        model = replace(found, monitor="second")
        versions.record(connection, model, START)
    result = run("models", "promote", "bbb")
    assert result.exit_code == 1
    assert said(result).startswith("The link 'current' of the registry")
    assert (project / "registry/current").resolve() == project / "models/aaa"


@pytest.mark.parametrize(("weights", "found"), [(None, "no model"), (DDD, f"version {D12}")])
@pytest.mark.parametrize("command", [("promote", "aaa"), ("rollback",)])
def test_a_student_whose_files_are_gone_or_replaced_is_not_promoted(
    command: tuple[str, ...], weights: str | None, found: str, students: Cycles, project: Path
) -> None:
    """A place that once held a version does not make what is there now that version."""
    place = project / "models/aaa"
    if weights is None:
        (place / "config.json").unlink()
    else:
        make_files(place, weights)
    result = run("models", *command)
    assert result.exit_code == 1
    message = said(result)
    assert message.startswith(
        f"The files of the student {A12} are in none of its places: {place} ({found}), "
    )
    assert message.endswith("or run `redistill models promote VERSION` with a student whose files are there.")
    assert serving(students) == B12


def test_doctor_says_that_the_files_of_the_student_in_service_were_replaced(
    students: Cycles, project: Path
) -> None:
    assert serving(students) == B12
    assert findings()["in service"]["found"] == f"{B12}, in {project / 'models/bbb'}"
    make_files(project / "models/bbb", DDD)
    assert not findings()["in service"]["ok"]
    assert f"models/bbb (version {D12})" in findings()["in service"]["found"]


def test_a_student_whose_folder_was_moved_is_found_where_the_configuration_says(
    students: Cycles, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "models/aaa").rename(project / "models/moved")
    assert run("models", "rollback").exit_code == 1
    monkeypatch.setenv("REDISTILL__STUDENT__URI", "models/moved")
    assert run("models", "rollback").exit_code == 0
    assert serving(students) == A12
    assert (project / "registry/current").resolve() == project / "models/moved"


def test_a_registry_that_was_moved_is_named_where_it_is_now(students: Cycles, project: Path) -> None:
    """And not where the version was recorded."""
    (project / "registry").rename(project / "moved")
    config = project / "redistill.toml"
    config.write_text(config.read_text().replace("[redistill]", '[redistill]\nregistry = "moved"'))
    version, link = project / "moved" / CANDIDATE.partition("/")[2], project / "moved/current"
    assert run("models", "promote", "ccc").stdout.splitlines()[-1] == f"{link} points to it, in {version}."
    assert run("models", "promote", "bbb").exit_code == 0
    (version / "config.json").unlink()
    gone = said(run("models", "promote", "ccc"))
    assert f"The files of the student {C12} are in none of its places" in gone
    assert f"{version} (no model)" in gone
    link.unlink()
    assert _state(load(config)) == "does not exist"
    link.symlink_to("elsewhere")
    assert _state(load(config)) == f"leads to {project}/moved/elsewhere"
    assert serving(students) == B12


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("zzz", "No single student version begins with 'zzz'"),
        ("", "No single student version begins with ''"),
    ],
    ids=["none", "several"],
)
def test_a_promotion_that_cannot_be_changes_nothing(prefix: str, message: str, students: Cycles) -> None:
    result = run("models", "promote", prefix)
    assert result.exit_code == 1
    assert said(result).startswith(message)
    assert serving(students) == B12


def test_the_one_that_serves_is_promoted_only_to_mend_the_link(students: Cycles, project: Path) -> None:
    assert run("models", "promote", "bbb").exit_code == 0
    assert (project / "registry/current").resolve() == project / "models/bbb"
    again = run("models", "promote", "bbb")
    assert again.exit_code == 1
    assert (
        said(again)
        == f"The student {B12} is in service already, and its link is correct: nothing was changed."
    )
    assert serving(students) == B12


def test_a_link_that_cannot_be_set_is_told_and_the_promotion_stands(students: Cycles, project: Path) -> None:
    in_the_way = project / "registry/current"
    in_the_way.mkdir()
    result = run("models", "promote", "ccc")
    assert result.exit_code == 1
    message = said(result)
    assert message.startswith(f"The student {C12} is in service by the database, but not by the link. ")
    assert f"{CANDIDATE}: Is a directory" in message
    assert message.endswith(
        f"{project}/registry/current is not a link until a worker sets it at its next turn, or "
        f"`redistill models promote {C12}` does."
    )
    assert serving(students) == C12
    in_the_way.rmdir()
    assert run("models", "promote", "ccc").exit_code == 0
    assert in_the_way.resolve() == project / CANDIDATE


def test_a_worker_goes_on_without_the_link_and_sets_it_when_it_can(
    students: Cycles, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told once, however often it looks for work."""
    monkeypatch.setattr("distill.worker._REGISTRY_PAUSE_SECONDS", 0.0)
    in_the_way = project / "registry/current"
    in_the_way.mkdir()
    worker = assembly.worker(load(project / "redistill.toml"), students.engine, show_nothing)
    with capture_logs() as before:
        for _ in range(3):
            assert not worker.run_once(never_stopped)
    assert [(ok, fix is None) for ok, fix in current_by_doctor()] == [(False, False)]
    in_the_way.rmdir()
    with capture_logs() as after:
        for _ in range(2):
            assert not worker.run_once(never_stopped)
    told = [entry["event"] for entry in (*before, *after) if "current" in entry["event"]]
    assert told == ["current not set", "current set"]
    assert in_the_way.resolve() == project / "models/bbb"
    assert current_by_doctor() == [(True, None)]


@pytest.mark.parametrize(("place", "version"), [("registry/versions/ddd4", "ddd4"), ("models/other", D12)])
def test_a_link_to_a_version_that_the_database_does_not_know_is_left_to_a_person(
    place: str, version: str, students: Cycles, project: Path
) -> None:
    """A restored database may name the student that had drifted; docs/restoring.md says what to do. A
    database that shares the registry and the link would move it to its own student, and this one back.
    """
    ahead = project / place
    make_files(ahead, DDD)
    link = project / "registry/current"
    link.symlink_to(ahead)
    worker = assembly.worker(load(project / "redistill.toml"), students.engine, show_nothing)
    with capture_logs() as logs:
        for _ in range(2):
            assert not worker.run_once(never_stopped)
    (told,) = [entry["error"] for entry in logs if entry["event"] == "current not set"]
    assert told == (
        f"{project}/registry/current leads to the version {version}, which the database does not know, and "
        "was left as it is: if the database was restored from a backup, see docs/restoring.md; if another "
        "database has this registry, set another 'link' in [redistill]; to serve the student that the "
        f"database names, run `redistill models promote {B12}`."
    )
    assert link.resolve() == ahead
    ((ok, fix),) = current_by_doctor()
    assert (ok, "see docs/restoring.md" in str(fix)) == (False, True)
    assert run("models", "promote", "bbb").exit_code == 0
    assert link.resolve() == project / "models/bbb"
    assert current_by_doctor() == [(True, None)]


def current_by_doctor() -> list[tuple[bool, str | None]]:
    findings = json.loads(run("doctor", "--json").stdout)
    return [(each["ok"], each["fix"]) for each in findings if each["check"] == "current"]


@pytest.mark.usefixtures("students")
def test_a_model_is_shown_by_how_it_begins() -> None:
    assert "candidate" in run("models", "show", "cc").stdout
    assert json.loads(run("models", "show", "cc", "--json").stdout)["version"].startswith(C12)
    assert run("models", "show", "d").exit_code == 1


CONFIGURED, GATES, MANUAL, ROLLBACK = (
    PromotionReason.CONFIGURED,
    PromotionReason.GATES_PASSED,
    PromotionReason.MANUAL,
    PromotionReason.ROLLBACK,
)


@pytest.mark.parametrize(
    ("history", "wanted"),
    [
        ([], None),
        ([("a", CONFIGURED)], None),
        ([("a", CONFIGURED), ("b", GATES)], "a"),
        ([("a", CONFIGURED), ("b", GATES), ("a", ROLLBACK)], None),
        ([("a", CONFIGURED), ("b", GATES), ("c", GATES), ("b", ROLLBACK)], "a"),
        ([("a", CONFIGURED), ("b", GATES), ("a", ROLLBACK), ("c", GATES)], "a"),
        ([("a", CONFIGURED), ("b", GATES), ("a", MANUAL)], "b"),
        ([("a", CONFIGURED), ("b", GATES), ("a", MANUAL), ("c", GATES), ("a", ROLLBACK)], "b"),
    ],
    ids=[
        "nothing has served",
        "one has",
        "two have",
        "nothing is before the first",
        "a second rollback goes further back",
        "after a rollback and a promotion",
        "a promotion of an older one is undone",
        "only the newest promotion of a version is gone back to",
    ],
)
def test_what_a_rollback_goes_to(history: list[tuple[str, PromotionReason]], wanted: str | None) -> None:
    assert versions.predecessor(history) == wanted
