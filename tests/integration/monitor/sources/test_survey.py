"""What a quick look at an unknown request log finds."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.states import RejectReason
from monitor.settings import FilesTraffic
from monitor.sources.fields import FieldNames, guess_fields
from monitor.sources.stores.port import TrafficMissingError
from monitor.sources.survey import Problem, Survey, survey

TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)


def write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def records(n: int, start: datetime = TEN) -> list[dict[str, object]]:
    return [
        {
            "id": f"r-{number}",
            "time": (start + timedelta(seconds=number)).isoformat(),
            "text": f"text {number}",
        }
        for number in range(n)
    ]


def look(uri: Path, labels: tuple[str, ...] | None = None) -> Survey:
    return survey(FilesTraffic(uri=uri), labels)


def names(**found: str) -> FieldNames:
    return FieldNames(**(dict.fromkeys(FieldNames.__dataclass_fields__) | found))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"id": "{n}", "time": "2026-11-24T10:00:00Z", "text": "hi"},
            names(id="id", time="time", text="text"),
        ),
        (
            {"level": "info", "ts": 1795514403, "request_id": "r{n}", "utterance": "hi", "text": 5},
            names(id="request_id", time="ts", text="utterance"),
        ),
        (
            {
                "kind": "chat",
                "seen": "2026-11-24T10:00:00Z",
                "key": "k{n}",
                "said": "where is my order, please",
            },
            names(id="key", time="seen", text="said"),
        ),
        (
            {"latency": 12.5, "time": "10:00", "when": "2026-11-24T10:00:00Z", "said": "where is it?"},
            names(time="when", text="said"),
        ),
        (
            {"id": "{n}", "prediction": "faq", "logits": [1, 2.5], "student_label": "weather"},
            names(id="id", text="student_label", student_label="prediction", student_logits="logits"),
        ),
        (
            {"id": "{n}", "text": "hi", "prediction": "faq", "label": "weather", "true_label": "promotion"},
            names(id="id", text="text", student_label="prediction", label="true_label"),
        ),
        # the usual name of a part that no field fits is no other part
        ({"id": "{n}", "time": "2026-11-24T10:00:00Z"}, names(time="time")),
        ({"id": "2026-11-24T10:00:00Z", "text": "hi"}, names(text="text")),
        ({"id": "hi", "text": "2026-11-24T10:00:00Z"}, names()),
        ({}, names()),
    ],
)
def test_fields_are_guessed_by_name_and_by_what_they_hold(
    tmp_path: Path, row: dict[str, object], expected: FieldNames
) -> None:
    """A field of a usual name that holds something else is passed over."""
    rows = [json.loads(json.dumps(row).replace("{n}", str(number))) for number in range(30)]
    write(tmp_path / "log", rows)
    assert guess_fields(tmp_path, ("faq", "promotion")) == expected


def test_a_field_that_jmespath_would_read_otherwise_is_quoted(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"Request ID": f"r-{number}", "seen.at": TEN.isoformat(), 'They "said"': "where is it?"}
        for number in range(30)
    ]
    write(tmp_path / "log", rows)
    found = guess_fields(tmp_path)
    assert found == names(id='"Request ID"', time='"seen.at"', text=r'"They \"said\""')
    section = FilesTraffic(uri=tmp_path, id=found.id or "", time=found.time or "", text=found.text or "")
    assert survey(section).n_usable == 30


def test_an_id_that_is_the_users_is_not_the_requests(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": f"u-{number % 40}", "time": TEN.isoformat(), "text": "hi", "request_id": f"r-{number}"}
        for number in range(200)
    ]
    write(tmp_path / "log", rows)
    assert guess_fields(tmp_path).id == "request_id"
    write(tmp_path / "log", [{**row, "request_id": None, "key": number} for number, row in enumerate(rows)])
    assert guess_fields(tmp_path).id == "key"
    write(tmp_path / "log", [{**row, "request_id": None} for row in rows])
    assert guess_fields(tmp_path).id == "id"


def test_a_log_that_has_some_requests_twice_keeps_its_id(tmp_path: Path) -> None:
    rows = [
        {"line": number, "id": f"r-{number * 0.95:.0f}", "time": TEN.isoformat(), "text": "hi"}
        for number in range(200)
    ]
    write(tmp_path / "log", rows)
    assert guess_fields(tmp_path).id == "id"


def test_a_little_dirt_does_not_change_the_guess(tmp_path: Path) -> None:
    rows = records(40)
    write(tmp_path / "log", [{"broken": 1}, *rows[:20], {"id": None, "time": "soon", "text": 3}, *rows[20:]])
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"neither this\n[]\n")[:-3])
    assert guess_fields(tmp_path) == names(id="id", time="time", text="text")


def test_a_survey_counts_objects_and_finds_the_span_of_times(tmp_path: Path) -> None:
    """The newest object is read whole, whatever its name; of the others the first 200 lines."""
    write(tmp_path / "a-newest", records(1_000, TEN + timedelta(hours=2)))
    write(tmp_path / "b", records(1_000))
    assert look(tmp_path) == Survey(
        n_objects=2,
        n_lines=1_200,
        n_usable=1_200,
        first_time=TEN,
        last_time=TEN + timedelta(hours=2, seconds=999),
        problem=None,
    )


def test_of_many_objects_some_and_the_last_are_looked_at(tmp_path: Path) -> None:
    for number in range(250):
        write(tmp_path / f"{number:03}", records(1, TEN + timedelta(hours=number)))
    found = look(tmp_path)
    assert found.n_objects == 250
    assert found.n_lines <= 100
    assert found.last_time == TEN + timedelta(hours=249)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "x", "time": "today", "text": "hi"}, RejectReason.BAD_TIME),
        (
            {"id": "x", "time": "2026-11-24T10:00:00Z", "text": "hi", "student_label": "?"},
            RejectReason.UNKNOWN_LABEL,
        ),
    ],
)
def test_the_first_problem_is_told_with_its_line(
    tmp_path: Path, row: dict[str, object], reason: RejectReason
) -> None:
    write(tmp_path / "log", [*records(3), row, {}, *records(2)])
    found = look(tmp_path, ("faq", "promotion"))
    assert found.problem == Problem(reason=reason, object_name="log", line=4)
    assert (found.n_lines, found.n_usable) == (7, 5)


def test_a_broken_object_is_a_problem_without_a_line(tmp_path: Path) -> None:
    write(tmp_path / "log", records(3))
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"\n")[:-1])
    problem = Problem(reason=RejectReason.TRUNCATED_OBJECT, object_name="log.gz", line=None)
    assert look(tmp_path).problem == problem


def test_an_empty_folder_gives_zeros_and_a_missing_one_an_error(tmp_path: Path) -> None:
    nothing = Survey(n_objects=0, n_lines=0, n_usable=0, first_time=None, last_time=None, problem=None)
    assert look(tmp_path) == nothing
    assert guess_fields(tmp_path) == names()
    for ask in (look, guess_fields):
        with pytest.raises(TrafficMissingError):
            ask(tmp_path / "nowhere")
