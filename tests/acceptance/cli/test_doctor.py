"""`doctor`: what is wrong, all at once, and what to do about it."""

import gzip
import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from db import queue, versions
from db.connection.session import writing
from db.records import Evaluation, Metric, ModelVersion
from db.states import Role
from monitor.scoring.models import fingerprint
from tests.support.records.cycles import MONITOR, Cycles
from tests.support.records.factories import START, make_measurement, make_new_job, make_result
from tests.support.servers.buckets import empty_bucket
from tests.support.servers.queues import TestQueue, fifo_queue
from tests.support.world.project import findings, run, write_log


@pytest.mark.usefixtures("sound")
def test_when_nothing_is_wrong_it_says_so_and_exits_with_0() -> None:
    result = run("doctor")
    assert result.exit_code == 0, result.stdout
    assert "problem" not in result.stdout
    for check in ("database", "queue", "teacher", "student", "labels", "traffic", "fence", "registry", "web"):
        assert f"\n{check} " in result.stdout


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(
    ("query", "level", "found"),
    [
        ("", "warning", "password and data may cross the network in plaintext"),
        ("?sslmode=require", "warning", "the server is not verified"),
        ("?sslmode=verify-ca", "warning", "the server's name is not verified"),
        ("?sslmode=verify-full", "ok", "certificate and name are verified"),
    ],
)
def test_a_way_to_the_database_that_is_not_protected_is_a_warning(
    query: str, level: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while the server cannot be reached: the name does not resolve."""
    monkeypatch.setenv("REDISTILL__DATABASE__URL", f"postgresql://app@db.invalid/redistill{query}")
    finding = findings()["tls"]
    assert (finding["level"], finding["ok"]) == (level, True)
    assert found in finding["found"]
    fix = "add ?sslmode=verify-full&sslrootcert=FILE to [database] url (see docs/database.md)"
    assert finding["fix"] == (fix if level == "warning" else None)


def test_true_labels_that_the_models_do_not_know_are_a_warning(sound: Path) -> None:
    """Both models count as wrong about them, so the teacher would be unhealthy from the first cycle on."""
    assert "true labels" not in findings()
    for path in (sound / "logs").rglob("*.gz"):
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        lines = [json.dumps({**row, "label": "intent_faq"}) + "\n" for row in rows]
        path.write_bytes(gzip.compress("".join(lines).encode()))
    finding = findings()["true labels"]
    assert (finding["level"], finding["ok"]) == ("warning", True)
    assert "100 of 100 true labels of the window are not labels of the models, such as 'intent_faq'" in str(
        finding
    )


def test_validation_rows_that_are_in_the_test_set_are_a_warning(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The temperature would be judged on the rows that it was fitted to."""
    monkeypatch.setenv("REDISTILL__REDISTILL__VALIDATION", str(sound / "test.jsonl"))
    found = [each for each in json.loads(run("doctor", "--json").stdout) if each["check"] == "validation"]
    assert [each["level"] for each in found] == ["ok", "warning"]
    assert "of 8 validation rows are in the test set" in found[1]["found"]


def test_it_says_how_many_requests_have_a_true_label(sound: Path) -> None:
    (finding,) = [each for name, each in findings().items() if name == "traffic"]
    assert "true label" not in str(finding)
    for path in (sound / "logs").rglob("*.gz"):
        rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        labelled = [{**row, "label": "faq"} if number % 4 == 0 else row for number, row in enumerate(rows)]
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in labelled).encode()))
    assert "; 25 of 100 have a true label" in str(findings()["traffic"])


def _no_database(project: Path) -> None:
    (project / "redistill.db").unlink()


def _no_student(project: Path) -> None:
    _replace(project, "/student", "/nobody")


def _other_labels(project: Path) -> None:
    _copy_student(project, lambda config: config.replace("escalation", "somebody"))


def _corrupt(project: Path) -> None:
    _copy_student(project, lambda config: config)
    weights = project / "student/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000])


def _no_masks(project: Path) -> None:
    _copy_student(project, lambda config: config)
    config = project / "student/tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "model_input_names": ["input_ids"]}))


def _copy_student(project: Path, change: Callable[[str], str]) -> None:
    text = (project / "redistill.toml").read_text()
    source = text.partition('[student]\nuri = "')[2].partition('"')[0]
    shutil.copytree(source, project / "student")
    config = project / "student/config.json"
    config.write_text(change(config.read_text()))
    _replace(project, source, "student")


def _replace(project: Path, old: str, new: str) -> None:
    path = project / "redistill.toml"
    path.write_text(path.read_text().replace(old, new))


def _no_log(project: Path) -> None:
    shutil.rmtree(project / "logs")


def _empty_log(project: Path) -> None:
    shutil.rmtree(project / "logs")
    (project / "logs").mkdir()


def _old_log(project: Path) -> None:
    shutil.rmtree(project / "logs")
    write_log(project)


def _wrong_field(project: Path) -> None:
    _replace(project, 'text = "utterance"', 'text = "message"')


def _dirty_log(project: Path) -> None:
    for path in project.glob("logs/**/*.gz"):
        rows = gzip.decompress(path.read_bytes()).replace(b'"utterance": "i', b'"utterance": "", "x": "i')
        path.write_bytes(gzip.compress(rows))


def _few_requests(project: Path) -> None:
    _replace(project, "min_samples = 50", "min_samples = 5000")


def _no_test_set(project: Path) -> None:
    (project / "test.jsonl").unlink()


def _no_fence(project: Path) -> None:
    (project / "test.jsonl").write_bytes((project / "train.jsonl").read_bytes())


def _unknown_label(project: Path) -> None:
    with (project / "train.jsonl").open("a") as file:
        file.write('{"text": "hello", "label": "greeting"}\n')


def _rare_label(project: Path) -> None:
    _replace(project, "[metrics]", '[metrics]\nrare_labels = ["greeting"]')


def _rare_label_in_capitals(project: Path) -> None:
    _replace(project, "[metrics]", '[metrics]\nrare_labels = ["Escalation"]')


def _registry_is_a_file(project: Path) -> None:
    (project / "registry").write_text("")


def _no_channel(project: Path) -> None:
    _replace(project, "[monitor]", "alerts = []\n[monitor]")


def _nothing_recorded(project: Path) -> None:
    _replace(project, "[student]", '[student]\nscores = "recorded"')


def _no_cluster(project: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    _replace(project, "[scoring]", f'[scoring]\nengine = "ray"\naddress = "{address}"')


WRONG: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "no database": (_no_database, "database", "run `redistill db upgrade`"),
    "no student": (_no_student, "student", "there is no such directory"),
    "other labels": (_other_labels, "labels", "both must know the same labels"),
    "corrupt weights": (_corrupt, "student", "cannot be loaded"),
    "numbers that depend on the batch": (_no_masks, "student", "its tokenizer gives no attention mask"),
    "no log": (_no_log, "traffic", "There is no request log at"),
    "an empty log": (_empty_log, "traffic", "let the service write its log there"),
    "an old log": (_old_log, "traffic", "`redistill cycle --at 2026-03-02T12:59:24Z`"),
    "a wrong field name": (_wrong_field, "traffic", "mostly no_text"),
    "a dirty log": (_dirty_log, "traffic", "mostly text_empty"),
    "few requests": (_few_requests, "traffic", "a verdict needs min_samples = 5000"),
    "no test set": (_no_test_set, "labelled data", "No such file or directory"),
    "no fence": (_no_fence, "labelled data", "overlaps the train set"),
    "an unknown label": (_unknown_label, "labelled data", "'greeting' is not one of the models' labels"),
    "a rare label in capitals": (
        _rare_label_in_capitals,
        "labels",
        "letter by letter, and 'escalation' is one",
    ),
    "an unknown rare label": (_rare_label, "labels", "the rare label 'greeting' is unknown"),
    "a file for the registry": (_registry_is_a_file, "registry", "is a file"),
    "no channel": (_no_channel, "channels", "no channel receives"),
    "no recorded answers": (_nothing_recorded, "traffic", "none with the student's logits"),
    "no cluster": (_no_cluster, "cluster", "fix 'address' in [scoring]"),
}


@pytest.mark.parametrize(("break_it", "check", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found_and_nothing_else_is_kept_from_being_checked(
    break_it: Callable[[Path], None], check: str, message: str, sound: Path
) -> None:
    break_it(sound)
    found = findings()
    problems = {name: finding for name, finding in found.items() if not finding["ok"]}
    assert list(problems) == [check]
    assert message in f"{problems[check]['found']}; {problems[check]['fix']}"
    assert "web" in found


def test_a_cycle_says_what_doctor_says_of_a_model(sound: Path) -> None:
    """Both load it in the same way."""
    _no_masks(sound)
    said = findings()["student"]["found"]
    cycle = run("cycle", "--at", "2026-03-02T12:59:24Z")
    assert cycle.exit_code == 1
    assert f"the first error: {said}" in cycle.stderr


@pytest.mark.usefixtures("sound")
def test_an_archive_in_s3_is_looked_for(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with empty_bucket(s3_url) as bucket:
        monkeypatch.setenv("REDISTILL__MONITOR__ARCHIVE", f"s3://{bucket.name}/samples")
        there = findings()["archive"]
        assert (there["ok"], there["found"]) == (True, f"s3://{bucket.name}/samples can be listed")
        monkeypatch.setenv("REDISTILL__MONITOR__ARCHIVE", "s3://no-such-bucket/samples")
        gone = findings()["archive"]
        assert not gone["ok"]
        assert "NoSuchBucket" in str(gone["found"])
        assert gone["fix"] == "name a bucket that this user may list, read and write"


def test_everything_that_is_wrong_is_found_at_once_and_exits_with_1(sound: Path) -> None:
    for break_it in (_no_database, _no_log, _no_test_set, _registry_is_a_file):
        break_it(sound)
    result = run("doctor")
    assert result.exit_code == 1
    assert result.stdout.count(" problem ") == 4


def test_a_bad_configuration_is_the_one_thing_that_is_found(sound: Path) -> None:
    _replace(sound, "min_samples", "min_sample")
    result = run("doctor")
    assert result.exit_code == 1
    assert "unknown key 'min_sample': did you mean 'min_samples'?" in result.stdout


@pytest.mark.usefixtures("sound")
def test_a_port_that_another_program_has_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("REDISTILL__WEB__PORT", str(taken.getsockname()[1]))
        web = findings()["web"]
    assert web["ok"] is False
    assert "Address already in use" in str(web["found"])


def test_a_job_that_nobody_takes_is_a_problem(sound: Path, cycles: Cycles) -> None:
    assert sound
    cycles.promote(now=START)
    cycles.conclude(0, make_result(measurement=make_measurement(kl=0.21)))
    found = findings()["queue"]
    assert (found["ok"], found["fix"]) == (False, "start `redistill worker` if none runs")


def test_a_job_whose_worker_is_gone_is_a_problem(sound: Path, cycles: Cycles) -> None:
    assert sound
    cycles.promote(now=START)
    cycles.conclude(0, make_result(measurement=make_measurement(kl=0.21)))
    with writing(cycles.engine) as connection:
        queue.claim(connection, MONITOR, owner="worker", lease_seconds=-1, now=START)
    found = findings()["queue"]
    assert (found["ok"], found["found"]) == (False, "job 1 is running, but its worker is gone")


@pytest.fixture
def made(sound: Path, s3_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestQueue]:
    """The project's queue of messages, in which nothing is wrong."""
    assert sound
    with fifo_queue(s3_url) as found:
        monkeypatch.setenv("REDISTILL__QUEUE__KIND", "sqs")
        monkeypatch.setenv("REDISTILL__QUEUE__URL", found.url)
        yield found


def set_attributes(made: TestQueue, **attributes: str) -> None:
    made.client.set_queue_attributes(QueueUrl=made.url, Attributes=attributes)


def test_a_sound_queue_is_told_with_what_lies_in_it(made: TestQueue) -> None:
    made.send("hello")
    found = {name: (each["ok"], each["found"]) for name, each in findings().items() if "sqs" in name}
    name = made.dead_url.rpartition("/")[2]
    assert found == {
        "sqs": (True, f"{made.url}: FIFO, 1 message"),
        "sqs visibility": (True, "30 s"),
        "sqs dead letters": (True, f"{name}: empty, used after 5 receives"),
    }


def _no_queue(made: TestQueue) -> None:
    made.client.delete_queue(QueueUrl=made.url)


def _no_dead_letters(made: TestQueue) -> None:
    set_attributes(made, RedrivePolicy="")


def _dead_letters_gone(made: TestQueue) -> None:
    made.client.delete_queue(QueueUrl=made.dead_url)


def _dead_letters_lie(made: TestQueue) -> None:
    made.client.send_message(
        QueueUrl=made.dead_url, MessageBody="x", MessageGroupId="x", MessageDeduplicationId="x"
    )


def _never_put_aside(made: TestQueue) -> None:
    arn = made.client.get_queue_attributes(QueueUrl=made.dead_url, AttributeNames=["QueueArn"])
    policy = {"deadLetterTargetArn": arn["Attributes"]["QueueArn"], "maxReceiveCount": 1000}
    set_attributes(made, RedrivePolicy=json.dumps(policy))


def _hidden_for_hours(made: TestQueue) -> None:
    set_attributes(made, VisibilityTimeout="7200")


def _hardly_hidden(made: TestQueue) -> None:
    set_attributes(made, VisibilityTimeout="2")


WRONG_QUEUE: dict[str, tuple[Callable[[TestQueue], None], str, str]] = {
    "no queue": (_no_queue, "sqs", "QueueDoesNotExist"),
    "no dead letters": (_no_dead_letters, "sqs dead letters", "no dead-letter queue"),
    "a queue for dead letters that is gone": (_dead_letters_gone, "sqs dead letters", "QueueDoesNotExist"),
    "dead letters": (_dead_letters_lie, "sqs dead letters", "1 message; find out where they come from"),
    "nothing is put aside": (_never_put_aside, "sqs dead letters", "maxReceiveCount is 1000"),
    "hidden for hours": (
        _hidden_for_hours,
        "sqs visibility",
        "7200 s: an unusable message blocks the others",
    ),
    "hardly hidden": (_hardly_hidden, "sqs visibility", "2 s"),
}


@pytest.mark.parametrize(("break_it", "check", "message"), WRONG_QUEUE.values(), ids=WRONG_QUEUE)
def test_what_is_wrong_with_the_queue_is_found(
    break_it: Callable[[TestQueue], None], check: str, message: str, made: TestQueue
) -> None:
    break_it(made)
    problems = {name: finding for name, finding in findings().items() if not finding["ok"]}
    assert list(problems) == [check]
    assert message in f"{problems[check]['found']}; {problems[check]['fix']}"


def test_a_queue_that_is_not_reached_keeps_nothing_from_being_checked(
    made: TestQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    problems = {name: finding for name, finding in findings().items() if not finding["ok"]}
    assert list(problems) == ["sqs"]
    assert "EndpointConnectionError" in str(problems["sqs"]["found"])


def _content(project: Path) -> None:
    wanted = "accuracy = 0\nagreement = 0\nece = 1\nlatency_p95_ms = 1e9"
    _replace(project, "[metrics]", f"[gates]\n{wanted}\n[metrics]")


def gate_findings() -> dict[str, dict[str, object]]:
    return {name: finding for name, finding in findings().items() if name.startswith("gate")}


def test_a_student_that_meets_all_gates_is_one_good_line(sound: Path) -> None:
    _content(sound)
    assert gate_findings() == {
        "gates": {
            "check": "gates",
            "ok": True,
            "level": "ok",
            "found": "the student in service meets all 4, on 8 of 8 test rows",
            "fix": None,
            "mend": None,
        }
    }


def test_gates_that_the_student_in_service_does_not_meet_are_warnings(sound: Path) -> None:
    """With the value, its interval and the threshold; nothing else is wrong, so it exits with 0."""
    _content(sound)
    _replace(sound, "accuracy = 0", "accuracy = 1")
    _replace(sound, "latency_p95_ms = 1e9", "latency_p95_ms = 1e-6")
    found = gate_findings()
    assert {name: each["level"] for name, each in found.items()} == {
        "gate accuracy": "warning",
        "gate latency_p95_ms": "warning",
    }
    accuracy, latency = (str(each["found"]) for each in found.values())
    number = r"[\d.e-]+"
    assert re.fullmatch(
        rf"the student in service has {number} \[{number}, {number}\] on 8 of 8 test rows; "
        r"the gate requires at least 1",
        accuracy,
    )
    assert re.search(
        r"\(on .+, \d+ threads?\) on 8 of 8 test rows; the gate requires at most 1e-06$", latency
    )
    assert "this gate rejects a candidate only if it is worse" in str(found["gate accuracy"]["fix"])
    shown = run("doctor")
    assert shown.exit_code == 0
    assert "\ngate accuracy " in shown.stdout
    assert shown.stdout.count(" warning ") == 3  # these two, and 8 test rows


def test_a_test_set_that_is_too_small_to_compare_two_students_is_a_warning(
    sound: Path, cycles: Cycles
) -> None:
    """With the rows that would suffice: by the usual share of discordant rows, then by the last job's."""
    _content(sound)
    power = findings()["power"]
    assert power["level"] == "warning"
    assert str(power["found"]).startswith(
        "8 rows: 3% of the candidates as good as the student in service pass"
    )
    assert "if 5.0% of the rows are right for only one of the two (assumed)" in str(power["found"])
    assert "use 5,254 test rows, which give 90%" in str(power["fix"])
    metrics = tuple(
        Metric(name=name, value=value, low=0, high=1, n=8)
        for name, value in (("accuracy_gain", -0.1), ("negative_flips", 0.3))
    )
    candidate = ModelVersion(monitor=MONITOR, version="rejected", role=Role.STUDENT, uri="rejected")
    with writing(cycles.engine) as connection:
        versions.record(connection, candidate, START)
        job_id = queue.enqueue(connection, make_new_job(), START)
        evaluation = Evaluation(dataset="test", metrics=metrics)
        versions.add_evaluations(connection, candidate, job_id, [evaluation])
    assert "if 50.0% of the rows are right for only one" in str(findings()["power"]["found"])
    _replace(sound, "[gates]", '[gates]\nmargin = "off"')
    assert "power" not in findings()


def test_a_gate_that_nothing_can_be_measured_for_is_told(sound: Path) -> None:
    """No row of the rare label is in the test file."""
    _content(sound)
    _replace(sound, "resamples = 100", 'resamples = 100\nrare_labels = ["escalation"]')
    rows = [json.loads(line) for line in (sound / "test.jsonl").read_text().splitlines()]
    kept = [row for row in rows if row["label"] != "escalation"]
    assert 0 < len(kept) < len(rows)
    (sound / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    (found,) = gate_findings().values()
    assert found["level"] == "warning"
    assert "every candidate fails this gate" in str(found["found"])
    assert "add rows" in str(found["fix"])


def test_the_gates_are_held_against_the_student_that_serves_by_the_database(
    sound: Path, cycles: Cycles, models: Path
) -> None:
    """And not against the one that the configuration named first: here its teacher itself."""
    _content(sound)
    _replace(sound, "agreement = 0", "agreement = 1")
    assert gate_findings()["gate agreement"]["level"] == "warning"
    version = fingerprint(models / "teacher")
    shutil.copytree(models / "teacher", f"models/{version}")
    cycles.promote(version, now=START)
    assert gate_findings()["gates"]["level"] == "ok"


def test_without_a_test_file_no_gate_is_looked_at(sound: Path) -> None:
    _replace(sound, 'train = "train.jsonl"\ntest = "test.jsonl"\n', "")
    _replace(
        sound,
        "[metrics]",
        '[[rules]]\nname = "one"\nmetric = "agreement"\nbelow = 0.9\naction = "alert"\n[metrics]',
    )
    assert gate_findings() == {}
