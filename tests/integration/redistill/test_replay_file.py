import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from db.records import CyclePoint
from db.states import CycleStatus
from redistill.commands.inspect.replay_file import HistoryFileError, HistoryLineError, read_history
from triggers.rules.evaluation import evaluate, replay
from triggers.settings import DEFAULT_RULES, Rule

LOW_AGREEMENT, HIGH_KL = DEFAULT_RULES
HOUR = '"window_end": "2026-11-24T{:02}:00:00Z"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def read(path: Path, *lines: str) -> tuple[CyclePoint, ...]:
    """Each line gets the braces and, unless it has one, an hour of its own."""
    texts = []
    for hour, line in enumerate(lines):
        fields = line if "window_end" in line else ", ".join(filter(None, [HOUR.format(hour), line]))
        texts.append("{" + fields + "}")
    path.write_text("\n".join(texts))
    return read_history(path)


def test_the_line_of_the_contract_is_read(path: Path) -> None:
    """All fields that are documented, as they are documented."""
    path.write_text(
        '{"window_end": "2026-11-24T11:00:00Z", "n": 5500, "disagreements": 143, "kl": 0.083, '
        '"kl_values": [0.1, 0.066], "status": "evaluated", "teacher_version": "t1", '
        '"student_version": "s1"}\n'
    )
    assert read_history(path) == (
        CyclePoint(
            window_end=datetime(2026, 11, 24, 11, tzinfo=UTC),
            status=CycleStatus.EVALUATED,
            teacher_version="t1",
            student_version="s1",
            n=5_500,
            disagreements=143,
            kl=0.083,
            kl_values=(0.1, 0.066),
        ),
    )


def test_lines_come_in_any_order_and_offset(path: Path) -> None:
    """They are sorted by the instant, not by the text; empty lines and a byte order mark do not matter."""
    path.write_bytes(
        b'\xef\xbb\xbf{"window_end": "2026-11-24T12:00:00+02:00", "kl": 2}\r\n\r\n'
        b'{"window_end": "2026-11-24T09:00:00Z", "kl": 1}\r\n'
    )
    history = read_history(path)
    assert [point.kl for point in history] == [1.0, 2.0]
    assert [point.window_end.hour for point in history] == [9, 10]


def test_an_empty_file_is_an_empty_history(path: Path) -> None:
    path.write_text("\n")
    assert read_history(path) == ()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("evaluated", CycleStatus.EVALUATED),
        ("inconclusive", CycleStatus.INCONCLUSIVE),
        ("missing", CycleStatus.SKIPPED),
    ],
)
def test_statuses(path: Path, status: str, expected: CycleStatus) -> None:
    (point,) = read(path, f'"status": "{status}", "n": 5500, "disagreements": 143')
    assert point.status is expected
    assert (point.n is None) == (status != "evaluated")


def test_without_status_or_versions_cycles_are_evaluated_and_of_one_pair(path: Path) -> None:
    history = read(path, *['"n": 5500, "disagreements": 300'] * 3)
    assert [outcome.streak for outcome in replay(LOW_AGREEMENT, history)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("fields", "n", "disagreements", "sentence"),
    [
        ('"n": 5500, "agreement": 0.974', 5_500, 143, "a share that is a count out of n is that count"),
        ('"n": 5500, "agreement": 0.95', 5_500, 275, "a tie stays a tie"),
        ('"n": 5500.0, "agreement": 1', 5_500, 0, "a whole number may be written with a point"),
        ('"agreement": 0.9741', 10_000, 259, "without n the decimal is an exact fraction"),
        ('"n": 3, "agreement": 0.9741', 10_000, 259, "so it is where it is no count out of n"),
        ('"n": 5500, "agreement": 0.9, "disagreements": 143', 5_500, 143, "counts go before a share"),
        ('"n": 5500, "kl": 0.1', 5_500, None, "n alone says nothing of agreement"),
    ],
)
def test_agreement_is_exact(
    path: Path, fields: str, n: int, disagreements: int | None, sentence: str
) -> None:
    (point,) = read(path, fields)
    assert (point.n, point.disagreements) == (n, disagreements), sentence


@pytest.mark.parametrize("threshold", ["0.95", "0.9", "0.974", "0.7"])
def test_an_agreement_written_as_the_threshold_is_a_tie(path: Path, threshold: str) -> None:
    """With and without n, and one digit of the text more is a breach."""
    rule = Rule(name="r", metric="agreement", below=Decimal(threshold))
    lower = str(Decimal(threshold) - Decimal("0.0000000001"))
    for n in ("", '"n": 5500, ', '"n": 7, '):
        tie, breach = read(path, f'{n}"agreement": {threshold}', f'{n}"agreement": {lower}')
        assert not evaluate(rule, [tie]).breached
        assert evaluate(rule, [breach]).breached


def test_a_double_s_rounding_is_no_disagreement(path: Path) -> None:
    """1 - k / n as doubles give it is the count k again, for every k."""
    n = 5_500
    texts = [json.dumps({"n": n, "agreement": 1 - k / n}) for k in range(n + 1)]
    lines = [
        f'"window_end": "{1900 + k // 12}-{k % 12 + 1:02}-01T00:00Z", {t[1:-1]}' for k, t in enumerate(texts)
    ]
    history = read(path, *lines)
    assert [point.disagreements for point in history] == list(range(n + 1))
    assert {point.n for point in history} == {n}


def test_the_mean_of_kl_values_stands_for_kl(path: Path) -> None:
    (point,) = read(path, '"kl_values": [0.1, 0.2, 0.6]')
    assert point.kl == pytest.approx(0.3)


def test_other_divergences_and_unknown_fields_are_welcome(path: Path) -> None:
    (point,) = read(path, '"kl_t1": 0.2, "js": 0.01, "note": "after the sale", "kl": null')
    assert (point.kl, point.kl_t1, point.js) == (None, 0.2, 0.01)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ('"kl": 1, "window_end": null', "field 'window_end': expected a time with an offset"),
        ('"kl": 1, "window_end": "yesterday"', "field 'window_end': .*, not 'yesterday'"),
        (
            '"kl": 1, "window_end": "2026-11-24T11:00:00"',
            "field 'window_end': expected a time with an offset",
        ),
        ('"kl": 1, "window_end": 5', "field 'window_end': expected a string, not 5"),
        (
            '"kl": 1, "status": "ok"',
            "field 'status': expected one of evaluated, inconclusive, missing, not 'ok'",
        ),
        ("", "field 'disagreements': an evaluated cycle needs"),
        ('"n": 5500', "field 'disagreements': an evaluated cycle needs"),
        ('"disagreements": 3', "field 'n': expected together with 'disagreements'"),
        ('"n": 0, "disagreements": 0', "field 'n': an evaluated cycle has at least one request"),
        ('"n": 5, "disagreements": 6', "field 'disagreements': expected at most n = 5, not 6"),
        ('"n": 5, "disagreements": -1', "field 'disagreements': expected a whole number"),
        ('"n": 5.5, "disagreements": 1', "field 'n': expected a whole number .*, not 5.5"),
        ('"n": 1e999999999, "kl": 1', "field 'n': expected a whole number"),
        ('"n": true, "kl": 1', "field 'n': expected a number, not True"),
        ('"n": "5", "kl": 1', "field 'n': expected a number, not '5'"),
        ('"agreement": 1.01', r"field 'agreement': expected a share in \[0, 1\], not 1.01"),
        ('"kl": 1e400', "field 'kl': expected a finite number"),
        ('"kl_values": 3', "field 'kl_values': expected a list of numbers"),
        ('"kl_values": []', "field 'kl_values': expected a list of numbers"),
        ('"kl_values": [1, "x"]', "field 'kl_values': expected a number, not 'x'"),
        ('"kl": 1, "teacher_version": 3', "field 'teacher_version': expected a string, not 3"),
        ('"kl": NaN', "not JSON: NaN is not a number in JSON"),
        ('"kl": 1e99999999999999999999', "not JSON"),
        ('"kl"', "not JSON"),
        (f'"kl": {"[" * 2_000}', "not JSON"),
    ],
)
def test_errors_name_the_file_the_line_and_the_field(path: Path, fields: str, problem: str) -> None:
    """And what is expected there, in one line."""
    with pytest.raises(HistoryLineError, match=f"history.jsonl, line 2: {problem}") as caught:
        read(path, '"window_end": "2020-01-01T00:00Z", "kl": 1', fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"[1]", b"3", b'{"kl": "\xff"}', b"null"])
def test_a_line_that_is_not_an_object_is_an_error(path: Path, content: bytes) -> None:
    path.write_bytes(b"\n" + content)
    with pytest.raises(HistoryLineError, match=r"history\.jsonl, line 2: "):
        read_history(path)


def test_a_window_that_comes_twice_is_an_error(path: Path) -> None:
    """Even when it is written in another offset; the message names both lines."""
    first = '"window_end": "2026-11-24T11:00:00Z", "kl": 1'
    again = '"window_end": "2026-11-24T12:00:00+01:00", "status": "missing"'
    with pytest.raises(HistoryLineError, match=r"line 2: field 'window_end': .* is already on line 1"):
        read(path, first, again)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HistoryFileError, match=r"nowhere.jsonl cannot be read: No such file"):
        read_history(tmp_path / "nowhere.jsonl")
    with pytest.raises(HistoryFileError, match="cannot be read"):
        read_history(tmp_path)
