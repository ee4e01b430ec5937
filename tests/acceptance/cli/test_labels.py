"""True labels through the command line: `labels import`, and where it shows who is right."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from db.connection.session import connect, reading
from db.views import VIEWS, rows
from monitor.storage.zstandard import zstd
from tests.support.records.cycles import Cycles
from tests.support.records.factories import make_measurement, make_result
from tests.support.world.project import LABELS, LOGGED, run, said
from triggers.teacher.correctness import split

AT = f"{LOGGED:%Y-%m-%dT%H:%M:%SZ}"


def archived(project: Path) -> list[dict[str, Any]]:
    """The requests of the one sample there is."""
    (path,) = (project / "archive").rglob("*.zst")
    return [json.loads(line) for line in zstd.decompress(path.read_bytes()).splitlines()[1:]]


def answer(request: dict[str, Any], of: str) -> str:
    logits = request[f"{of}_logits"]
    return LABELS[logits.index(max(logits))]


def write_csv(path: Path, labels: dict[str, str]) -> None:
    path.write_text("request_id,intent\n" + "".join(f"{one},{two}\n" for one, two in labels.items()))


@pytest.fixture
def measured(migrated: Path) -> Path:
    """A project with one cycle of 100 requests."""
    assert run("cycle", "--at", AT).exit_code == 0
    return migrated


def test_labels_are_imported_and_the_status_says_who_is_right(measured: Path) -> None:
    assert "unknown; `redistill labels import FILE` imports true labels" in run("status").stdout
    requests = archived(measured)
    labels = {each["id"]: answer(each, "teacher") for each in requests[:30]}
    labels |= {requests[30]["id"]: "refund", "elsewhere": "faq", "10-x": ""}
    write_csv(measured / "reviewed.csv", labels)
    result = run("labels", "import", "reviewed.csv", "--id", "request_id", "--label", "intent")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [line.split("  ", 1)[0] for line in result.stdout.splitlines()] == [
        "read",
        "joined",
        "in no sample",
        "malformed",
        "unknown",
    ]
    assert "33 rows with labels of 32 requests" in result.stdout
    assert "31 sampled requests; 31 labels new or changed, in 1 cycle" in result.stdout
    assert "1 row, the first in line 34: no intent" in result.stdout
    assert "1 label that the models do not have, the first 'refund'" in result.stdout
    again = run("labels", "import", "reviewed.csv", "--id", "request_id", "--label", "intent", "--json")
    found = json.loads(again.stdout)
    assert (found["n_joined"], found["n_changed"], found["n_unsampled"]) == (31, 0, 1)
    state = json.loads(run("status", "--json").stdout)
    assert state["n_labelled_cycles"] == 1
    assert state["correctness"]["n_labelled"] == 31
    assert state["correctness"]["teacher_accuracy"]["estimate"] == pytest.approx(30 / 31)


def test_the_accuracy_is_estimated_from_labels_until_a_worker_calibrates_the_teacher(measured: Path) -> None:
    assert "accuracy" in run("status").stdout
    assert "not estimated: no worker has calibrated the teacher yet" in run("status").stdout
    write_csv(measured / "reviewed.csv", {each["id"]: answer(each, "student") for each in archived(measured)})
    assert run("labels", "import", "reviewed.csv", "--id", "request_id", "--label", "intent").exit_code == 0
    line = "1.0000 [0.9630, 1.0000] of the student, from 100 true labels and its teacher, if requests are"
    assert line in " ".join(run("status").stdout.split())
    (cycle,) = json.loads(run("history", "--json").stdout)
    assert (cycle["estimated_accuracy"], cycle["estimated_accuracy_method"], cycle["n_labels"]) == (
        1.0,
        "prediction_powered",
        100,
    )
    assert json.loads(run("status", "--json").stdout)["estimated_accuracy"]["n_labels"] == 100


def test_selected_labels_estimate_nothing(measured: Path) -> None:
    config = measured / "redistill.toml"
    config.write_text(config.read_text().replace("[redistill]\n", '[redistill]\nlabel_source = "selected"\n'))
    write_csv(measured / "reviewed.csv", {each["id"]: "faq" for each in archived(measured)})
    assert run("labels", "import", "reviewed.csv", "--id", "request_id", "--label", "intent").exit_code == 0
    assert "not estimated" in run("status").stdout


def test_a_log_that_has_true_labels_needs_no_import(migrated: Path) -> None:
    for path in (migrated / "logs").rglob("*.gz"):
        lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        labelled = [{**line, "label": "escalation"} if n % 2 else line for n, line in enumerate(lines)]
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in labelled).encode()))
    assert run("cycle", "--at", AT).exit_code == 0
    engine = connect(f"sqlite:///{migrated / 'redistill.db'}")
    with reading(engine) as connection:
        (found,) = rows(connection, "correctness_history", order_by="window_end")
    engine.dispose()
    assert list(found) == VIEWS["correctness_history"].split()
    assert found["n_labelled"] == 50
    known = [each for each in archived(migrated) if "label" in each]
    right = sum(answer(each, "student") == "escalation" for each in known)
    assert found["student_accuracy"] == pytest.approx(right / 50)


def test_a_label_of_the_log_that_could_be_any_text_is_redacted(migrated: Path) -> None:
    for path in (migrated / "logs").rglob("*.gz"):
        lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        labelled = [{**line, "label": "ask ann.lee@example.org"} for line in lines]
        path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in labelled).encode()))
    run("cycle", "--at", AT)
    assert {each["label"] for each in archived(migrated)} == {"ask [email]"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "The labels labels.jsonl cannot be read: No such file or directory."),
        (
            '{"id": "r-1", "intent": "faq"}\n',
            "the first, line 1, has no label: name the fields with --id and",
        ),
    ],
    ids=["no file", "other names"],
)
def test_a_file_that_brings_nothing_is_told_in_one_line(
    measured: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (measured / "labels.jsonl").write_text(content)
    result = run("labels", "import", "labels.jsonl")
    assert result.exit_code == 1
    assert message in said(result)


def test_samples_that_cannot_be_read_are_a_warning_or_an_error(measured: Path) -> None:
    ids = [each["id"] for each in archived(measured)]
    (path,) = (measured / "archive").rglob("*.zst")
    path.write_bytes(b"damaged")
    write_csv(measured / "labels.csv", dict.fromkeys(ids, "faq"))
    result = run("labels", "import", "labels.csv", "--id", "request_id", "--label", "intent")
    assert result.exit_code == 1
    assert said(result).startswith("None of the 100 requests is in a readable sample. 1 of the samples")
    assert run("cycle", "--at", f"{LOGGED:%Y-%m-%dT}11:00:00Z").exit_code == 0
    write_csv(measured / "labels.csv", dict.fromkeys([*ids, "11-1"], "faq"))
    result = run("labels", "import", "labels.csv", "--id", "request_id", "--label", "intent")
    assert result.exit_code == 0
    assert "1 sample could not be read; the first error: The archive " in said(result)


def test_a_job_without_labels_says_how_to_bring_some(cycles: Cycles) -> None:
    cycles.conclude(0, make_result(measurement=make_measurement(kl=0.21)))
    shown = run("jobs", "show", "1").stdout
    assert "A lower alpha cannot help yet: no true label is known" in shown
    assert "`redistill labels import FILE` imports labels" in shown
    assert json.loads(run("jobs", "show", "1", "--json").stdout)["evidence"]["finding"] == "undecided"


def test_a_job_shows_what_labels_say_of_it(cycles: Cycles) -> None:
    correctness = split([0] * 30, [0] * 30, [1] * 30, [1] * 30)
    for index, kl in ((0, 0.1), (1, 0.21)):
        measured = replace(make_measurement(kl=kl), correctness=correctness)
        cycles.conclude(index, make_result(measurement=measured))
    shown = run("jobs", "show", "1").stdout
    assert "The teacher can teach this, so a lower alpha does not help: where the two disagree, " in shown
    job = json.loads(run("jobs", "show", "1", "--json").stdout)
    assert job["evidence"]["finding"] == "teacher_can_teach"
    line = "of 60 labelled disagreements (2 cycles with labels) the teacher is right in 100% [94, 100]"
    assert line in run("status").stdout
