"""The results of `redistill doctor`: three levels, of which only a problem is not ok."""

import json
from collections.abc import Callable, Iterator

import pytest

from db.errors import RedistillError
from redistill.checks.result import CheckResult, ok, problem, run_check, warning
from redistill.display import show


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (ok("disk", "empty"), (True, "ok")),
        (warning("disk", "nearly full", "free space"), (True, "warning")),
        (problem("disk", "full", "free space"), (False, "problem")),
    ],
    ids=["ok", "warning", "problem"],
)
def test_only_a_problem_is_not_ok_and_json_has_the_level(
    result: CheckResult, expected: tuple[bool, str], capsys: pytest.CaptureFixture[str]
) -> None:
    show.print_json(result.document)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["ok"], printed["level"]) == expected


def test_json_has_the_fix_under_both_of_its_names() -> None:
    document = problem("disk", "full", "free space").document
    assert (document["fix"], document["mend"]) == ("free space", "free space")


def _expected() -> Iterator[CheckResult]:
    yield warning("disk", "nearly full")
    raise RedistillError


def _unexpected() -> Iterator[CheckResult]:
    yield warning("disk", "nearly full")
    raise ZeroDivisionError


@pytest.mark.parametrize("check", [_expected, _unexpected])
def test_a_check_that_fails_is_a_problem_after_what_it_found(
    check: Callable[[], Iterator[CheckResult]],
) -> None:
    assert [result.level for result in run_check("disk", check)] == ["warning", "problem"]
