"""The results of `redistill doctor`: three levels, of which only a problem is not ok."""

import json
from collections.abc import Callable, Iterator

import pytest

from db.errors import RedistillError
from redistill.checks.result import CheckResult, attempt, bad, good, warn
from redistill.display import show


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (good("disk", "empty"), (True, "ok")),
        (warn("disk", "nearly full", "free space"), (True, "warning")),
        (bad("disk", "full", "free space"), (False, "problem")),
    ],
    ids=["good", "warn", "bad"],
)
def test_only_a_problem_is_not_ok_and_json_has_the_level(
    result: CheckResult, told: tuple[bool, str], capsys: pytest.CaptureFixture[str]
) -> None:
    show.print_json(result)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["ok"], printed["level"]) == told


def _expected() -> Iterator[CheckResult]:
    yield warn("disk", "nearly full")
    raise RedistillError


def _unexpected() -> Iterator[CheckResult]:
    yield warn("disk", "nearly full")
    raise ZeroDivisionError


@pytest.mark.parametrize("look", [_expected, _unexpected])
def test_a_check_that_fails_is_a_problem_after_what_it_found(
    look: Callable[[], Iterator[CheckResult]],
) -> None:
    assert [result.level for result in attempt("disk", look)] == ["warning", "problem"]
